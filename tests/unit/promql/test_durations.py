"""Calculated durations. Those without `step()` and its like are compared with Prometheus in tests/contract."""

from __future__ import annotations

import pytest

from promql.durations import MAX_DEPTH, Impossible, QueryTimes, Unfit, calculate, calculate_offset, of_durations
from promql.tokens import tokenize

TIMES = QueryTimes(step_s=15.0, range_s=3600.0)


def inside(text: str) -> tuple[float, str]:
    """Return the seconds of a range, and what is left behind it."""
    tokens = tokenize(f"x[{text}]")
    found = calculate(tokens, 2, TIMES)
    return found.seconds, "".join(t.text for t in tokens[found.end : -1])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("26m+4m", 1800),
        ("60*30", 1800),
        ("2m*(10+5)", 1800),
        ("24m+((1.5*2m)+2m)", 1740),
        ("-5m+35m", 1800),
        ("5m--5m", 600),
        ("5m+-+-5m", 600),
        ("1h/2", 1800),
        ("10m-5m-1m", 240),
        ("64/8/2", 4),
        ("1h30m % 1h", 1800),
        ("-7 % 3", -1),
        ("2^3^2", 512),
        ("-2^2+1m", 56),
        ("2^-1", 0.5),
        ("2*3^2", 18),
        ("step()", 15),
        ("1+(STep()-5)*2", 21),
        ("range() / 2", 1800),
        ("min_of(step(), 1m)", 15),
        ("max_of(step()*2, min_of(45s, 1h))", 45),
        ("(((5m)))", 300),
    ],
)
def test_a_duration_is_calculated(text: str, seconds: float) -> None:
    assert inside(text) == (seconds, "")


@pytest.mark.parametrize(("text", "seconds", "left"), [("5m:1m", 300, ":1m"), ("1m+1m:", 120, ":"), ("5m 3", 300, "3")])
def test_it_ends_where_it_ends(text: str, seconds: float, left: str) -> None:
    assert inside(text) == (seconds, left)


@pytest.mark.parametrize(
    ("text", "seconds", "behind"),
    [
        ("1m + 1m", 60, "+"),
        ("-1m", -60, ""),
        ("(1m+1m)", 120, ""),
        ("-(1m+1m)", -120, ""),
        ("(1m) + 1", 61, ""),
        ("-(1m) * 2 > 3", -120, ">"),
        ("--1m + 1", 61, ""),
        ("-2 ^ 2", -2, "^"),
        ("(-2 ^ 2)", -4, ""),
        ("step()*2", 15, "*"),
        ("-min_of(10s, step())", -10, ""),
    ],
)
def test_an_offset_ends_at_an_operator_unless_it_begins_with_parentheses(
    text: str, seconds: float, behind: str
) -> None:
    tokens = tokenize(f"x offset {text}")
    found = calculate_offset(tokens, 2, TIMES)
    assert found.seconds == seconds
    assert (tokens[found.end].text if found.end < len(tokens) else "") == behind


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", "]"),
        ("a", "a"),
        ("5m *", "]"),
        ("(5m", "]"),
        ("5m + x", "x"),
        ("step", "]"),
        ("step(1)", "1"),
        ("min_of(1m)", ")"),
        ("min_of(1m, )", ")"),
        ("sum(1m)", "sum"),
        ("'5m'", "'5m'"),
    ],
)
def test_what_fits_no_duration_is_pointed_at(text: str, at: str) -> None:
    tokens = tokenize(f"x[{text}]")
    with pytest.raises(Unfit) as caught:
        calculate(tokens, 2, TIMES)
    assert tokens[caught.value.index].text == at


@pytest.mark.parametrize(
    ("text", "reason", "at"),
    [
        ("5m/0", "division by zero", "/"),
        ("5m % (1-1)", "modulo by zero", "%"),
        ("10^1000", "out of range", "^"),
        ("(-8)^0.5", "out of range", "^"),
        ("(" * (MAX_DEPTH + 2) + "5m" + ")" * (MAX_DEPTH + 2), "nested too deeply", "("),
        ("^".join("1" * (MAX_DEPTH + 3)), "nested too deeply", "^"),
    ],
)
def test_what_has_no_value_says_why_and_where(text: str, reason: str, at: str) -> None:
    tokens = tokenize(f"x[{text}]")
    with pytest.raises(Impossible, match=reason) as caught:
        calculate(tokens, 2, TIMES)
    assert tokens[caught.value.index].text == at


def test_infinity_has_no_remainder() -> None:
    assert str(inside("Inf % 5m")[0]) == "nan"


def test_the_words_of_durations_are_told_from_functions() -> None:
    tokens = tokenize("step() + rate(x[step() : range()] offset max_of(1m, step())) + y[step() offset step(")
    found = of_durations(tokens)
    assert "".join(token.text for number, token in enumerate(tokens) if number in found) == (
        "step()range()max_of(1m,step())step()"
    )
