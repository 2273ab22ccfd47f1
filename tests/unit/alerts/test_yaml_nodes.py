"""YAML with places: merges, and trees that would never end."""

from __future__ import annotations

from textwrap import dedent

import pytest

from alerts.errors import RuleError
from alerts.yaml_nodes import Place, read_yaml


def field(text: str, name: str) -> Place:
    return read_yaml(dedent(text), "a.yml").fields()[name]


def texts(place: Place) -> dict[str, str]:
    return {name: value.text() for name, value in place.fields().items()}


def test_an_own_field_wins_then_the_first_mapping_that_is_merged() -> None:
    assert texts(
        field(
            """\
            a: &a {x: a, y: a}
            b: &b {<<: *a, y: b, z: b}
            c: &c {z: c, w: c}
            d: {<<: [*b, *c], w: d}
            """,
            "d",
        )
    ) == {"w": "d", "y": "b", "z": "b", "x": "a"}


def test_a_merged_field_has_the_place_where_it_is_written() -> None:
    place = field("a: &a\n  x: 1\nb:\n  <<: *a\n", "b").fields()["x"]
    assert (place.line, place.text()) == (2, "1")


def test_unknown_fields_are_refused_in_what_is_merged() -> None:
    place = field("a: &a {y: 1}\nb:\n  <<: *a\n", "b")
    with pytest.raises(RuleError, match=r"^a\.yml:1: unknown field y; known fields are x$"):
        place.fields("x")


def test_only_mappings_are_merged() -> None:
    with pytest.raises(RuleError, match=r"^a\.yml:1: << takes a mapping or a list of mappings"):
        field("b: {<<: 1}", "b").fields()


def test_mappings_that_merge_each_other_in_a_circle_or_without_end_are_read_once() -> None:
    assert texts(field("b: &b {x: 1, <<: *b}", "b")) == {"x": "1"}
    levels = ["l0: &l0 {x0: 0}"] + [f"l{n}: &l{n} {{x{n}: 0, <<: [*l{n - 1}, *l{n - 1}]}}" for n in range(1, 60)]
    assert len(field("\n".join(levels), "l59").fields()) == 60


def test_a_tree_that_is_too_deep_is_refused() -> None:
    with pytest.raises(RuleError, match=r"^a\.yml: not read: it is nested too deeply$"):
        read_yaml("[" * 5000, "a.yml")


def test_a_quoted_number_is_told_from_a_number() -> None:
    found = read_yaml("{a: 1, b: '1', c: \"1\", d: {}}", "a.yml").fields()
    assert {name: place.is_quoted for name, place in found.items()} == {"a": False, "b": True, "c": True, "d": False}
