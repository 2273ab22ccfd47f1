"""The expected properties of an answer, one by one, and that nothing hostile takes long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.rollout.options import Expected
from controlplane.rollout.work.expectations import MOST_JSON, missing

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "celsius": {"type": "number"}},
    "required": ["city", "celsius"],
    "additionalProperties": False,
}


def has(text: str, **expected: Any) -> str:
    return missing(Expected(**expected), text)


@pytest.mark.parametrize(
    ("text", "expected", "fault"),
    [
        ("it is 4", {"contains": ("4",)}, ""),
        ("it is 4", {"contains": ("4", "four")}, "lacks contains[1]"),
        ("it is 4", {"lacks": ("5",)}, ""),
        ("it is 4", {"lacks": ("it", "5")}, "contains lacks[0]"),
        (" 4\n", {"exact": "4"}, ""),
        ("4.", {"exact": "4"}, "is not exact"),
        ("", {"exact": ""}, ""),
        ("it is 4", {"regex": r"\b[0-9]\b"}, ""),
        ("it is 42", {"regex": r"\b[0-9]\b"}, "does not match regex"),
        ("one\ntwo", {"regex": "(?m)^two$"}, ""),
        ("four", {"at_least_characters": 4, "at_most_characters": 4}, ""),
        ("four", {"at_least_characters": 5}, "has 4 characters, at least 5 are expected"),
        ("four", {"at_most_characters": 3}, "has 4 characters, at most 3 are expected"),
        ('{"city": "Graz", "celsius": 21.5}\n', {"json_schema": SCHEMA}, ""),
        ('{"city": "Graz"}', {"json_schema": SCHEMA}, "breaks json_schema at required"),
        ('{"city": "graz", "celsius": 1}', {"json_schema": SCHEMA}, "breaks json_schema at properties/city/pattern"),
        ('```json\n{"city": "Graz"}\n```', {"json_schema": SCHEMA}, "is not JSON"),
        ("", {"json_schema": SCHEMA}, "is not JSON"),
        ("4", {"json_schema": {"type": "integer"}}, ""),
        ("anything", {}, ""),
        ("anything", {"judged": "is polite"}, ""),
    ],
)
def test_a_property(text: str, expected: dict[str, Any], fault: str) -> None:
    assert has(text, **expected) == fault


def test_every_property_must_hold() -> None:
    assert has("four", contains=("four",), regex="^f", at_most_characters=3) != ""


def test_no_sentence_quotes_the_answer() -> None:
    secret = '{"SECRET": "SECRET"}'
    every: list[dict[str, Any]] = [
        {"contains": ("x",)},
        {"lacks": ("SECRET",)},
        {"exact": "x"},
        {"regex": "x"},
        {"at_most_characters": 1},
        {"json_schema": SCHEMA},
        {"json_schema": {"type": "object", "additionalProperties": {"type": "integer"}}},
    ]
    for expected in every:
        assert "SECRET" not in has(secret, **expected) != ""


class TestHostile:
    """These end at once: an engine that steps back takes longer than the age of the universe for each."""

    def test_a_regex_that_repeats_repetitions(self) -> None:
        assert has("a" * 50_000 + "b", regex="^(a+)+$") == "does not match regex"

    def test_a_pattern_of_a_schema_that_repeats_repetitions(self) -> None:
        schema = {"type": "string", "pattern": "^(a+)+$"}
        assert has(json.dumps("a" * 50_000 + "b"), json_schema=schema) == "breaks json_schema at pattern"

    def test_a_schema_does_not_reach_out(self) -> None:
        with pytest.raises(ValueError, match="Retrieval is disabled"):
            has("1", json_schema={"$ref": "http://127.0.0.1:1/schema.json"})

    def test_a_deep_answer(self) -> None:
        schema = {"$ref": "#/$defs/tree", "$defs": {"tree": {"items": {"$ref": "#/$defs/tree"}}}}
        assert has("[" * 100_000 + "]" * 100_000, json_schema=schema) == "is not JSON"

    def test_a_long_answer_is_not_compared(self) -> None:
        assert "is too long" in has(json.dumps("a" * MOST_JSON), json_schema={"type": "string"})
