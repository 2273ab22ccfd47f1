"""A model's versions side by side: which one is best and worst at what, and how each differs from the stable one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from controlplane.api.services import Services
from controlplane.errors import ControlPlaneError
from controlplane.fleet.views import ModelView, VersionView
from controlplane.metrics.promql.values import Vector
from controlplane.telling import FULL, change, digits_of
from controlplane.web.models.charts import Scope, quantile, token_rate

WINDOW_S = 60
"""Window of the rates, in seconds: that of the other numbers of a version."""
DIFFERENT = 0.05
"""Least difference of the worst from the best, as a share of the worst, at which they are marked. Chosen."""

POINTS, PERCENT = 0.0005, 0.01
"""Least difference from the stable version that is told: of shares, and as a share of other numbers."""


class Cell(NamedTuple):
    """One number of a version."""

    value: float | None
    source: str = ""
    samples: float | None = None
    """Number of requests that it rests on. None: not known."""
    mark: str = ""
    """best, worst or ""."""
    delta: str = ""
    """Difference from the stable version, such as `+25%`. "": it is that version, or they cannot be compared."""


class Row(NamedTuple):
    """One version. The cells' keys are p99, ttft, errors and tokens."""

    version: VersionView
    cells: Mapping[str, Cell]


class Sourced(NamedTuple):
    """A value of a query, and the source that it is from."""

    value: float
    source: str


async def compared(services: Services, model: ModelView) -> Sequence[Row]:
    """Return a row for each version. What the metrics server cannot tell now is unknown."""
    scope = Scope(model.name)
    queries = quantile(scope, "llm_time_to_first_token_seconds", 0.95), token_rate(scope)
    first, tokens = await asyncio.gather(*(_by_version(services, expr) for expr in queries))
    return rows(model, first, tokens)


def rows(model: ModelView, first: Mapping[str, Sourced], tokens: Mapping[str, Sourced]) -> Sequence[Row]:
    """Return the rows from the numbers by version: `first` in seconds, `tokens` per second."""
    cells = {
        "p99": {
            v.version: Cell(v.latency_p99_seconds, v.latency_source or "", v.latency_samples) for v in model.versions
        },
        "ttft": _cells(model, first),
        "errors": {v.version: Cell(v.error_ratio, v.error_source or "") for v in model.versions},
        "tokens": _cells(model, tokens),
    }
    told = {
        "p99": _marked(cells["p99"], model.stable, "seconds"),
        "ttft": _marked(cells["ttft"], model.stable, "seconds"),
        "errors": _marked(cells["errors"], model.stable, "ratio"),
        "tokens": cells["tokens"],  # more traffic is more tokens: neither good nor bad
    }
    return tuple(Row(v, {name: of[v.version] for name, of in told.items()}) for v in model.versions)


def _cells(model: ModelView, found: Mapping[str, Sourced]) -> dict[str, Cell]:
    return {v.version: Cell(*found[v.version]) if v.version in found else Cell(None) for v in model.versions}


def _marked(cells: Mapping[str, Cell], stable: str, unit: str) -> dict[str, Cell]:
    """Return the cells with their marks: less is better. Numbers of different sources are not compared."""
    usual = cells[stable] if stable in cells else Cell(None)
    alike = {
        version: cell.value
        for version, cell in cells.items()
        if cell.value is not None and cell.source == usual.source and digits_of(cell.samples) == FULL
    }
    best, worst = min(alike.values(), default=0.0), max(alike.values(), default=0.0)
    told = len(alike) > 1 and worst - best > DIFFERENT * worst
    found = {}
    for version, cell in cells.items():
        mark = {best: "best", worst: "worst"}.get(alike.get(version, -1.0), "") if told else ""
        same = version != stable and cell.source == usual.source and _differ(cell.value, usual.value, unit)
        delta = change(cell.value, usual.value, unit) if same else None
        found[version] = cell._replace(mark=mark, delta=delta or "")
    return found


def _differ(value: float | None, usual: float | None, unit: str) -> bool:
    """Return whether a difference is worth its words: a twentieth of a percentage point, or one percent."""
    if value is None or usual is None:
        return False
    return abs(value - usual) >= (POINTS if unit == "ratio" else PERCENT * usual)


async def _by_version(services: Services, expr: str) -> Mapping[str, Sourced]:
    try:
        value = await services.queries.instant_value(expr.replace("$window", f"{WINDOW_S}s"), services.clock.now())
    except ControlPlaneError:
        return {}
    samples = value.samples if isinstance(value, Vector) else ()
    labelled = [(dict(sample.labels), sample.value) for sample in samples]
    return {labels.get("version", ""): Sourced(v, labels.get("source", "")) for labels, v in labelled}
