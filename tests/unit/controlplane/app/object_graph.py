"""Everything that an object holds, as plain values by path: what a reload left is compared with a fresh start."""

from __future__ import annotations

import enum
import functools
import types
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from alerts.rules import RuleGroup
from alerts.template import Template

OURS = ("controlplane", "alerts", "collectors")
PLAIN = (str, bytes, int, float, bool, type(None), Path, enum.Enum, BaseModel, type, RuleGroup, Template)
"""What is compared as a whole. A template is a function of its text."""


@dataclass
class Graph:
    """What was found: values by path, and for each path the class and attribute that it belongs to."""

    values: dict[str, object] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)

    def differences(self, other: Graph) -> dict[str, str]:
        """Return the `Class.attribute` of each path whose value differs, or that only one has."""
        absent = object()
        paths = {**self.values, **other.values}
        differ = [p for p in paths if self.values.get(p, absent) != other.values.get(p, absent)]
        return {path: self.owners.get(path) or other.owners[path] for path in differ}


def graph(root: object, skipped: tuple[type, ...]) -> Graph:
    """Walk from `root` over objects of ours and containers, nearest first. Those of `skipped` types stay closed.

    What is a value (a frozen dataclass, a named tuple) is looked into wherever it is; what has a state, once.
    """
    found = Graph()
    values, owners = found.values, found.owners
    seen: dict[int, object] = {}
    todo = deque([("", "", root)])
    while todo:
        path, owner, value = todo.popleft()
        kind = type(value)
        way = _way(kind, skipped)  # type: ignore[arg-type]  # for mypy a class has the hash of its objects
        if way == "plain":
            values[path], owners[path] = value, owner
        elif way == "array":
            assert isinstance(value, np.ndarray)
            values[path], owners[path] = value.tobytes(), owner
        elif way == "value" or (way != "skipped" and (id(value) not in seen or _is_document(value))):
            seen[id(value)] = value  # held: an id is used again once its object is gone
            todo += [(path + step, attribute or owner, inner) for step, attribute, inner in _parts(value)]
    return found


@functools.cache
def _way(kind: type, skipped: tuple[type, ...]) -> Literal["skipped", "plain", "array", "value", "state"]:
    """Return what the walk does at an object of this type."""
    if issubclass(kind, skipped):
        return "skipped"
    if issubclass(kind, PLAIN):
        return "plain"
    if issubclass(kind, np.ndarray):
        return "array"
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # typeshed lacks it
    return "value" if frozen or issubclass(kind, tuple | types.FunctionType | functools.partial) else "state"


def _is_document(value: object) -> bool:
    """Return whether a list is of plain values: part of a document of fleet.yaml, which parts share or copy as they
    like.
    """
    return isinstance(value, list) and all(isinstance(one, PLAIN) for one in value)


def _parts(value: object) -> Iterator[tuple[str, str, object]]:
    """Yield (step, `Class.attribute` or "", what is there)."""
    match value:
        case Mapping():
            yield from sorted(((f"[{_key(key)}]", "", inner) for key, inner in value.items()), key=lambda part: part[0])
        case set() | frozenset():
            yield "{}", "", repr(sorted(map(repr, value)))
        case tuple() if hasattr(value, "_asdict"):
            name = type(value).__name__
            yield from ((f".{key}", f"{name}.{key}", inner) for key, inner in value._asdict().items())
        case list() | tuple():
            yield "#", "", len(value)
            yield from ((f"[{number}]", "", inner) for number, inner in enumerate(value))
        case functools.partial():
            yield from (("()", "", value.func), ("(…)", "", value.args), ("(…=)", "", value.keywords))
        case types.MethodType():
            yield from (("()", "", value.__func__.__qualname__), (".self", "", value.__self__))
        case types.FunctionType():
            yield "()", "", value.__qualname__
            yield from ((f"<{number}>", "", cell.cell_contents) for number, cell in enumerate(value.__closure__ or ()))
        case _ if type(value).__module__.startswith(OURS):
            yield from _attributes(value)


def _attributes(value: object) -> Iterator[tuple[str, str, object]]:
    name = type(value).__name__
    slots = [slot for kind in type(value).__mro__ for slot in getattr(kind, "__slots__", ())]
    held: dict[str, Any] = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)}
    for key, inner in {**held, **getattr(value, "__dict__", {})}.items():
        yield f".{key}", f"{name}.{key}", inner


def _key(key: object) -> str:
    return key if isinstance(key, str) else repr(key)
