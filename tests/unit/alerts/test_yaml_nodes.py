"""YAML with places: merges, and trees that contain themselves."""

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
    with pytest.raises(RuleError, match=r"^a\.yml:1: not YAML: '<<' merges maps only"):
        field("b: {<<: 1}", "b").fields()


def test_mappings_that_merge_each_other_in_a_circle_or_without_end_are_read_once() -> None:
    assert texts(field("b: &b {x: 1, <<: *b}", "b")) == {"x": "1"}
    levels = ["l0: &l0 {x0: 0}"] + [f"l{n}: &l{n} {{x{n}: 0, <<: [*l{n - 1}, *l{n - 1}]}}" for n in range(1, 60)]
    assert len(field("\n".join(levels), "l59").fields()) == 60


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[" * 300_000, 1),
        ("[" * 300_000 + "]" * 300_000, 1),
        ("- " * 300_000, 1),
        ("{a: " * 300_000, 1),
        ("\n".join(" " * level + "a:" for level in range(2000)), 100),
    ],
)
def test_a_tree_that_is_too_deep_is_refused(text: str, line: int) -> None:
    with pytest.raises(RuleError, match=rf"^a\.yml:{line}: not read: it is nested more than 100 levels deep$"):
        read_yaml(text, "a.yml")


def test_a_tree_of_the_greatest_depth_is_read() -> None:
    place = read_yaml("[" * 99 + "x" + "]" * 99, "a.yml")
    for _ in range(99):
        (place,) = place.items()
    assert place.text() == "x"


def test_an_anchor_that_is_defined_again_stands_for_the_last_one_before() -> None:
    assert texts(read_yaml("{a: &x 1, b: *x, c: &x 2, d: *x}", "a.yml")) == {"a": "1", "b": "1", "c": "2", "d": "2"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "a: b: c",
            "1: not YAML: a ':' that does not fit here: put a text that holds ': ' into quotes, or fix the indentation",
        ),
        ("a:\n  - [", "2: not YAML: a value is missing here, or the file ends inside a bracket"),
        ("a: 1\nb: 'x\n\n", "2: not YAML: a quote is not closed"),
        ("a: 1\nb: *x", "2: not YAML: an alias *x without an anchor &x before it"),
        ("a: 1\n---\nb: 2", "2: a second document begins here; write everything into one, without '---' in between"),
        ("a: 1\nb: \x01", "2: not YAML: the character U+0001 is not allowed; remove it"),
        ("a: 1\nb: \x00", "2: not YAML: the character U+0000 is not allowed; remove it"),
        ("", "1: the file is empty"),
        ("# nothing", "1: the file is empty"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(RuleError) as refused:
        read_yaml(text, "a.yml")
    assert str(refused.value) == f"a.yml:{complaint}"


def test_a_field_whose_name_is_no_text_is_refused() -> None:
    with pytest.raises(RuleError, match=r"^a\.yml:1: a field's name must be a text$"):
        read_yaml("{[a]: b}", "a.yml").fields()


def test_nothing_is_null_and_a_quoted_nothing_is_a_text() -> None:
    found = read_yaml("{a: , b: ~, c: null, d: '', e: 'null', f: !!str null}", "a.yml").fields()
    assert {name for name, place in found.items() if place.is_null} == {"a", "b", "c"}


def test_a_quoted_number_is_told_from_a_number() -> None:
    found = read_yaml("{a: 1, b: '1', c: \"1\", d: {}}", "a.yml").fields()
    assert {name: place.is_quoted for name, place in found.items()} == {"a": False, "b": True, "c": True, "d": False}
