"""Label and field selectors of lists and watches."""

import re
from collections.abc import Callable
from typing import Any

from tests.fakes.kubernetes.errors import bad_request

Json = dict[str, Any]
Matcher = Callable[[Json], bool]


def labels(text: str) -> Matcher:
    """Return the matcher of a label selector such as "app=chat,version in (v1,v2),!old"."""
    wanted = [_requirement(part.strip()) for part in re.split(r",(?![^(]*\))", text) if part.strip()]
    return lambda found: all(one(found.get("metadata", {}).get("labels") or {}) for one in wanted)


def _requirement(text: str) -> Matcher:
    if listed := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", text):
        key, names, negated = listed[1], {one.strip() for one in listed[3].split(",")}, listed[2] == "notin"
        return lambda held: (held.get(key) in names) != negated
    if compared := re.fullmatch(r"([^=!\s]+)\s*(=|==|!=)\s*([^=!\s]*)", text):
        key, value, negated = compared[1], compared[3], compared[2] == "!="
        return lambda held: (held.get(key) == value) != negated
    if re.fullmatch(r"!?[^=!\s]+", text):
        key, absent = text.lstrip("!"), text.startswith("!")
        return lambda held: (key in held) != absent
    if listed := re.fullmatch(r"\S+\s+(?:in|notin)\s+(\S+)", text):
        raise bad_request(f"unable to parse requirement: found '{listed[1]}' expected: '('")
    raise bad_request(f"unable to parse requirement: {text}")


SELECTABLE = {
    "Pod": ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "status.phase", "status.podIP"),
    "Event": ("involvedObject.kind", "involvedObject.name", "involvedObject.namespace", "reason", "type"),
}
"""Fields that a field selector may name, besides metadata.name and metadata.namespace."""


def fields(text: str, kind: str = "") -> Matcher:
    """Return the matcher of a field selector such as "metadata.name=chat,status.phase!=Running".

    Raises ApiError 400 for a field that a kind does not select by.
    """
    wanted = []
    for part in filter(None, text.split(",")):
        path, sign, value = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part).groups()  # type: ignore[union-attr]
        if kind and path not in ("metadata.name", "metadata.namespace", *SELECTABLE.get(kind, ())):
            raise bad_request(f"field label not supported: {path}")
        wanted.append((path.split("."), value, sign == "!="))
    return lambda found: all((_at(found, path) == value) != negated for path, value, negated in wanted)


def named(text: str) -> str:
    """Return the name that a field selector asks for, or "". RBAC allows a list of one name by resourceNames."""
    found = re.fullmatch(r"metadata\.name==?([^,!]+)", text)
    return found[1] if found else ""


def _at(found: Any, path: list[str]) -> str:
    for part in path:
        found = found.get(part, "") if isinstance(found, dict) else ""
    return str(found)
