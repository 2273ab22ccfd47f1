"""Lines of the last hour: which source they have, when they are read, and what a failed query leaves."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import QueryError
from controlplane.fleet.trends import POINTS, SPAN_S, TrendReader, TrendsView, queries
from controlplane.metrics.query.render import Rendered
from tests.fakes.fleet_text import parse_fleet

NOW = 1_800_000_000.0
FLEET = """
fleet: {name: a}
thresholds: {latency_p99: {value: 3s}}
models:
  - {name: chat, stable: v1, traffic: {driver: none}, versions: {v1: {}}}
  - {name: embed, stable: v1, traffic: {driver: none}, versions: {v1: {}}}
"""


class Clock:
    """A clock that the test moves."""

    time = NOW

    def now(self) -> float:
        return self.time


class Queries:
    """Range queries that answer the series of `answers`, by a word of the expression, and count the calls."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[dict[str, str], dict[float, float]]]] = {}
        self.asked: list[tuple[float, float, float, str]] = []
        self.error: QueryError | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def range_json(self, expr: str, start: float, end: float, step: float, *, asker: str = "") -> Rendered:
        self.asked.append((start, end, step, asker))
        await self.open.wait()
        if self.error and "histogram_quantile(0.99" in expr:
            raise self.error
        found = next((series for word, series in self.answers.items() if word in expr), [])
        result: list[dict[str, Any]] = [
            {"metric": labels, "values": [[at, str(value)] for at, value in values.items() if start <= at <= end]}
            for labels, values in found
        ]
        return Rendered(json.dumps({"resultType": "matrix", "result": result}).encode())


class Rig:
    def __init__(self, folder: Path) -> None:
        self.fleet = parse_fleet(FLEET, folder / "fleet.yaml")
        self.clock, self.queries = Clock(), Queries()
        self.reader = TrendReader(lambda: self.fleet, self.queries, self.clock)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def line(view: TrendsView, model: str, name: str) -> tuple[str, float | None, float | None]:
    """Return a line's source, limit and last value."""
    (found,) = [one for each in view.models if each.model == model for one in each.lines if one.name == name]
    assert len(found.points) == POINTS + 1
    return found.source, found.limit, found.now


async def test_a_line_has_the_best_source_that_counts_and_the_limit_of_fleet_yaml(rig: Rig) -> None:
    rig.queries.answers = {
        "rate(llm_requests_total{source!": [
            ({"model": "chat", "source": "gateway"}, {NOW: 0.0}),
            ({"model": "chat", "source": "engine"}, {NOW - 90: 4.0, NOW: 5.0}),
            ({"model": "gone", "source": "engine"}, {NOW: 1.0}),
        ],
        "histogram_quantile(0.99": [
            ({"model": "chat", "source": "engine"}, {NOW: 1.0}),
            ({"model": "chat", "source": "gateway"}, {NOW: 1.5}),
        ],
    }
    view = await rig.reader.trends()
    assert line(view, "chat", "requests") == ("engine", None, 5.0)
    assert line(view, "chat", "p99") == ("gateway", 3.0, 1.5)
    assert [one.model for one in view.models] == ["chat"], "embed reports nothing, and gone is not in fleet.yaml"
    assert view.limits["latency_p99"] == 3.0 and view.limits["ttft_p95"] == 1.0
    assert view.warnings == ()


async def test_a_point_is_at_its_time_and_what_is_unknown_is_null(rig: Rig) -> None:
    rig.clock.time = NOW + 5.0
    values = {NOW - SPAN_S + 90.0: 1.0, NOW - 90.0: float("nan"), NOW: 2.0, NOW + 5.0: 3.0}
    rig.queries.answers = {"llm_tokens_total": [({"model": "embed", "source": "engine"}, values)]}
    ((found,),) = [one.lines for one in (await rig.reader.trends()).models]
    assert (found.points[0], found.points[-3], found.points[-2], found.points[-1]) == (1.0, None, 2.0, 3.0)
    assert sum(point is not None for point in found.points) == 3
    assert found.now == 3.0


async def test_a_hundred_consoles_cost_one_reading_in_fifteen_seconds(rig: Rig) -> None:
    await asyncio.gather(*(rig.reader.trends() for _ in range(100)))
    hour, present = (NOW - SPAN_S + 90.0, NOW, 90.0, "trends"), (NOW, NOW, 90.0, "trends")
    assert Counter(rig.queries.asked) == {hour: 5, present: 5}
    rig.clock.time = NOW + 14.9
    await rig.reader.trends()
    assert len(rig.queries.asked) == 10
    rig.clock.time = NOW + 15.0
    assert (await rig.reader.trends()).generated_at.endswith("08:00:15.000Z")
    assert len(rig.queries.asked) == 15


async def test_a_later_reading_asks_only_for_new_points(rig: Rig) -> None:
    values = {NOW + 90.0 * step: float(step + 100) for step in range(-39, 3)} | {NOW + 185.0: 500.0}
    rig.queries.answers = {"llm_tokens_total": [({"model": "chat", "source": "engine"}, values)]}
    before = (await rig.reader.trends()).models[0].lines[0].points
    rig.queries.asked.clear()
    rig.clock.time = NOW + 185.0
    after = (await rig.reader.trends()).models[0].lines[0].points
    assert Counter((start, end) for start, end, _, _ in rig.queries.asked) == {
        (NOW + 90.0, NOW + 180.0): 5,
        (NOW + 185.0, NOW + 185.0): 5,
    }
    assert after == (*before[2:40], 101.0, 102.0, 500.0)


async def test_a_clock_that_is_set_back_a_day_begins_anew(rig: Rig) -> None:
    await rig.reader.trends()
    rig.queries.asked.clear()
    rig.clock.time = NOW - 86_400.0
    await rig.reader.trends()
    assert {start for start, end, _, _ in rig.queries.asked if start != end} == {NOW - 86_400.0 - SPAN_S + 90.0}


async def test_a_page_does_not_wait_for_slow_queries_and_has_the_lines_later(rig: Rig) -> None:
    rig.queries.answers = {"llm_tokens_total": [({"model": "chat", "source": "engine"}, {NOW: 7.0})]}
    rig.queries.open.clear()
    early = await rig.reader.trends(patience_s=0.01)
    assert (early.models, early.warnings) == ((), ())
    assert early.limits["temperature"] == 85.0
    again = await rig.reader.trends(patience_s=0.01)
    assert (again.models, len(rig.queries.asked)) == ((), 5), "the first reading still runs"
    rig.queries.open.set()
    assert line(await rig.reader.trends(), "chat", "tokens") == ("engine", None, 7.0)


async def test_a_failed_query_is_a_missing_line_and_a_warning(rig: Rig) -> None:
    rig.queries.answers = {"llm_tokens_total": [({"model": "chat", "source": "engine"}, {NOW: 7.0})]}
    rig.queries.error = QueryError("timeout", "the metrics server does not answer")
    view = await rig.reader.trends()
    assert [one.name for one in view.models[0].lines] == ["tokens"]
    (warning,) = view.warnings
    assert warning.startswith("p99: ") and "the metrics server does not answer" in warning
    rig.queries.error, rig.clock.time = None, NOW + 15.0
    rig.queries.answers["histogram_quantile(0.99"] = [({"model": "chat", "source": "probe"}, {NOW - 90.0: 1.0})]
    points = (await rig.reader.trends()).models[0].lines[0].points
    assert (points[-3:], len(points)) == ((1.0, None, None), 41), "the whole hour is read then"


def test_rates_cover_four_scrapes() -> None:
    assert "[300s]" in queries(15.0)["requests"]
    assert "[480s]" in queries(120.0)["requests"]


async def test_lines_of_hours_ago_are_not_shown_as_those_of_now(rig: Rig) -> None:
    rig.queries.answers = {"llm_tokens_total": [({"model": "chat", "source": "engine"}, {NOW: 500.0})]}
    assert line(await rig.reader.trends(), "chat", "tokens") == ("engine", None, 500.0)
    rig.queries.open.clear()
    rig.clock.time = NOW + 500.0
    assert line(await rig.reader.trends(0.0), "chat", "tokens") == ("engine", None, 500.0)
    rig.clock.time = NOW + 7200.0
    assert (await rig.reader.trends(0.0)).models == ()
    rig.queries.open.set()
