"""Says what a page of metrics is, what the catalogue makes of it, and what an entry for it could be. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from collectors.catalogue.draft import draft
from collectors.catalogue.mapping import canonical_layout, missing
from collectors.catalogue.model import Catalogue
from collectors.catalogue.recognition import Recognised, recognised
from collectors.engines.kinds import CUSTOM
from collectors.exposition.parser import Limits, Parsed, parse
from collectors.gpu.exporters import repaired
from collectors.samples import FloatArray, Layout, Series
from collectors.target import Target

_TOLD_BY = ("outcome", "type", "state", "reason")
"""Labels by which a metric's value is told apart, the first that it has."""


@dataclass(frozen=True)
class Found:
    """One canonical metric of a page."""

    metric: str
    type: str
    series: int
    """Number of its series; of a histogram, without those of the buckets and the sum."""
    value: str
    """Its current value in short."""


@dataclass(frozen=True)
class Examination:
    """Result of looking at a page."""

    engine: str
    """Kind of engine; "" for none that the catalogue knows."""
    looks_like: str
    """A known program that is no engine, or the name of one of its metrics; "" for an engine and an empty page."""
    others: tuple[str, ...]
    """Further engines whose metrics are in the page."""
    samples: int
    metrics: tuple[Found, ...]
    missing: tuple[str, ...]
    """Canonical metrics that every installation of the engine should expose."""
    unknown_labels: tuple[str, ...]
    """Canonical metrics with labels that the catalogue does not know: `metric: label, …`."""
    draft: str
    """A catalogue entry in YAML for a program that is no engine of the catalogue; "" for others."""


def examine(body: bytes, catalogue: Catalogue, limits: Limits | None = None) -> Examination:
    """Return what a page is. Raises BodyTooLarge and ExpositionError for what is no page of metrics."""
    parsed = parse(repaired(body), limits)
    names = {series.name for series in parsed.series}
    found = recognised(names, catalogue)
    target = Target(found.engine or CUSTOM, "http://page:80/metrics", "page", "page:80")
    layout = canonical_layout(parsed.series, parsed.metadata, target, catalogue)
    return Examination(
        engine=found.engine,
        looks_like=found.looks,
        others=found.others,
        samples=len(parsed.series),
        metrics=tuple(_metrics(layout, parsed.values, catalogue)),
        missing=missing(layout, catalogue, found.engine),
        unknown_labels=layout.unknown_labels,
        draft=_draft(found, parsed),
    )


def _draft(found: Recognised, parsed: Parsed) -> str:
    # Programs that are known to be no engine would get guesses about requests that are none of a model.
    return "" if found.engine or found.exporter else draft(parsed.series, parsed.metadata)


def _metrics(layout: Layout, values: FloatArray, catalogue: Catalogue) -> list[Found]:
    rows: dict[str, dict[Series, float]] = defaultdict(dict)
    for series, value in zip(layout.raw, values.tolist(), strict=True):
        if name := catalogue.family(series.name):
            rows[name][series] = value
    for view in layout.views:
        name = catalogue.family(view.series.name) or view.series.name
        rows[name][view.series] = float(values[list(view.columns)].sum()) * view.factor
    return [_found(name, rows[name], catalogue) for name in catalogue.metrics if name in rows]


def _found(name: str, rows: dict[Series, float], catalogue: Catalogue) -> Found:
    kind = catalogue.metrics[name].type
    if kind == "histogram":
        count = sum(value for series, value in rows.items() if series.name == f"{name}_count")
        total = sum(value for series, value in rows.items() if series.name == f"{name}_sum")
        mean = f", mean {_short(total / count)} s" if count else ""
        counted = sum(series.name == f"{name}_count" for series in rows)
        return Found(name, kind, counted, f"{_short(count)} counted{mean}")
    return Found(name, kind, len(rows), _apart(rows) or _plain(rows, kind))


def _apart(rows: dict[Series, float]) -> str:
    """Return the sums by a label such as the outcome; "" where the metric has none."""
    label = next((name for name in _TOLD_BY if any(dict(series.labels).get(name) for series in rows)), "")
    if not label:
        return ""
    sums: dict[str, float] = defaultdict(float)
    for series, value in rows.items():
        sums[dict(series.labels).get(label, "")] += value
    return ", ".join(f"{name or 'without ' + label} {_short(value)}" for name, value in sorted(sums.items()))


def _plain(rows: dict[Series, float], kind: str) -> str:
    if kind == "counter":
        return _short(sum(rows.values()))
    least, most = min(rows.values()), max(rows.values())
    return _short(least) if len(rows) == 1 or least == most else f"{_short(least)} to {_short(most)}"


def _short(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) and value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
