"""YAML as plain data: the values of YAML 1.2, texts as written, and everything that is refused with its line."""

from __future__ import annotations

import io
import math
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from collectors.yaml_text import SECOND, YamlError, load_texts, load_values


def theirs(text: str, kind: str = "safe") -> Any:
    """Return what the parser of fleet.yaml makes of a text."""
    return YAML(typ=kind, pure=True).load(text)


@pytest.mark.parametrize("name", ["catalogue/catalogue.yaml", "logs/patterns.yaml"])
def test_the_packaged_files_are_read_as_by_the_parser_of_fleet_yaml(name: str) -> None:
    text = (resources.files("collectors") / name).read_text(encoding="utf-8")
    assert load_values(text) == theirs(text)
    assert load_texts(text) == theirs(text, "base")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("FALSE", False),
        ("'true'", "true"),
        ("~", None),
        ("", None),
        ("'~'", "~"),
        ("12", 12),
        ("-12", -12),
        ("0o17", 15),
        ("0x1F", 31),
        ("012", 12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-.inf", -math.inf),
        ("1.10", 1.1),
        ("'1.10'", "1.10"),
        ("1.2.3", "1.2.3"),
        ("2026-11-29", "2026-11-29"),
        ("12:30", "12:30"),
        ("!!str 5", "5"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_a_value_is_that_of_yaml_1_2(written: str, value: Any) -> None:
    assert load_values(f"a: {written}") == {"a": value}


def test_nan_is_a_number() -> None:
    assert math.isnan(load_values("a: .nan")["a"])


def test_texts_stay_as_written() -> None:
    text = "- {targets: [h:1], labels: {version: 1.10, on: yes, empty: , quoted: 'x: y'}}"
    assert load_texts(text) == [
        {"targets": ["h:1"], "labels": {"version": "1.10", "on": "yes", "empty": "", "quoted": "x: y"}}
    ]
    assert load_texts("") is None and load_texts("# nothing") is None


def test_an_alias_is_the_same_object_and_may_hold_itself() -> None:
    found = load_values("a: &x [1, 2]\nb: *x\nc: &y [*y]\n")
    assert found["a"] is found["b"] and found["a"] == [1, 2]
    assert found["c"][0] is found["c"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: [1\nb: 2", 2, "not YAML: did not find expected"),
        ("a: 1\nb:\n  c: 1\n  c: 2", 4, "not YAML: 'c' is given twice"),
        ("? [1]\n: 2", 1, "not YAML: a field's name must be a text"),
        ("a: 1\n---\nb: 2", 2, SECOND),
        ("a: *x", 1, "not YAML: no anchor before it is named &x"),
        ("a: \x00", 1, r"not YAML: the character U\+0000 is not allowed"),
        ("[" * 101 + "]" * 101, 1, "not read: it is nested more than 100 levels deep"),
        ("[" * 1_000_000, 1, "not read: it is nested more than 100 levels deep"),
        ("{a: " * 100_000, 1, "not read: it is nested more than 100 levels deep"),
    ],
)
def test_what_is_not_read_is_told_with_its_line(text: str, line: int, reason: str) -> None:
    for load in (load_texts, load_values):
        with pytest.raises(YamlError, match=reason) as caught:
            load(text)
        assert caught.value.line == line


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
TREES = st.recursive(LEAVES, lambda t: st.lists(t, max_size=4) | st.dictionaries(st.text(max_size=6), t, max_size=4))


@given(TREES)
def test_what_the_parser_of_fleet_yaml_writes_is_read_back(tree: Any) -> None:
    written, writer = io.StringIO(), YAML(typ="safe", pure=True)
    writer.default_flow_style = False  # libyaml, as Prometheus, refuses a bare text that begins with a colon in [ ]
    writer.dump(tree, written)
    assert load_values(written.getvalue()) == theirs(written.getvalue())


def test_files_of_targets_in_the_examples_are_read_alike() -> None:
    for path in Path(__file__).parents[3].glob("examples/*.y*ml"):
        text = path.read_text()
        assert load_texts(text) == theirs(text, "base"), path
