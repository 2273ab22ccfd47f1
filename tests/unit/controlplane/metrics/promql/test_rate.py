from __future__ import annotations

import pytest

from tests.unit.controlplane.metrics.conftest import Ask, Promql


@pytest.mark.parametrize(
    ("series", "expr", "at", "value"),
    [
        # 5 samples at 6..10 min, the window reaches 60 s before the first: extrapolated over the whole window.
        ("c 100+10x20", "increase(c[5m])", 600, 40 * (240 + 60) / 240),
        ("c 100+10x20", "rate(c[5m])", 600, 40 * (300 / 240) / 300),
        # The counter starts at zero: no extrapolation before its zero point.
        ("c _x6 0+10x20", "increase(c[5m])", 600, 40),
        ("c _x6 5+10x20", "increase(c[5m])", 600, 40 * (240 + 30) / 240),
        # The series begins 150 s into the window: half a sample distance is added at the start.
        ("c _x8 1000+10x20", "increase(c[5m])", 600, 20 * (120 + 30 + 0) / 120),
        ("c _x8 1000+10x20", "increase(c[5m])", 630, 20 * (120 + 30 + 30) / 120),
        # It ends 150 s before the window does.
        ("c 1000+10x8", "increase(c[5m])", 630, 20 * (120 + 30 + 30) / 120),
        # Resets: what was lost is added.
        ("c 0 10 20 5 15 25", "increase(c[10m])", 300, (25 + 20) * (300 + 0) / 300),
        ("c 0 10 5 15 5 15", "increase(c[10m])", 300, (15 + 10 + 15) * 300 / 300),
        ("g 50-10x20", "delta(g[5m])", 240, -40 * (240 + 60) / 240),
        ("g 50-10x20", "increase(g[2m])", 60, 50 * (0 + 60 + 60) / 60 * 0 + 40 * (60 + 60) / 60),
        ("c 1 2 4 8", "irate(c[5m])", 180, 4 / 60),
        ("c 1 2 8 4", "irate(c[5m])", 180, 4 / 60),
        ("c 1 2 8 4", "idelta(c[5m])", 180, -4),
        ("c 1 _ 7", "irate(c[5m])", 120, 6 / 120),
        ("c 1 1 2 2 3", "changes(c[10m])", 240, 2),
        ("c 1 nan nan 2", "changes(c[10m])", 180, 2),
        ("c 5", "changes(c[10m])", 0, 0),
        ("c 5 4 6 3 3", "resets(c[10m])", 240, 2),
        ("c 5 4 6 3 3", "resets(c[3m])", 240, 1),
        ("c 0+10x10", "deriv(c[5m])", 300, 10 / 60),
        ("c 3x10", "deriv(c[5m])", 300, 0),
        ("c 0+10x10", "predict_linear(c[5m], 120)", 300, 70),
        ("c 0+10x10", "predict_linear(c[5m] offset 1m, 0)", 300, 50),
        ("c 3x10", "predict_linear(c[5m], 3600)", 300, 3),
    ],
)
def test_value(ask: Ask, series: str, expr: str, at: float, value: float) -> None:
    result = ask(series, expr, at)
    assert result == {"{}": pytest.approx(value, rel=1e-12)}


@pytest.mark.parametrize("function", ["rate", "increase", "delta", "irate", "idelta", "deriv"])
def test_one_sample_says_nothing_of_change(ask: Ask, function: str) -> None:
    assert ask("c 1", f"{function}(c[5m])", 60) == {}


@pytest.mark.parametrize("sign", ["inf", "-inf"])
def test_an_infinite_constant_has_no_slope(ask: Ask, sign: str) -> None:
    assert str(ask(f"c {sign}x5", "deriv(c[5m])", 300)["{}"]) == "nan"


def test_rate_over_time_for_series_that_come_and_go(promql: type[Promql]) -> None:
    engine = promql.load("""
    c{i="1"} 0+60x9
    c{i="2"} _ _ 0+60x3 stale
    """)
    result = promql.range(engine, "rate(c[2m])", 0, 420, 60)
    assert result['{i="1"}'] == [(60 * n, 1.0 if n > 1 else 60 / 120) for n in range(1, 8)]
    assert result['{i="2"}'] == [(180, 0.5), (240, 1.0), (300, 1.0)]


def test_two_names_that_become_one_series_are_an_error(ask: Ask) -> None:
    from controlplane.errors import QueryError

    with pytest.raises(QueryError, match="same labelset") as caught:
        ask("a 0+1x5\nb 0+1x5", 'rate({__name__=~"a|b"}[5m])', 300)
    assert caught.value.kind == "execution"
