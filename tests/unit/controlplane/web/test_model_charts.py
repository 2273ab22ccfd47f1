"""The charts' PromQL over stored samples: which source is shown, and what counts as zero."""

from __future__ import annotations

import numpy as np
import pytest

from collectors.samples import Layout, Series, labels_of
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.web.models.charts import Scope, failures

MINUTE = {0: 0.0, 15: 15.0, 30: 30.0, 45: 45.0, 60: 60.0}
"""A counter that grows by one a second."""


def failed(*counters: tuple[str, str, str]) -> dict[tuple[str, str], float]:
    """Return the failed share by version and source, of counters (version, source, outcome) that all grow alike."""
    store = SeriesStore(retention_s=1e9)
    for version, source, outcome in counters:
        labels = labels_of({"model": "chat", "version": version, "source": source, "outcome": outcome})
        for at, counted in MINUTE.items():
            store.append(f"{version}{source}{outcome}", Layout((Series("llm_requests_total", labels),)), at * 1000,
                         np.array([counted]))  # fmt: skip
    (query,) = failures(Scope("chat")).queries
    value = PromqlEngine(store).instant(query["expr"].replace("$window", "1m"), 60.0)
    assert isinstance(value, Vector)
    found = ((dict(sample.labels), sample.value) for sample in value.samples)
    return {(labels["version"], labels["source"]): share for labels, share in found}


def test_a_version_that_never_failed_has_a_share_of_zero_from_its_own_source() -> None:
    stable, engine = ("v1", "gateway", "success"), ("v2", "engine", "error")
    found = failed(
        stable, ("v1", "gateway", "error"), ("v2", "gateway", "success"), ("v2", "engine", "success"), engine
    )
    assert found == {("v1", "gateway"): pytest.approx(0.5), ("v2", "gateway"): 0.0}


def test_an_engine_that_tells_no_failure_has_no_share() -> None:
    assert failed(("v1", "engine", "success")) == {}
    assert failed(("v1", "engine", "success"), ("v1", "engine", "error")) == {("v1", "engine"): pytest.approx(0.5)}
