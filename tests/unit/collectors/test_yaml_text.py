"""YAML as plain data: the values of YAML 1.2, texts as written, and everything that is refused with its line."""

from __future__ import annotations

import io
import math
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from collectors.yaml_reasons import REASONS, TAB, UNKNOWN
from collectors.yaml_text import SECOND, YamlError, compose, load_texts, load_values, repeated, values_of


def theirs(text: str, kind: str = "safe") -> Any:
    """Return what another parser of YAML 1.2 makes of a text."""
    return YAML(typ=kind, pure=True).load(text)


@pytest.mark.parametrize("name", ["catalogue/catalogue.yaml", "logs/patterns.yaml"])
def test_the_packaged_files_are_read_as_by_another_parser(name: str) -> None:
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
        ("! 5", "5"),
        ("!!int '5'", 5),
        ("!!float 1.5", 1.5),
        ("!!float 1", 1.0),
        ('"\\ud83d\\ude00"', "😀"),
        ("!!bool 'true'", True),
        ("!!null ''", None),
        ("!!seq [1]", [1]),
        ("!!map {b: 1}", {"b": 1}),
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
    ("text", "value"),
    [
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"b": "1", "c": "3"}),
        ("a: &x {b: 1}\ne: &y {b: 2, c: 2}\nd: {<<: [*x, *y]}", {"b": "1", "c": "2"}),
        # The first of a list wins with all that it merges itself, as in Go's parser.
        ("a: &x {b: 1}\ne: &y {<<: *x}\nf: &z {b: 3}\nd: {<<: [*y, *z]}", {"b": "1"}),
        ("d: &x {<<: *x, b: 1}", {"b": "1"}),
        ("d: {'<<': 1}", {"<<": "1"}),
    ],
)
def test_maps_are_merged(text: str, value: Any) -> None:
    assert load_texts(text)["d"] == value
    assert load_values(text)["d"] == {name: int(one) for name, one in value.items()}


def test_maps_that_merge_each_other_in_a_circle_are_read_once() -> None:
    (root,) = compose("a: &x {b: 1}\nc: {<<: *x}")
    (_, first), (_, second) = root.value
    first.value.append((second.value[0][0], second))  # a merges c, which merges a
    assert [dict(values_of(root)[name]) for name in "ac"] == [{"b": 1}, {"b": 1}]


def test_merges_that_would_fill_the_memory_are_refused() -> None:
    chain = "a0: &a0 {f0: 0}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, f{n}: 0}}\n" for n in range(1, 1000))
    with pytest.raises(YamlError, match="line 448: not read: its '<<' merge more than 100000 fields into others"):
        load_values(chain)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: !x 1", "a '!' begins a tag, which is not understood here; put the text into quotes"),
        ("a: 1\nb: !!python/name:os.x 1", "a '!' begins a tag, which is not understood here; put the text into quotes"),
        ("a: 1\nb: !!set {c}", "a '!' begins a tag, which is not understood here; put the text into quotes"),
        ("a: 1\nb: !x!y 1", "a '!' begins a tag, which is not understood here; put the text into quotes"),
        ("a: 1\nb: !!int c", "the value does not fit its tag !!int"),
        ("a: 1\nb: !!int true", "the value does not fit its tag !!int"),
        ("a: 1\n<<: [5]", "'<<' merges maps only"),
    ],
)
def test_a_value_that_is_not_understood_is_refused(text: str, reason: str) -> None:
    with pytest.raises(YamlError, match=f"line 2: not YAML: {re.escape(reason)}"):
        load_values(text)


def test_the_texts_of_values_with_tags_are_taken_as_prometheus_takes_them() -> None:
    assert load_texts("a: !x 1\nb: !!int c") == {"a": "1", "b": "c"}


@pytest.mark.parametrize("digits", [1000, 1001])
def test_a_whole_number_has_a_thousand_digits_at_most(digits: int) -> None:
    text = f"a: {'9' * digits}"
    if digits == 1000:
        assert load_values(text)["a"] == 10**1000 - 1
        return
    with pytest.raises(YamlError, match="line 1: not read: a number of more than 1000 digits; put a text into quotes"):
        load_values(text)
    assert len(load_texts(text)["a"]) == digits


def test_each_repeated_field_is_found_with_its_place() -> None:
    (root,) = compose("a: 1\na: 2\nb: [{c: 1,\n  c: 1}]\nd: &x {e: 1}\nf: {<<: *x, <<: *x}")
    assert sorted(repeated(root)) == [(2, ("a",)), (4, ("b", 0, "c"))]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a:\n\tb: 1", "line 2: not YAML: a tab where spaces are expected; indent with spaces"),
        ("a: 1\n b: 2", "line 2: not YAML: a ':' that does not fit here"),
        ("a: - b", "line 1: not YAML: a '- ' that does not fit here"),
        ("a: {b: 1", "line 1: not YAML: a '{' is not closed, or a ',' is missing"),
        ("- a\nb: 1", "line 2: not YAML: the indentation does not fit the lines above, or a '- ' is missing"),
        ("a: b\n - c\nd", "line 3: not YAML: a line that is neither 'field: value' nor '- value'"),
        ("a: 'b\n---\nc'", "line 2: not YAML: a quote is not closed before '---' or '...'"),
        ('a: "\\xZZ"', "line 1: not YAML: a '\\x', '\\u' or '\\U' needs two, four or eight hexadecimal digits"),
        ('a: "\\uD800"', "line 1: not YAML: a '\\u' or '\\U' that is no character"),
        ("a: & b", "line 1: not YAML: an '&' or '*' without a name; put the text into quotes"),
        ("%YAML 3.0\n--- {}", "line 1: not YAML: the version after %YAML is not 1.1 or 1.2; remove the line"),
        ("\ufeffa:\n\tb: 1", "line 2: not YAML: a tab where spaces are expected; indent with spaces"),
        ('a: 1\nb: "\\ud83d"', "line 2: not YAML: a '\\u' or '\\U' that is no character"),
        ("a: 1\nb: \ud800", "line 2: not YAML: the character U+D800 is not allowed; remove it"),
        ("%nonsense", "line 1: not YAML: "),
        ("a: |5x\n  b", "line 1: not YAML: a '|' or '>' with other text on its line"),
    ],
)
def test_what_is_wrong_is_told_in_plain_words(text: str, reason: str) -> None:
    with pytest.raises(YamlError) as caught:
        load_values(text)
    assert str(caught.value).startswith(reason)


@given(st.text(alphabet="ab:-[]{}'\"&*!|>%@`#,? \n\t\\0\u0007", max_size=30))
def test_a_text_is_read_or_refused_in_our_words(text: str) -> None:
    try:
        load_values(text)
    except YamlError as error:
        bare = re.sub(r"not (YAML|read): ", "", error.reason)
        known = {*(ours for _, ours in REASONS), UNKNOWN, TAB}
        own = ("an alias *", "the character U+", "a field's name", "a second document", "the value does not", "'<<' ")
        assert bare in known or bare.startswith(own) or bare.endswith(("is given twice", "put the text into quotes"))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: [1\nb: 2", 2, r"not YAML: a '\[' is not closed, or a ',' is missing"),
        ("a: 1\nb:\n  c: 1\n  c: 2", 4, "not YAML: 'c' is given twice"),
        ("? [1]\n: 2", 1, "not YAML: a field's name must be a text"),
        ("a: 1\n---\nb: 2", 2, SECOND),
        ("a: *x", 1, r"not YAML: an alias \*x without an anchor &x before it"),
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
def test_what_another_parser_writes_is_read_back(tree: Any) -> None:
    written, writer = io.StringIO(), YAML(typ="safe", pure=True)
    writer.default_flow_style = False  # libyaml, as Prometheus, refuses a bare text that begins with a colon in [ ]
    writer.dump(tree, written)
    assert load_values(written.getvalue()) == theirs(written.getvalue())


def test_files_of_targets_in_the_examples_are_read_alike() -> None:
    for path in Path(__file__).parents[3].glob("examples/*.y*ml"):
        text = path.read_text()
        assert load_texts(text) == theirs(text, "base"), path
