"""A desired state as JSON, over the wire and on the gateway's disk. Reading is strict and bounded.

A field that has its default is left out. A change of a default therefore needs a new FORMAT.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from controlplane.gateway.desired import rules
from controlplane.gateway.desired.document import FORMAT, Desired
from controlplane.gateway.errors import BadDesired

MAX_BYTES = 64 * 2**20
"""Maximum size of a document, in bytes. Chosen: 100,000 keys with limits take some 30 MB."""
MAX_ITEMS = 200_000
"""Maximum length of one list or map. Chosen: twice the keys that a control plane is expected to hold."""
MAX_CHARS = 4096
"""Maximum length of one text. Chosen: longer than any URL or path in use."""
_Reader = Callable[[Any, str], Any]
"""Reads one JSON value of a declared type; the text is its place in the document. Raises BadDesired."""


def encode(desired: Desired) -> bytes:
    """Return the document as JSON. Equal states give equal bytes."""
    content = {"format": FORMAT, **_plain(desired)}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode(data: bytes) -> Desired:
    """Return the desired state of a JSON document.

    Raises BadDesired with the place and the fault, also for a document of a newer release.
    """
    if len(data) > MAX_BYTES:
        raise BadDesired(f"the document has {len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        content = json.loads(data, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise BadDesired(f"the document is not JSON: {error or type(error).__name__}") from error
    if not isinstance(content, dict):
        raise BadDesired(f"the document is {_said(content)}; expected an object")
    found = content.pop("format", None)
    if type(found) is not int or found < 1:
        raise BadDesired(f"format: expected a number from 1, got {_said(found)}")
    if found > FORMAT:
        raise BadDesired(
            f"the document is of format {found}, and this gateway knows {FORMAT}: a newer control plane made it; "
            "upgrade the gateway"
        )
    desired: Desired = _of_class(Desired)(content, "")
    rules.check(desired)
    return desired


def sealed(desired: Desired) -> Desired:
    """Return the state with its revision: a hash of everything else in it."""
    blank = replace(desired, revision="-")
    return replace(blank, revision=hashlib.sha256(encode(blank)).hexdigest()[:32])


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {
            name: _plain(inner)
            for name, default in _defaults(type(value))
            if (inner := getattr(value, name)) != default or type(inner) is not type(default)
        }
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


@cache
def _defaults(kind: type) -> tuple[tuple[str, Any], ...]:
    """Return (field, default) of a dataclass. MISSING for a field without one."""
    assert is_dataclass(kind)
    return tuple(
        (field.name, field.default if field.default_factory is MISSING else field.default_factory())
        for field in fields(kind)
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {_said(twice)} twice")
    return found


def _constant(word: str) -> float:
    raise ValueError(f"{word} is not a JSON number")


@cache
def _of_class(kind: type) -> _Reader:
    """Return the reader of a dataclass from an object. It refuses unknown fields and a missing required one."""
    hints = get_type_hints(kind)
    readers = {name: _of(hints[name]) for name, _ in _defaults(kind)}
    required = [name for name, default in _defaults(kind) if default is MISSING]

    def read(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(place, value, "an object")
        if unknown := sorted(value.keys() - readers.keys()):
            raise BadDesired(f"{_at(place, unknown[0])}: this gateway does not know the field")
        for name in required:
            if name not in value:
                raise BadDesired(f"{_at(place, name)}: is missing")
        return kind(**{name: readers[name](inner, _at(place, name)) for name, inner in value.items()})

    return read


def _of(hint: Any) -> _Reader:
    """Return the reader of a declared type. Raises AssertionError for a type that the document cannot hold."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (inner,) = [_of(arg) for arg in args if arg is not NoneType]
        return lambda value, place: None if value is None else inner(value, place)
    if origin is tuple:
        assert args[1] is Ellipsis
        return _of_items(_of(args[0]))
    if origin is dict:
        return _of_map(_of(args[1]))
    if isinstance(hint, type) and is_dataclass(hint):
        return _of_class(hint)
    return {str: _text, int: _whole, float: _number, bool: _yes_or_no}[hint]


def _of_items(item: _Reader) -> _Reader:
    def read(value: Any, place: str) -> Any:
        if not isinstance(value, list):
            raise _wrong(place, value, "a list")
        _bounded(value, place)
        return tuple([item(inner, f"{place}[{number}]") for number, inner in enumerate(value)])

    return read


def _of_map(item: _Reader) -> _Reader:
    def read(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(place, value, "an object")
        _bounded(value, place)
        return {_text(name, place): item(inner, _at(place, name)) for name, inner in value.items()}

    return read


def _bounded(value: list[Any] | Mapping[str, Any], place: str) -> None:
    if len(value) > MAX_ITEMS:
        raise BadDesired(f"{place}: has {len(value)} entries; at most {MAX_ITEMS} are read")


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise _wrong(place, value, "a text")
    if len(value) > MAX_CHARS:
        raise BadDesired(f"{place}: has {len(value)} characters; at most {MAX_CHARS} are read")
    # A line break in a name or address would end a header field of a request to an engine.
    if not value.isprintable() and any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        raise BadDesired(f"{place}: {_said(value)} holds a control character")
    return value


def _whole(value: Any, place: str) -> int:
    if type(value) is not int:
        raise _wrong(place, value, "a whole number")
    if not -(2**53) <= value <= 2**53:
        raise BadDesired(f"{place}: {_said(value)} is out of range")
    return value


def _number(value: Any, place: str) -> float:
    if type(value) not in (int, float):
        raise _wrong(place, value, "a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise BadDesired(f"{place}: {_said(value)} is out of range")
    return found


def _yes_or_no(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(place, value, "true or false")
    return value


def _at(place: str, name: str) -> str:
    shown = name if len(name) <= 60 else f"{name[:60]}…"
    return f"{place}.{shown}" if place else shown


def _wrong(place: str, value: Any, wanted: str) -> BadDesired:
    return BadDesired(f"{place or 'the document'}: expected {wanted}, got {_said(value)}")


def _said(value: Any) -> str:
    words = ascii(value)
    return words if len(words) <= 60 else f"{words[:60]}…"
