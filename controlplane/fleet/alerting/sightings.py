"""Changes around an alert's start by the stored series: targets that came and went, and events of GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from alerts.interfaces import AlertInstance
from controlplane.errors import QueryError
from controlplane.metrics.promql.values import Matrix, QueryValue
from promql.strings import quote

STEP_S = 30
"""Seconds between two looks at a series. Chosen: 70 of them in the span bound the cost of a query, and a change's time
need not be known better."""
MOST_SERIES = 200
"""Series of one query that are looked at."""
MOST_EACH = 20
"""Changes of targets, and of GPUs, that are returned: those nearest to the alert's start."""
TIMEOUT_S = 5.0
TIES = ("instance", "node", "model")
"""Labels that tie a target to an alert. The first one that the alert has decides: it is the narrowest."""
ERRORS = "xid_.+|ecc_uncorrected|remapped_rows_.+|row_remap_failure"
"""Types of `gpu_errors_total` that are events. Corrected errors and replays come and go all the time."""

Kind = Literal["target", "gpu"]


@dataclass(frozen=True)
class Sighting:
    """One change."""

    at: float
    """Unix seconds, not more than STEP_S after the change."""
    kind: Kind
    subject: str
    """The target, or the GPU."""
    what: str
    """`appeared`, `disappeared`, `down`, `up`, `error` or `throttled`."""
    sentence: str


@dataclass(frozen=True)
class Sightings:
    """The changes around an alert."""

    found: tuple[Sighting, ...] = ()
    fault: str = ""
    """Why the series could not be read; "" when they could."""


class Queries(Protocol):
    """Ad-hoc PromQL. Raises QueryError."""

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate at unix second `at`."""
        ...


async def sightings(queries: Queries, alert: AlertInstance, since: float, until: float) -> Sightings:
    """Return the changes between two unix seconds of the targets and GPUs that an alert names, oldest first."""
    asked = _queries(dict(alert.labels), int(until - since))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            answers = await asyncio.gather(*(queries.instant_value(expr, until) for expr, _ in asked))
    except (QueryError, TimeoutError) as error:
        return Sightings(fault=str(error) or f"no answer within {TIMEOUT_S:g} s")
    found: list[Sighting] = []
    for (_, read), answer in zip(asked, answers, strict=True):
        if isinstance(answer, Matrix):
            for labels, points in _series(answer):
                found += read(labels, points, Span(since, until))
    return Sightings(tuple(sorted(_nearest(found, alert.active_at), key=lambda one: one.at)))


Points = Sequence[tuple[float, float]]
_Read = Callable[[Mapping[str, str], Points, "Span"], Iterable[Sighting]]


class Span(NamedTuple):
    """The span that is looked at, in unix seconds."""

    since: float
    until: float


def _queries(labels: Mapping[str, str], span_s: int) -> list[tuple[str, _Read]]:
    """Return the queries for an alert, and what reads the series of their answers."""
    tie = next((name for name in TIES if labels.get(name)), "")
    window = f"[{span_s}s:{STEP_S}s]"
    asked: list[tuple[str, _Read]] = []
    if tie:
        asked.append((f"up{{{tie}={quote(labels[tie])}}}{window}", _target))
    host = next((name for name in ("node", "instance") if labels.get(name)), "")
    if host:
        here = f"{host}={quote(labels[host])}"
        asked.append((f'gpu_errors_total{{{here},type=~"{ERRORS}"}}{window}', _errors))
        asked.append((f"gpu_throttle_active{{{here}}}{window}", _throttled))
        asked.append((f"gpu_throttle_seconds_total{{{here}}}{window}", _throttle_time))
    return asked


def _series(answer: Matrix) -> Iterator[tuple[dict[str, str], Points]]:
    for one in answer.series[:MOST_SERIES]:
        yield dict(one.labels), list(zip(one.times.tolist(), one.values.tolist(), strict=True))


def _nearest(found: Sequence[Sighting], start: float) -> Iterator[Sighting]:
    for kind in ("target", "gpu"):
        mine = sorted((one for one in found if one.kind == kind), key=lambda one: abs(one.at - start))
        yield from mine[:MOST_EACH]


def _target(labels: Mapping[str, str], points: Points, span: Span) -> Iterator[Sighting]:
    """Yield when a target appeared, went down, came up and disappeared."""
    name = "/".join(filter(None, (labels.get("job"), labels.get("instance")))) or "a target"

    def seen(at: float, what: str, words: str) -> Sighting:
        return Sighting(at, "target", name, what, f"{name} {words}")

    last: tuple[float, float] | None = None
    for at, value in points:
        if last is None and at - span.since > 2 * STEP_S:
            yield seen(at, "appeared", "appeared" + ("" if value else ", and is down"))
        elif last is not None and at - last[0] > 1.5 * STEP_S:
            yield seen(last[0] + STEP_S, "disappeared", "disappeared: it was not scraped any more")
            yield seen(at, "appeared", "appeared again" + ("" if value else ", and is down"))
        elif last is not None and bool(value) != bool(last[1]):
            yield seen(at, *(("up", "is up again") if value else ("down", "went down: its scrapes fail")))
        last = at, value
    if last is not None and span.until - last[0] > 1.5 * STEP_S:
        yield seen(last[0] + STEP_S, "disappeared", "disappeared: it was not scraped any more")


def _errors(labels: Mapping[str, str], points: Points, span: Span) -> Iterator[Sighting]:
    """Yield the increases of a counter of errors. A counter of XIDs appears with its first error."""
    kind = labels.get("type", "")
    before = 0.0 if kind.startswith("xid_") and points and points[0][0] - span.since > 2 * STEP_S else None
    for at, value in points:
        if before is not None and value > before:
            count = round(value - before)
            yield Sighting(at, "gpu", _gpu(labels), "error", f"{_gpu(labels)} had {_error_words(kind, count)}")
        before = value


def _throttled(labels: Mapping[str, str], points: Points, _span: Span) -> Iterator[Sighting]:
    """Yield when clocks began to be held down."""
    before: float | None = None
    for at, value in points:
        if before == 0 and value > 0:
            yield _throttle(labels, at)
        before = value


def _throttle_time(labels: Mapping[str, str], points: Points, _span: Span) -> Iterator[Sighting]:
    """Yield when the time for which clocks were held down began to grow."""
    before: float | None = None
    grows = True
    for at, value in points:
        if before is not None:
            if value > before and not grows:
                yield _throttle(labels, at)
            grows = value > before
        before = value


def _throttle(labels: Mapping[str, str], at: float) -> Sighting:
    reason = labels.get("reason", "an unknown reason").replace("_", " ")
    return Sighting(at, "gpu", _gpu(labels), "throttled", f"{_gpu(labels)} was throttled: {reason}")


def _gpu(labels: Mapping[str, str]) -> str:
    place = labels.get("node") or labels.get("instance") or ""
    return f"GPU {labels.get('gpu', '?')}" + (f" of {place}" if place else "")


def _error_words(kind: str, count: int) -> str:
    if kind.startswith("xid_"):
        return f"{count} error{'s' * (count != 1)} XID {kind.removeprefix('xid_')}"
    words = {
        "ecc_uncorrected": ("uncorrected ECC error", "uncorrected ECC errors"),
        "remapped_rows_corrected": ("row remapped after corrected errors", "rows remapped after corrected errors"),
        "remapped_rows_uncorrectable": ("row remapped after an uncorrectable error", "rows remapped after such errors"),
        "row_remap_failure": ("failed row remapping", "failed row remappings"),
    }
    one, many = words.get(kind, (kind, kind))
    return f"{count} {one if count == 1 else many}"
