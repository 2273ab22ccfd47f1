"""The last hour of every model as a few lines: traffic, latency, failures, tokens. Read only while somebody looks."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from alerts.interfaces import Clock
from alerts.packs import threshold_values
from controlplane.config.model import Fleet
from controlplane.errors import ControlPlaneError
from controlplane.fleet.numbers import QUALITY_SOURCES, TRAFFIC_SOURCES
from controlplane.fleet.view import View, instant
from controlplane.metrics.query.render import Rendered
from controlplane.rollout.evidence import FAILED

SPAN_S = 3600.0
"""Length of a line, in seconds."""
POINTS = 40
"""Steps of a line. Chosen: a sparkline is about 100 pixels wide."""
STEP_S = SPAN_S / POINTS
"""Time between two points, in seconds. They are at multiples of it, so that a reading asks only for new ones."""
WINDOW_S = 300.0
"""Least window of rates, in seconds: that of the built-in alerts, so that a line crosses its limit where they fire."""
FRESH_S = 15.0
"""Least time between two readings, in seconds."""
IDLE_SHARE = 20.0
"""A reading of t seconds is followed by at least 20·t seconds without one: a twentieth of a worker, at most."""
LONGEST_S = 300.0
"""Longest time between two readings, in seconds."""
STALE_S = 2 * LONGEST_S
"""Age in seconds from which on a reading is no longer shown: nobody looked, so it is not of this hour."""
ASKER = "trends"
"""Name under which the queries wait for a worker, so that they do not delay those of people."""

Unit = Literal["per_second", "seconds", "ratio"]


class Measure(NamedTuple):
    """One line of each model."""

    name: str
    unit: Unit
    sources: tuple[str, ...]
    """Sources of the number, best first. The first one that has a point for the model is taken."""
    threshold: str = ""
    """Name in fleet.yaml's `thresholds:` of the limit; "": it has none."""


MEASURES = (
    Measure("requests", "per_second", TRAFFIC_SOURCES),
    Measure("p99", "seconds", QUALITY_SOURCES, "latency_p99"),
    Measure("ttft", "seconds", QUALITY_SOURCES, "ttft_p95"),
    Measure("errors", "ratio", tuple(source for source in QUALITY_SOURCES if source != "engine"), "error_rate"),
    Measure("tokens", "per_second", ("engine", "gateway")),
)
LIMITS = ("latency_p99", "ttft_p95", "error_rate", "temperature", "vram_ratio")
"""Thresholds of the built-in packs that pages draw."""


class Queries(Protocol):
    """Range queries. Raises QueryError."""

    async def range_json(self, expr: str, start: float, end: float, step: float, *, asker: str = "") -> Rendered:
        """Evaluate at `start`, `start + step`, … up to `end`."""
        ...


class LineView(View):
    """One line of a model, all of its versions together."""

    name: str
    """requests, p99, ttft (the P95 until the first token), errors or tokens."""
    unit: Unit
    source: str
    """gateway, proxy, probe or engine."""
    limit: float | None = None
    """Limit of the built-in alert on the number, as fleet.yaml sets it; null: there is none."""
    now: float | None = None
    """The last point."""
    points: tuple[float | None, ...]
    """The values, oldest first, each `step_seconds` after the one before, and the value of now as the last one. Null is
    unknown."""


class ModelTrendView(View):
    """The lines of one model. A number that no source reports has none."""

    model: str
    lines: tuple[LineView, ...]


class TrendsView(View):
    """The lines of every model that reports anything."""

    generated_at: str
    """Time of the last point."""
    step_seconds: float
    limits: dict[str, float]
    """Limits of built-in alerts by their names in fleet.yaml: latency_p99, ttft_p95, error_rate, temperature (°C),
    vram_ratio."""
    models: tuple[ModelTrendView, ...] = ()
    warnings: tuple[str, ...] = ()
    """Lines that could not be read, and why."""


def queries(scrape_interval_s: float) -> dict[str, str]:
    """Return the PromQL of each measure, by model and source. Buckets are also grouped by engine: they differ."""
    window = f"{math.ceil(max(WINDOW_S, 4 * scrape_interval_s))}s"
    failed = "|".join(sorted(FAILED))
    by, each = "sum by (model, source)", "sum by (model, source, engine)"
    return {
        "requests": f'{by} (rate(llm_requests_total{{source!~"probe|proxy"}}[{window}])) or max by (model, source) '
        f'(sum by (model, source, engine) (rate(llm_requests_total{{source="proxy"}}[{window}])))',
        "p99": _quantile(0.99, "llm_request_duration_seconds_bucket", window),
        "ttft": _quantile(0.95, "llm_time_to_first_token_seconds_bucket", window),
        # Each kind of proxies by itself: the successes of one behind another would thin its failures.
        "errors": f'max by (model, source) (({each} (rate(llm_requests_total{{source!="engine",outcome=~"{failed}"}}'
        f'[{window}])) or 0 * {each} (rate(llm_requests_total{{source!="engine"}}[{window}])))'
        f' / ({each} (rate(llm_requests_total{{source!="engine"}}[{window}])) > 0))',
        "tokens": f'{by} (rate(llm_tokens_total{{type="output"}}[{window}]))',
    }


def _quantile(q: float, buckets: str, window: str) -> str:
    rates = f"sum by (model, source, engine, le) (rate({buckets}[{window}]))"
    return f"max by (model, source) (histogram_quantile({q}, {rates}))"


class _History:
    """The points of one measure by model and source, at multiples of STEP_S, and the values of now."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, str], dict[int, float]] = {}
        """Values by the number of the step since 1970."""
        self.last: dict[tuple[str, str], float] = {}
        self.read_to = 0
        """The newest step that was read."""

    def missing(self, newest: int) -> int:
        """Return the first step of the span that was not read. A clock that was set back begins anew."""
        if self.read_to > newest:
            self.points, self.read_to = {}, 0
        return max(newest - POINTS + 1, self.read_to + 1)

    def take(self, series: Iterable[Mapping[str, Any]], newest: int) -> None:
        """Add points up to step `newest`, and forget those that are older than the span."""
        for each in series:
            kept = self.points.setdefault(_owner(each), {})
            kept.update({round(at / STEP_S): value for at, value in _values(each)})
        oldest = newest - POINTS
        shorter = {owner: {n: v for n, v in kept.items() if n > oldest} for owner, kept in self.points.items()}
        self.points = {owner: kept for owner, kept in shorter.items() if kept}
        self.read_to = newest

    def line(self, owner: tuple[str, str], newest: int) -> tuple[float | None, ...]:
        """Return the points of a model and source, the oldest first, and the value of now."""
        kept = self.points.get(owner, {})
        return (*(kept.get(n) for n in range(newest - POINTS + 1, newest + 1)), self.last.get(owner))


class TrendReader:
    """Reads the lines when somebody asks, and keeps them for a while, whatever the number of those who ask."""

    def __init__(self, config: Callable[[], Fleet], queries: Queries, clock: Clock) -> None:
        self._config, self._queries, self._clock = config, queries, clock
        self._histories = {measure.name: _History() for measure in MEASURES}
        self._kept: TrendsView | None = None
        self._kept_at = -math.inf
        self._limits: tuple[Fleet, dict[str, float]] | None = None
        self._next_at = -math.inf
        self._reading: asyncio.Task[None] | None = None

    async def trends(self, patience_s: float | None = None) -> TrendsView:
        """Return the lines. After `patience_s` seconds return those of before while new ones are read, or none.

        None waits. A line that cannot be read is missing, and a warning says why. Nothing is raised.
        """
        now = self._clock.now()
        if self._reading is None and not now < self._next_at <= now + LONGEST_S:
            self._reading = asyncio.create_task(self._read(now))
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=patience_s)
        fresh = 0 <= self._clock.now() - self._kept_at <= STALE_S
        return self._kept if self._kept is not None and fresh else self._view(now)

    async def _read(self, now: float) -> None:
        began = asyncio.get_running_loop().time()
        try:
            asked = queries(self._config().scrape.interval)
            faults = await asyncio.gather(*(self._read_measure(name, expr, now) for name, expr in asked.items()))
            self._kept = self._view(now, self._models(int(now // STEP_S)), tuple(filter(None, faults)))
            self._kept_at = now
        finally:
            took_s = asyncio.get_running_loop().time() - began
            self._next_at = now + min(max(FRESH_S, IDLE_SHARE * took_s), LONGEST_S)
            self._reading = None

    async def _read_measure(self, name: str, expr: str, now: float) -> str:
        """Read a measure's new points, and its value of now. Return why that failed, or ""."""
        history, newest = self._histories[name], int(now // STEP_S)
        first = history.missing(newest)
        history.last = {}
        try:
            if first <= newest:
                history.take(await self._query(expr, first * STEP_S, newest * STEP_S), newest)
            found = await self._query(expr, now, now)
            history.last = {_owner(each): value for each in found for _at, value in _values(each)}
        except ControlPlaneError as error:
            return f"{name}: {error}"
        return ""

    async def _query(self, expr: str, start: float, end: float) -> Sequence[Mapping[str, Any]]:
        answer = await self._queries.range_json(expr, start, end, STEP_S, asker=ASKER)
        found: Sequence[Mapping[str, Any]] = json.loads(answer.data)["result"]
        return found

    def _models(self, newest: int) -> tuple[ModelTrendView, ...]:
        limits = self.limits()
        found = []
        for model in self._config().models:
            drawn = (_line(one, self._histories[one.name], model.name, newest, limits) for one in MEASURES)
            if lines := tuple(filter(None, drawn)):
                found.append(ModelTrendView(model=model.name, lines=lines))
        return tuple(found)

    def limits(self) -> dict[str, float]:
        """Return the limits that pages draw, by their names in fleet.yaml. The packs are read once a configuration."""
        config = self._config()
        if self._limits is None or self._limits[0] is not config:
            values = threshold_values(config.thresholds)
            self._limits = config, {name: values[name] for name in LIMITS}
        return self._limits[1]

    def _view(self, now: float, models: tuple[ModelTrendView, ...] = (), warnings: tuple[str, ...] = ()) -> TrendsView:
        return TrendsView(
            generated_at=instant(now),
            step_seconds=STEP_S,
            limits=self.limits(),
            models=models,
            warnings=warnings,
        )


def _line(measure: Measure, history: _History, model: str, newest: int, limits: Mapping[str, float]) -> LineView | None:
    """Return a model's line from its best source: the first with a number above 0, else the first with any."""
    found = [(source, history.line((model, source), newest)) for source in measure.sources]
    known = [(source, line) for source, line in found if any(value is not None for value in line)]
    if not known:
        return None
    source, line = next(((s, values) for s, values in known if any(values)), known[0])
    return LineView(
        name=measure.name,
        unit=measure.unit,
        source=source,
        limit=limits.get(measure.threshold),
        now=line[-1],
        points=line,
    )


def _owner(series: Mapping[str, Any]) -> tuple[str, str]:
    return series["metric"].get("model", ""), series["metric"].get("source", "")


def _values(series: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """Yield time and value of each point. NaN is unknown: a quantile without requests."""
    for at, text in series.get("values", ()):
        if math.isfinite(value := float(text)):
            yield float(at), float(f"{value:.4g}")
