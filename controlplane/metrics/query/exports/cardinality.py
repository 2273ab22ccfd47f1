"""Numbers of series and labels: the answer of `/api/v1/status/tsdb`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from controlplane.metrics.query.api_views import EVERYTHING
from controlplane.metrics.series.budget import Budget
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.store_reader import StoreReader

LOOK_EVERY = 10_000
"""Series between two checks of the budget."""


def cardinality(store: StoreReader, limit: int, budget: Budget) -> dict[str, Any]:
    """Return Prometheus's `data`: totals, and the `limit` largest entries of each list. Times are unix milliseconds.

    Raises QueryError once the budget is spent.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    plan = store.plan(EVERYTHING)
    for number, labels in enumerate(plan.labels):
        if number % LOOK_EVERY == 0:
            budget.check()
        pairs.update(labels)
    values: Counter[str] = Counter(name for name, _ in pairs)
    sizes: Counter[str] = Counter()
    for (name, value), count in pairs.items():
        sizes[name] += len(value.encode()) * count
    metrics = Counter({value: count for (name, value), count in pairs.items() if name == METRIC_NAME})
    named = Counter({f"{name}={value}": count for (name, value), count in pairs.items()})
    chunks = [chunk for block in list(store.table.blocks.values()) for chunk in block.chunks if chunk.count]
    return {
        "headStats": {
            "numSeries": len(plan.labels),
            "numLabelPairs": len(pairs),
            "chunkCount": len(chunks),
            "minTime": min((int(chunk.first_ms) for chunk in chunks), default=0),
            "maxTime": max((int(chunk.last_ms) for chunk in chunks), default=0),
        },
        "seriesCountByMetricName": _largest(metrics, limit),
        "labelValueCountByLabelName": _largest(values, limit),
        "memoryInBytesByLabelName": _largest(sizes, limit),
        "seriesCountByLabelValuePair": _largest(named, limit),
    }


def _largest(counts: Counter[str], limit: int) -> list[dict[str, Any]]:
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return [{"name": name, "value": count} for name, count in ordered[:limit]]
