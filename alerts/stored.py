"""Reads stored documents. Upgrades those of an older release; refuses those of a newer one and damaged ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from alerts.errors import NotReadable
from collectors.samples import Labels

Document = Mapping[str, Any]
Upgrade = Callable[[Document], Document]
"""Converts a document to the next format. The upgrade at index n of a sequence makes format n + 1 from format n."""
T = TypeVar("T")
_Check = Callable[[Any], None]
TIMES = ("_at", "_since")
"""Suffixes of fields that hold the unix seconds of a past event."""


@contextmanager
def reading() -> Iterator[None]:
    """Translate the errors that a malformed document raises into NotReadable, with the reason as its message."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise NotReadable(f"{type(error).__name__}: {error}") from error


def upgraded(content: Document, upgrades: Sequence[Upgrade]) -> dict[str, Any]:
    """Return a document in the newest format, without its `format` key. A document without the key is of format 0.

    Raises NotReadable for a document of a newer release, and for a value that is not a mapping.
    """
    if not isinstance(content, Mapping):
        raise NotReadable(f"it is {_said(content)} and not an object")
    stored = content.get("format", 0)
    if not isinstance(stored, int) or isinstance(stored, bool) or stored < 0:
        raise NotReadable(f"its format is {_said(stored)} and not a number")
    newest = len(upgrades)
    if stored > newest:
        raise NotReadable(f"it is of format {stored}, and this release knows {newest}")
    for upgrade in upgrades[stored:]:
        content = upgrade(content)
    return {key: value for key, value in content.items() if key != "format"}


def only(content: Document, known: Collection[str]) -> None:
    """Raise NotReadable when a document has a key outside `known`: writing the document back would lose that key."""
    if unknown := sorted(str(key) for key in content.keys() - set(known)):
        raise NotReadable(f"this release does not know {', '.join(unknown)}")


def items(value: Any) -> tuple[Any, ...]:
    """Return a document's list as a tuple. Raises NotReadable for any other value (`tuple("ab")` would also work)."""
    if not isinstance(value, list | tuple):
        raise NotReadable(f"{_said(value)} is not a list")
    return tuple(value)


def checked(value: T) -> T:
    """Return a dataclass value unchanged. Raises NotReadable when a field, at any depth, is of the wrong type."""
    kind: Any = type(value)
    try:
        _of_class(kind)(value)
    except _Wrong as wrong:
        raise NotReadable(f"{''.join(reversed(wrong.place)).lstrip('.')} is {wrong}") from None
    return value


class _Wrong(Exception):
    """A value of the wrong type. `place` is built from the inside out, so that correct values cost nothing."""

    def __init__(self, value: Any, wanted: str) -> None:
        super().__init__(f"{_said(value)} and not {wanted}")
        self.place: list[str] = []


@cache
def _of_class(kind: Any) -> _Check:
    hints = get_type_hints(kind)
    of = {field.name: _of_time if _has_happened(field.name) else _of for field in fields(kind)}
    parts = [(name, of_kind(hints[name])) for name, of_kind in of.items()]

    def check(value: Any) -> None:
        if not isinstance(value, kind):
            raise _Wrong(value, f"a {kind.__name__}")
        name = ""
        try:
            for name, part in parts:
                part(getattr(value, name))
        except _Wrong as wrong:
            wrong.place.append(f".{name}")
            raise

    return check


def _has_happened(field: str) -> bool:
    return field.endswith(TIMES) and not field.startswith("next_")  # what is yet to come may be put off for ever


def _of_time(hint: Any) -> _Check:
    """Return what checks a time: unlike a value that was measured, it is never infinite."""
    part = _of(hint)

    def check(value: Any) -> None:
        part(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise _Wrong(value, "a time")

    return check


@cache
def _of(hint: Any) -> _Check:
    """Return the check for values of a declared type. Raises AssertionError for a type that documents cannot hold."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: None
    if origin in (Union, UnionType):
        return _of_union(args)
    if hint == Labels:
        return _of_labels(_of_items(_of(args[0])))
    if origin is tuple and args[-1] is Ellipsis:
        return _of_items(_of(args[0]))
    if origin is tuple:
        return _of_places(tuple(map(_of, args)))
    if origin in (dict, Mapping):
        return _of_pairs(_of(args[0]), _of(args[1]))
    if is_dataclass(hint) and isinstance(hint, type):
        return _of_class(hint)
    if hint is float:
        return _of_plain((float, int), "a number")
    if hint is int:
        return _of_plain((int,), "a whole number")
    words = {str: "a text", bool: "true or false", NoneType: "null", datetime: "a time"}
    if isinstance(hint, type) and (hint in words or issubclass(hint, Enum)):
        return _of_plain((hint,), words.get(hint, f"a {hint.__name__}"))
    raise AssertionError(f"no document holds a {hint}")


def _of_plain(kinds: tuple[type, ...], words: str) -> _Check:
    def check(value: Any) -> None:
        # Not isinstance: in Python a bool is an int, but here it is not a number.
        if type(value) not in kinds:
            raise _Wrong(value, words)

    return check


def _of_union(hints: tuple[Any, ...]) -> _Check:
    inner = [_of(hint) for hint in hints if hint is not NoneType]
    assert len(inner) == 1 < len(hints), f"no document holds one of {hints}"
    (part,) = inner

    def check(value: Any) -> None:
        if value is not None:
            part(value)

    return check


def _of_items(part: _Check) -> _Check:
    def check(value: Any) -> None:
        if not isinstance(value, tuple):
            raise _Wrong(value, "a list")
        place = 0
        try:
            for place, item in enumerate(value):  # noqa: B007 - used in the handler below
                part(item)
        except _Wrong as wrong:
            wrong.place.append(f"[{place}]")
            raise

    return check


def _of_labels(part: _Check) -> _Check:
    """Return a check of labels that calls no function for each of them: thousands of alerts are read at a time."""

    def check(value: Any) -> None:
        if type(value) is tuple:
            for pair in value:
                if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not str:
                    break
            else:
                return
        part(value)

    return check


def _of_places(parts: tuple[_Check, ...]) -> _Check:
    def check(value: Any) -> None:
        if not isinstance(value, tuple) or len(value) != len(parts):
            raise _Wrong(value, f"{len(parts)} values")
        for part, item in zip(parts, value, strict=True):
            part(item)

    return check


def _of_pairs(key: _Check, part: _Check) -> _Check:
    def check(value: Any) -> None:
        if not isinstance(value, Mapping):
            raise _Wrong(value, "an object")
        name = ""
        try:
            for name, item in value.items():
                key(name)
                part(item)
        except _Wrong as wrong:
            wrong.place.append(f".{name}")
            raise

    return check


def _said(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:60]}…"
