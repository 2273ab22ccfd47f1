"""Lists: selectors, pages and the versions that a list may name."""

import base64
import copy
import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.kubernetes import selectors
from tests.fakes.kubernetes.errors import ApiError, Cause, bad_request, invalid
from tests.fakes.kubernetes.paths import Target
from tests.fakes.kubernetes.store import Store

Json = dict[str, Any]

GONE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def number(text: str) -> int:
    """Return a resourceVersion as a number. Raises ApiError 400."""
    if not text.isdecimal():
        told = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise bad_request(f"invalid resource version: {told}")
    return int(text)


def listing(store: Store, target: Target, query: Mapping[str, str]) -> Json:
    """Return the list that a query asks for."""
    asked, match, token = query.get("resourceVersion", ""), query.get("resourceVersionMatch", ""), query.get("continue")
    if match and not asked:
        raise _options("resourceVersionMatch is forbidden unless resourceVersion is provided")
    version, after = None, ""
    wanted = number(asked) if asked else 0
    if token:
        version, after = _read_token(store, token)
    elif match == "Exact":
        version = wanted
        if wanted < store.oldest:
            raise ApiError(410, "Expired", "The resourceVersion for the provided list is too old.")
    if not token and wanted > store.version:
        raise too_large(wanted, store.version)
    by_label = selectors.labels(query.get("labelSelector", ""))
    by_field = selectors.fields(query.get("fieldSelector", ""), target.kind.kind)
    found = [
        (key, one) for key, one in store.held(target.kind, target.namespace, version) if by_label(one) and by_field(one)
    ]
    if after:
        found = [(key, one) for key, one in found if _place(target, key.namespace, key.name) >= after]
    metadata: Json = {"resourceVersion": str(store.version if version is None else version)}
    limit = int(query.get("limit") or 0)
    if limit and asked != "0" and len(found) > limit:
        last = found[limit - 1][0]
        place = "/" + _place(target, last.namespace, last.name) + "\0"
        metadata["continue"] = _token(int(metadata["resourceVersion"]), place)
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            metadata["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    items = [_bare(copy.deepcopy(one), target) for _, one in found]  # of this page only: a cluster may have many
    return {
        "kind": f"{target.kind.kind}List",
        "apiVersion": target.kind.named(target.version),
        "metadata": metadata,
        "items": items,
    }


def too_large(wanted: int, current: int) -> ApiError:
    """Return the 504 of a resourceVersion from the future."""
    told = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return ApiError(504, "Timeout", f"Timeout: Too large resource version: {wanted}, current: {current}", told)


def _bare(found: Json, target: Target) -> Json:
    if target.kind.custom:
        return found | {"apiVersion": target.kind.named(target.version)}
    return {key: value for key, value in found.items() if key not in ("kind", "apiVersion")}


def _place(target: Target, namespace: str, name: str) -> str:
    return name if target.namespace or not target.kind.namespaced else f"{namespace}/{name}"


def _token(version: int, start: str) -> str:
    raw = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def _read_token(store: Store, token: str) -> tuple[int | None, str]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, start = int(found["rv"]), str(found["start"]).lstrip("/")
    except (ValueError, KeyError, TypeError) as why:
        told = "continue key is not valid: invalid character 'i' looking for beginning of value"
        raise bad_request(f"invalid continue token: {told}") from why
    if version == -1:
        return None, start
    if version < store.oldest:
        raise ApiError(410, "Expired", GONE, meta={"continue": _token(-1, start)})
    return version, start


def _options(told: str) -> ApiError:
    cause = Cause("FieldValueForbidden", f"Forbidden: {told}", "resourceVersionMatch")
    return invalid("ListOptions", "meta.k8s.io", "", [cause])
