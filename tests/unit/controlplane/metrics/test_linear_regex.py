"""Patterns that would hold Python's `re`, and with it the whole process, for years."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.errors import QueryError
from controlplane.metrics import linear_regex
from controlplane.metrics.engine import PromqlEngine
from controlplane.metrics.linear_regex import Regex
from controlplane.metrics.series_store import SeriesStore

STARS = ".*" * 12 + "X"
"""On 60 characters that hold no X, `re` would try 10^12 ways."""


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        (STARS, "a" * 60, False),
        (STARS, "a" * 4095 + "X", True),
        ("(a|a)" * 30 + "b", "a" * 30, False),
        ("a?" * 50 + "a" * 50, "a" * 50, True),
        ("(?:.*.*.*.*X|.*)", "a" * 4000, True),
        ("^" + ".*" * 12 + "[0-9]$", "a" * 60, False),
        ("^" + ".*" * 12 + "[0-9]$", "a" * 60 + "7", True),
        ("(?i)" + STARS + "[a-c]", "a" * 60 + "xB", True),
    ],
)
def test_costly_patterns_are_answered_in_linear_time(pattern: str, value: str, expected: bool) -> None:
    assert Regex(pattern).matches(value) is expected


def test_the_automaton_agrees_with_re(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_regex, "MAX_PATHS", 0)  # everything by the automaton
    dice = random.Random(20)
    atoms = ["a", "b", ".", "[ab]", "[^a]", r"\d", r"\W", "(?:a|b)", "(ab|a|)", "(?i:A)", r"\.", "[a-c0-3]", "^", r"\Z"]
    repeats = ["", "", "*", "+", "?", "{1,2}", "{0,3}", "*?", "{2}"]
    compared = 0
    for _ in range(3000):
        pattern = "".join(dice.choice(atoms) + dice.choice(repeats) for _ in range(dice.randint(1, 5)))
        value = "".join(dice.choice("abcA1.\n") for _ in range(dice.randint(0, 6)))
        try:
            expected = re.compile(pattern, re.DOTALL | re.ASCII).fullmatch(value) is not None
        except re.error:  # such as `^*`
            continue
        assert Regex(pattern).matches(value) is expected, (pattern, value)
        compared += 1
    assert compared > 2000


@pytest.mark.parametrize("pattern", [r"\b" + STARS, "(?m)^" + STARS, ".{1,2000}" * 10 + "X"])
def test_what_the_automaton_cannot_do_is_refused(pattern: str) -> None:
    with pytest.raises(QueryError, match="regular expression"):
        Regex(pattern).matches("a" * 60)


def test_groups_of_a_costly_pattern_are_refused() -> None:
    with pytest.raises(QueryError, match="could take too long on a value of 60 characters"):
        Regex(STARS).fullmatch("a" * 60)
    match = Regex("(.*):(.*)").fullmatch("gpu-3:9400")
    assert match is not None
    assert match.groups() == ("gpu-3", "9400")


def test_a_query_with_a_costly_pattern_is_answered() -> None:
    store = SeriesStore()
    names = [f"some_rather_long_metric_name_that_an_engine_exposes_{n}" for n in range(3)]
    layout = Layout(tuple(Series(name, ()) for name in names))
    store.append("t", layout, 1_000, np.arange(3.0))
    engine = PromqlEngine(store)
    assert engine.instant(f'{{__name__=~"{STARS}"}}', 1.0).to_prometheus_json()["result"] == []
    assert len(engine.instant(f'{{__name__=~"{STARS[:-1]}2"}}', 1.0).to_prometheus_json()["result"]) == 1
