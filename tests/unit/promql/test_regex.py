"""Patterns as Prometheus has them. That Prometheus agrees is in tests/contract/test_promql_regex.py."""

from __future__ import annotations

import random

import pytest

from promql import regex
from promql.errors import PatternError
from promql.regex import Regex, compile_regex, expand, groups_of


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("a", "ab", False),
        ("a|ab", "ab", True),
        ("we.b", "we\nb", True),
        (r"\d+", "12", True),
        ("[[:alpha:]]+", "aé", False),
        (r"\pL+", "aé", True),
        ("x(?i)a|b", "B", True),
        ("(?i:a)b", "Ab", True),
        ("(?U)a+", "aa", True),
        (r"\Qa.b\E+", "a.bb", True),
        (r"\Qa.b\E", "axb", False),
        ("a{,3}", "a{,3}", True),
        ("(a+)+b", "aaab", True),
        ("(a|aa)*b", "aab", True),
        (r"^a$|\Ab\z", "b", True),
        ("(?m)^a$", "b\na", False),
        ("(?P<a>x)(?<a>y)", "xy", True),
        ("", "", True),
        (".*" * 12 + "X", "a" * 5000, False),
    ],
)
def test_a_pattern_matches_a_whole_value(pattern: str, value: str, expected: bool) -> None:
    assert compile_regex(pattern).matches(value) is expected
    assert compile_regex(pattern).matching(["", "zz", value]) == {
        one for one in ("", "zz", value) if compile_regex(pattern).matches(one)
    }


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("[", "missing closing ]: `[`"),
        ("(", "missing closing ): `(`"),
        (")", "unexpected ): `)`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(?=a)b", "invalid or unsupported Perl syntax: `(?=`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\y", r"invalid escape sequence: `\y`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("(?P<a", "invalid named capture: `(?P<a`"),
        ("a)|(b", "unexpected ): `a)|(b`"),
        (r"\pL{1000}", r"expression too large: `\pL{1000}`"),
        ("\udcff", "invalid UTF-8: `\ufffd`"),
    ],
)
def test_faults_are_worded_as_prometheus_words_them(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_regex(pattern)
    assert str(caught.value) == f"error parsing regexp: {reason}"


def test_a_pattern_that_only_looks_like_one_of_cs_is_taken() -> None:
    assert compile_regex(r"\\C").matches(r"\C")
    assert compile_regex(r"\Q\C\E").matches(r"\C")


def test_many_values_are_matched_as_each_is() -> None:
    dice = random.Random(20)
    atoms = ["a", "b", ".", "[ab]", "[^a]", r"\d", r"\W", "(?:a|b)", "(ab|a|)", "(?i:A)", r"\.", "[a-c0-3]", r"\s", "é"]
    atoms += ["^", "$", r"\b", r"\z", r"[\n1]", r"\n", "|", r"\^", r"[^\]$]", r"\Qa\E", "(?m)", "(?U)", "[[:^alpha:]]"]
    repeats = ["", "", "*", "+", "?", "{1,2}", "{0,3}", "*?", "{2}"]
    compared, batched = 0, 0
    for _ in range(3000):
        pattern = "".join(dice.choice(atoms) + dice.choice(repeats) for _ in range(dice.randint(1, 5)))
        values = ["".join(dice.choice("abcA1.\n é^$") for _ in range(dice.randint(0, 6))) for _ in range(40)]
        try:
            one = Regex(pattern)
        except PatternError:  # such as `^**`
            continue
        assert one.matching(values) == {value for value in values if one.matches(value)}, (pattern, values)
        compared += 1
        batched += one._lines is not None
    assert compared > 2000 and batched > 500


def test_values_are_matched_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regex, "BATCH", 3)
    values = [f"node-{number}" for number in range(20)]
    assert compile_regex("node-1.*").matching(values) == {v for v in values if v.startswith("node-1")}
    assert compile_regex("x").matching([]) == frozenset()


def test_a_large_pattern_takes_more_memory_and_a_larger_one_is_refused() -> None:
    letters = r"\pL{100}"
    assert compile_regex(letters).matches("é" * 100)
    with pytest.raises(PatternError, match="too large"):
        Regex(letters, regex.SMALL_BYTES)


@pytest.mark.parametrize(
    ("template", "expanded"),
    [
        ("$1-$2", "a-b"),
        ("${1}y$1y", "ay"),
        ("$name", "b"),
        ("${name}x", "bx"),
        ("$$1", "$1"),
        ("$3$nope", ""),
        ("$0", "a:b"),
        ("$99999999999", ""),
        ("$", "$"),
    ],
)
def test_templates_are_expanded_as_go_does(template: str, expanded: str) -> None:
    pattern = "(.):(?P<name>.)"
    groups = groups_of(pattern, "a:b")
    assert groups == ("a:b", "a", "b")
    assert expand(template, groups, compile_regex(pattern).group_numbers) == expanded
    assert groups_of(pattern, "ab") is None


def test_a_group_that_took_no_part_is_empty() -> None:
    assert groups_of("(a)|(b)", "b") == ("b", "", "b")
