"""Compares two configurations field by field. Values that may hold a secret are compared but never shown."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from collectors.durations import format_duration
from controlplane.config.durations import duration_seconds
from controlplane.config.model import Fleet

_AT_START = re.compile(r"database$|metrics(?!\.remote_write($|[.\[]))")
"""Fields that are read only once, when the control plane starts."""
_HIDDEN = re.compile(
    r"^notifiers\[[^\]]*\]\.url$"
    r"|(^|\.)(database|(headers|environment)(\..*)?|.*(password|secret|token|api_key)s?)$"
)
"""Fields whose value may hold a secret: addresses of a database and of webhooks, our headers, and fields named like a
secret."""
_FILES = re.compile(r"_(file|env)$")
"""Fields that hold the name of a file or a variable, which is no secret."""
_USERINFO = re.compile(r"://[^/@\s]+@")
_QUERY = re.compile(r'(://[^\s"?#]+\?)[^\s"#]+')
"""Query string of an address: it may hold a key, as `?token=…`."""
AT_NEXT_START = "at the next start"
HIDDEN = "(hidden)"
MAX_SHOWN = 200
"""Maximum number of characters shown of one value."""


class Change(NamedTuple):
    """One field that differs. `before` and `after` are texts for people; None: the field is absent."""

    field: str
    before: str | None
    after: str | None
    effect: str


def differences(before: Fleet, after: Fleet) -> list[Change]:
    """Return all differences, in the order of the file's sections."""
    found = []
    for name in type(after).model_fields:
        for path, old, new in _compare(name, _written(before, name), _written(after, name)):
            effect = AT_NEXT_START if _AT_START.match(path) else "at the reload"
            found.append(Change(path, _shown(path, old), _shown(path, new), effect))
    return found


class _Absent:
    """A field or an item that one side lacks."""


_ABSENT = _Absent()
Difference = tuple[str, Any, Any]


def _compare(path: str, old: Any, new: Any) -> Iterator[Difference]:
    if old == new:
        return
    if isinstance(old, BaseModel) and isinstance(new, BaseModel) and type(old) is type(new):
        for name, field in type(new).model_fields.items():
            yield from _compare(f"{path}.{field.alias or name}", _written(old, name), _written(new, name))
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from _compare(f"{path}.{key}", old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif isinstance(old, tuple) and isinstance(new, tuple) and _of_sections((*old, *new)):
        yield from _compare_items(path, old, new)
    else:
        yield path, old, new


def _written(section: BaseModel, name: str) -> Any:
    """Return a field's value as the file has it: a duration as a text, 300.0 -> "5m"."""
    value = getattr(section, name)
    if isinstance(value, float) and _is_duration(type(section).model_fields[name]):
        return format_duration(value)
    return value


def _is_duration(field: FieldInfo) -> bool:
    inner = [m for argument in typing.get_args(field.annotation) for m in getattr(argument, "__metadata__", ())]
    return any(getattr(m, "func", None) is duration_seconds for m in (*field.metadata, *inner))


def _of_sections(items: Sequence[Any]) -> bool:
    return all(isinstance(item, BaseModel) for item in items)


def _compare_items(path: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Difference]:
    """Compare lists of sections: by name if they have names, else by position after equal items are removed."""
    names = [getattr(item, "name", None) for item in (*old, *new)]
    if all(names):
        before, after = ({item.name: item for item in items} for items in (old, new))
        for name in dict.fromkeys((*before, *after)):
            yield from _compare(f"{path}[{name}]", before.get(name, _ABSENT), after.get(name, _ABSENT))
        return
    left = [(i, item) for i, item in enumerate(old) if item not in new]
    come = [(i, item) for i, item in enumerate(new) if item not in old]
    if len(left) == len(come):
        for (_, was), (i, now) in zip(left, come, strict=True):
            yield from _compare(f"{path}[{i}]", was, now)
        return
    yield from ((f"{path}[{i}]", item, _ABSENT) for i, item in left)
    yield from ((f"{path}[{i}]", _ABSENT, item) for i, item in come)


def _shown(path: str, value: Any) -> str | None:
    if value is _ABSENT:
        return None
    if value is not None and _HIDDEN.search(path) and not _FILES.search(path):
        return HIDDEN
    text = json.dumps(_plain(path, value), ensure_ascii=False)
    text = _QUERY.sub(rf"\1{HIDDEN}", _USERINFO.sub(f"://{HIDDEN}@", text))
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def _plain(path: str, value: Any) -> Any:
    """Return a value for JSON, without fields that are not set, and with secrets hidden."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {
            field.alias or name: _plain(f"{path}.{field.alias or name}", _written(value, name))
            for name, field in fields.items()
            if name in value.model_fields_set
        }
    if value is not None and _HIDDEN.search(path) and not _FILES.search(path):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: _plain(f"{path}.{key}", item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(path, item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
