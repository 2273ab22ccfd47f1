"""Documents of other releases, and damaged ones: which are read, and the error for the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import pytest

from alerts.errors import NotReadable
from alerts.stored import Document, checked, items, only, reading, upgraded


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Part:
    number: int


@dataclass(frozen=True)
class Whole:
    text: str = "a"
    ratio: float = 1
    flag: bool = True
    colour: Colour = Colour.RED
    maybe: float | None = None
    parts: tuple[Part, ...] = (Part(1),)
    pairs: tuple[tuple[str, str], ...] = (("a", "b"),)
    table: dict[str, Colour] | None = None
    body: Mapping[str, Any] | None = None
    begun_at: float | None = None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ratio": 0.5, "maybe": 1, "parts": (), "pairs": ()},
        {"table": {"a": Colour.RED}, "body": {"anything": [1, None]}},
        {"ratio": math.inf, "begun_at": 1e9},
    ],
)
def test_what_is_of_its_type_is_returned_as_it_is(fields: dict[str, Any]) -> None:
    value = replace(Whole(), **fields)
    assert checked(value) is value


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"text": 1}, "text is 1 and not a text"),
        ({"text": None}, "text is None and not a text"),
        ({"ratio": "a"}, "ratio is 'a' and not a number"),
        ({"ratio": True}, "ratio is True and not a number"),
        ({"flag": 1}, "flag is 1 and not true or false"),
        ({"colour": "red"}, "colour is 'red' and not a Colour"),
        ({"maybe": "x" * 100}, f"maybe is '{'x' * 59}… and not a number"),
        ({"parts": [Part(1)]}, "parts is [Part(number=1)] and not a list"),
        ({"parts": (Part(1), Part(1.5))}, "parts[1].number is 1.5 and not a whole number"),  # type: ignore[arg-type]
        ({"parts": (3,)}, "parts[0] is 3 and not a Part"),
        ({"pairs": (("a", 1),)}, "pairs[0] is 1 and not a text"),
        ({"pairs": (("a", "b", "c"),)}, "pairs[0] is ('a', 'b', 'c') and not 2 values"),
        ({"table": {"a": "red"}}, "table.a is 'red' and not a Colour"),
        ({"table": []}, "table is [] and not an object"),
        ({"begun_at": math.inf}, "begun_at is inf and not a time"),
        ({"begun_at": math.nan}, "begun_at is nan and not a time"),
        ({"begun_at": "a"}, "begun_at is 'a' and not a number"),
    ],
)
def test_what_is_of_another_type_is_refused_with_its_place(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(NotReadable) as refused:
        checked(replace(Whole(), **fields))
    assert str(refused.value) == told


def test_a_type_that_no_document_holds_is_a_mistake_of_the_program() -> None:
    @dataclass(frozen=True)
    class Wrong:
        value: bytes = b""

    with pytest.raises(AssertionError, match="no document holds"):
        checked(Wrong())


def to_1(document: Document) -> Document:
    return {"added": 1, **document}


def to_2(document: Document) -> Document:
    return {("renamed" if key == "name" else key): value for key, value in document.items()}


@pytest.mark.parametrize(
    ("stored", "now"),
    [
        ({"name": "x"}, {"added": 1, "renamed": "x"}),
        ({"format": 1, "name": "x"}, {"renamed": "x"}),
        ({"format": 2, "renamed": "x"}, {"renamed": "x"}),
    ],
)
def test_a_document_goes_through_the_upgrades_that_it_lacks(stored: Document, now: Document) -> None:
    before = dict(stored)
    assert upgraded(stored, (to_1, to_2)) == now
    assert stored == before


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ({"format": 3}, "it is of format 3, and this release knows 2"),
        ({"format": "2"}, "its format is '2' and not a number"),
        ({"format": True}, "its format is True and not a number"),
        ({"format": -1}, "its format is -1 and not a number"),
        (None, "it is None and not an object"),
        ([], "it is [] and not an object"),
    ],
)
def test_a_document_of_a_newer_release_and_what_is_none_is_refused(stored: Any, told: str) -> None:
    with pytest.raises(NotReadable) as refused:
        upgraded(stored, (to_1, to_2))
    assert str(refused.value) == told


def test_a_key_that_is_not_understood_is_refused_by_name() -> None:
    only({"a": 1}, ("a", "b"))
    with pytest.raises(NotReadable, match=r"^this release does not know c, d$"):
        only({"d": 1, "a": 1, "c": 1}, ("a",))


def test_a_text_is_no_list() -> None:
    assert items([1]) == items((1,)) == (1,)
    with pytest.raises(NotReadable, match=r"^'abc' is not a list$"):
        items("abc")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda: dict[str, str]()["a"], "KeyError: 'a'"),
        (lambda: int("a"), "ValueError: invalid literal"),
        (lambda: None.items(), "AttributeError: 'NoneType'"),  # type: ignore[attr-defined]
        (lambda: int(float("inf")), "OverflowError: cannot convert"),
    ],
)
def test_what_a_reader_trips_over_is_said(fault: Callable[[], Any], told: str) -> None:
    with pytest.raises(NotReadable, match=f"^{told}"), reading():
        fault()
