"""Bodies of requests: from bytes to an object of a kind."""

import json
from typing import Any, NamedTuple

import yaml

from tests.fakes.kubernetes.errors import ApiError, bad_request
from tests.fakes.kubernetes.kinds import Kind

Json = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
LARGEST = 3 * 1024 * 1024
"""Bytes of the largest body, as kube-apiserver limits it (limit 3145728)."""


class Options(NamedTuple):
    """What a write was asked besides its body. `applies` is true for server-side apply.

    validation: "Strict", "Warn" or "Ignore", what to do about unknown fields and about `doubled` ones.
    """

    manager: str
    dry_run: bool = False
    force: bool = False
    validation: str = "Warn"
    applies: bool = False
    doubled: tuple[str, ...] = ()


def parsed(raw: bytes) -> Any:
    """Return the JSON value of a body. A whole number written as 10.0 is 10. Raises ValueError."""
    return json.loads(raw, parse_float=_number)


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, with keys that come twice."""


def doubled(raw: bytes) -> tuple[str, ...]:
    """Return the paths of keys that a JSON object has twice, for example "spec.hostnames"."""
    try:
        return tuple(_doubled(json.loads(raw, object_pairs_hook=_Pairs), ""))
    except ValueError:
        return ()


def _doubled(value: Any, at: str) -> list[str]:
    found: list[str] = []
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, child in value:
            path = f"{at}.{key}" if at else key
            found += [path] if key in seen else []
            seen.add(key)
            found += _doubled(child, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += _doubled(item, f"{at}[{index}]")
    return found


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def read_object(raw: bytes, content_type: str, kind: Kind, version: str) -> Json:
    """Return the object of a create or an update. Raises ApiError 400 or 415."""
    media = content_type.partition(";")[0].strip()
    if media not in ("", "application/json", "application/yaml"):
        accepted = "application/json, application/yaml" + (
            "" if kind.custom else ", application/vnd.kubernetes.protobuf"
        )
        raise unknown_format(accepted)
    if media == "application/yaml":
        found = yaml.safe_load(raw)
    else:
        try:
            found = parsed(raw)
        except ValueError as why:
            raise _unreadable(raw, kind, why) from why
    if not isinstance(found, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {kind.kind})")
    _check_kind(found, kind, version)
    return found


def _check_kind(found: Json, kind: Kind, version: str) -> None:
    wanted = kind.named(version)
    given, api_version = found.get("kind", kind.kind), found.get("apiVersion", wanted)
    if given != kind.kind:
        short = api_version.rpartition("/")[2]
        inner = f"converting ({short}.{given}) to (core.{kind.kind}): unknown conversion"
        raise bad_request(f'{given} in version "{short}" cannot be handled as a {kind.kind}: {inner}')
    if api_version != wanted:
        message = f"the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        raise bad_request(message)


def _unreadable(raw: bytes, kind: Kind, why: ValueError) -> ApiError:
    text = raw.decode(errors="replace")
    if not text:
        told = "unexpected end of JSON input (<empty>)"
    elif text.startswith("{") and text[1:2] not in ('"', "}", " ", "\n", ""):
        told = f"invalid character '{text[1]}' looking for beginning of object key string ({text})"
    else:
        told = f"{why} ({text})"
    message = (
        f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind; "
        f"json parse error: {told}"
    )
    return bad_request(message)


def unknown_format(accepted: str) -> ApiError:
    """Return the 415 of a body in a format that the resource does not take."""
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return ApiError(415, "UnsupportedMediaType", message)


def read_patch(raw: bytes, content_type: str, kind: Kind) -> tuple[str, Any]:
    """Return the media type and the value of a patch. Raises ApiError 400 or 415."""
    media = content_type.partition(";")[0].strip()
    if media not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY):
        raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    if media == STRATEGIC_PATCH and kind.custom:
        raise unknown_format(f"{JSON_PATCH}, {MERGE_PATCH}, {APPLY}")
    try:
        patch = yaml.safe_load(raw) if media == APPLY else parsed(raw)
    except (ValueError, yaml.YAMLError) as why:
        raise bad_request(f"error decoding patch: {why}") from why
    if media == JSON_PATCH and not isinstance(patch, list):
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {_go(patch)} into Go value of type []handlers.jsonPatchOp"
        )
    if media != JSON_PATCH and not isinstance(patch, dict):
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {_go(patch)} into Go value of type map[string]interface {{}}"
        )
    return media, patch


def _go(value: Any) -> str:
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    return {str: "string", bool: "bool"}.get(type(value), "number")
