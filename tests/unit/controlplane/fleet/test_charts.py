"""The chart of an alert: what its rule compares, and only the series of the message's alerts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from alerts.interfaces import AlertInstance, AlertState, Message
from alerts.notify.chart_png import png
from alerts.rules import parse_rules
from collectors.samples import Layout, Series, labels_of
from controlplane.fleet.alerting.charts import SHAPES, Compared, RuleCharts, about, compared_of
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.syntax.tree import parse
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore

NOW = 1_000_000.0 // 60 * 60
(GROUP,) = parse_rules(
    "groups: [{name: g, rules: [{alert: Hot, expr: 'avg by (gpu, severity) (temp) > 85',"
    " labels: {severity: critical}}, {alert: Gone, expr: 'absent(temp)'}]}]",
    "r.yml",
)
HOT, GONE = (rule.id for rule in GROUP.rules)


class Now:
    def now(self) -> float:
        return NOW + 17


def alert(gpu: int, rule: str = HOT) -> AlertInstance:
    labels = labels_of({"alertname": "Hot", "gpu": str(gpu), "severity": "critical"})
    return AlertInstance(rule, labels, (), AlertState.FIRING, 90.0, 0.0, fired_at=0.0)


def message(*firing: AlertInstance) -> Message:
    return Message("k", "ops", "firing", (), firing, (), 1, 1)


@pytest.fixture
def charts() -> Any:
    store = SeriesStore()
    series = (Series("temp", labels_of({"gpu": str(gpu), "severity": "own"})) for gpu in range(20))
    layout = Layout(tuple(series))
    for minute in range(-70, 1):
        if minute not in range(-30, -20):
            at = round((NOW + 60 * minute) * 1000)
            store.append("gpu", layout, at, np.array([80.0 + gpu for gpu in range(20)]))
    querier = MetricsQuerier(PromqlEngine(store))
    yield RuleCharts(querier, lambda: [GROUP], Now())
    querier.close()


@pytest.mark.parametrize(
    ("expr", "compared"),
    [
        ("temp > 85", Compared("temp", 85.0)),
        ("85 <= temp", Compared("temp", 85.0)),
        ("(rate(x[5m]) / y) >= 0.5", Compared("(rate(x[5m]) / y)", 0.5)),
        ("used > bool 1", Compared("used", 1.0)),
        ("a > 5 and on(x) b > 3", Compared("a", 5.0)),
        ("a > limit", Compared("a", None)),
        ("absent(up)", None),
        ("a + b", None),
        ("vector(1)", None),
        ("1 > bool 2", None),
    ],
)
def test_the_compared_part_of_an_expression(expr: str, compared: Compared | None) -> None:
    assert compared_of(expr) == compared


async def test_a_chart_has_the_last_hour_of_the_firing_alerts_series(charts: RuleCharts) -> None:
    chart = await charts.chart(message(alert(6), alert(9)))
    assert chart is not None
    assert (chart.title, chart.start, chart.end, chart.threshold) == (
        "Hot: avg by (gpu, severity) (temp)",
        NOW - 3600,
        NOW,
        85.0,
    )
    assert [(line.name, line.points[0], line.points[-1]) for line in chart.lines] == [
        ("gpu=6", (NOW - 3600, 86.0), (NOW, 86.0)),
        ("gpu=9", (NOW - 3600, 89.0), (NOW, 89.0)),
    ]
    gaps = [at - NOW for at, value in chart.lines[0].points if math.isnan(value)]
    assert gaps == [-26 * 60], "five minutes after its last sample a series has no value"
    assert png(chart).startswith(b"\x89PNG")


async def test_a_chart_has_eight_lines_at_most(charts: RuleCharts) -> None:
    chart = await charts.chart(message(*(alert(gpu) for gpu in range(20))))
    assert chart is not None
    assert len(chart.lines) == 8


async def test_series_of_many_shapes_are_not_all_searched_for_thousands_of_alerts() -> None:
    store = SeriesStore()
    shapes = [Series("temp", labels_of({"gpu": "1", f"own_{number:02}": "x"})) for number in range(SHAPES + 1)]
    store.append("gpu", Layout(tuple(shapes)), round(NOW * 1000), np.full(len(shapes), 90.0))
    querier = MetricsQuerier(PromqlEngine(store))
    (group,) = parse_rules("groups: [{name: g, rules: [{alert: Hot, expr: 'temp > 85'}]}]", "r.yml")
    charts = RuleCharts(querier, lambda: [group], Now())
    found = []
    for number in (0, SHAPES - 1, SHAPES):
        labels = labels_of({"alertname": "Hot", "gpu": "1", f"own_{number:02}": "x"})
        one = AlertInstance(group.rules[0].id, labels, (), AlertState.FIRING, 90.0, 0.0, fired_at=0.0)
        found.append(await charts.chart(message(one)))
    querier.close()
    assert [chart and [line.name for line in chart.lines] for chart in found] == [
        ["gpu=1, own_00=x"],
        [f"gpu=1, own_{SHAPES - 1}=x"],
        None,
    ]


@pytest.mark.parametrize("expr", ["up", "up # of all jobs", 'up{job="#"}'])
def test_an_expression_for_one_alert_is_valid_whatever_it_ends_with(expr: str) -> None:
    parse(about(expr, {"node": 'a"\\$1\n'}))


async def test_what_compares_nothing_or_is_of_no_rule_has_no_chart(charts: RuleCharts) -> None:
    assert await charts.chart(message(alert(1, GONE))) is None
    assert await charts.chart(message(alert(1, "received"))) is None
    assert await charts.chart(message(alert(1), alert(2, GONE))) is None
    assert await charts.chart(message(alert(77))) is None
    assert await charts.chart(message()) is None


async def test_a_resolved_message_shows_what_resolved(charts: RuleCharts) -> None:
    chart = await charts.chart(replace(message(), resolved=(alert(3),)))
    assert chart is not None
    assert [line.name for line in chart.lines] == ["gpu=3"]
