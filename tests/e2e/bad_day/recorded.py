"""The recorded series that pages read over a whole day, computed at once from the samples of the day."""

from __future__ import annotations

import numpy as np

from alerts.rules import RecordingRule
from collectors.samples import Layout, Series, labels_of
from controlplane.app.rules import fleet_rules
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.source import RULES

READ = ("slo:requests:rate5m", "slo:errors:rate5m", "model:llm_requests:rate5m")
STEP_S, DAY_S = 60.0, 86400.0


def record(store: SeriesStore, loaded: LoadedFleet, now: float) -> None:
    """Write a row a minute of the rules in READ, as their evaluations within the day would have written them."""
    engine = PromqlEngine(store)
    for group in fleet_rules(loaded):
        for rule in group.rules:
            if isinstance(rule, RecordingRule) and rule.record in READ:
                _write(store, engine, rule, now)


def _write(store: SeriesStore, engine: PromqlEngine, rule: RecordingRule, now: float) -> None:
    begin = (now - DAY_S) // STEP_S * STEP_S
    found = engine.range(rule.expr, begin, now - STEP_S, STEP_S).series
    whole = max((len(each.values) for each in found), default=0)
    kept = [each for each in found if len(each.values) == whole]
    if not kept:
        return
    kept.sort(key=lambda each: each.labels)
    labels = [{**dict(each.labels), **dict(rule.labels)} for each in kept]
    layout = Layout(tuple(Series(rule.record, labels_of(_unnamed(each))) for each in labels))
    rows = np.stack([each.values for each in kept], axis=1)
    for at, row in zip(np.round(kept[0].times * 1000).astype(np.int64).tolist(), rows, strict=True):
        store.append(f"{RULES}{rule.id}", layout, at, row)


def _unnamed(labels: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != "__name__"}
