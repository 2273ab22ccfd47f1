from __future__ import annotations

import math

import pytest

from tests.unit.controlplane.metrics.conftest import Ask, Promql


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ("1e100 1 -1e100", 1.0),
        ("1 1e100 1 -1e100", 2.0),
        ("0.1 0.2 -0.3", math.fsum((0.1, 0.2, -0.3))),
        ("1e16 1 -1e16 1", 2.0),
        ("1 -1", 0.0),
        ("inf 1", math.inf),
        ("inf -inf", math.nan),
        ("nan 1e100 -1e100", math.nan),
        ("-1 -2", -3.0),
    ],
)
def test_sums_do_not_lose_what_cancels(ask: Ask, values: str, total: float) -> None:
    expected = {"{}": pytest.approx(total, rel=1e-15, abs=0, nan_ok=True)}
    assert ask(f"g {values}", "sum_over_time(g[10m])", 300) == expected
    series = "\n".join(f'g{{i="{n}"}} {value}' for n, value in enumerate(values.split()))
    assert ask(series, "sum(g)", 0) == expected
    mean = {"{}": pytest.approx(total / len(values.split()), rel=1e-15, abs=0, nan_ok=True)}
    assert ask(f"g {values}", "avg_over_time(g[10m])", 300) == mean
    assert ask(series, "avg(g)", 0) == mean


def test_only_the_group_and_step_that_lost_something_is_added_up_again(promql: type[Promql]) -> None:
    engine = promql.load("""
    g{j="a",i="1"} 1e100 1
    g{j="a",i="2"} 1 2
    g{j="a",i="3"} -1e100 -4
    g{j="b",i="1"} 5 6
    """)
    assert promql.range(engine, "sum by (j) (g)", 0, 60, 60) == {
        '{j="a"}': [(0, 1), (60, -1)],
        '{j="b"}': [(0, 5), (60, 6)],
    }


@pytest.mark.parametrize("value", ["0.1", "1e-9", "123456.789", "1e300"])
def test_equal_values_deviate_by_nothing(ask: Ask, value: str) -> None:
    assert ask(f"g {value}x9", "stddev_over_time(g[20m])", 600) == {"{}": 0}
    series = "\n".join(f'g{{i="{n}"}} {value}' for n in range(7))
    assert ask(series, "stddev(g)", 0) == {"{}": 0}
    assert ask(series, "stdvar(g)", 0) == {"{}": 0}
