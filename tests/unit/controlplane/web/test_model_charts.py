"""The charts' PromQL over stored samples: which source is shown, and what counts as zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from collectors.samples import Layout, Series, labels_of
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.web.models.charts import Chart, Scope, failures, requests, tokens

MINUTE = {0: 0.0, 15: 15.0, 30: 30.0, 45: 45.0, 60: 60.0}
"""A counter that grows by one a second."""


def drawn(chart: Chart, *counters: dict[str, str]) -> list[tuple[dict[str, str], Any]]:
    """Return what a chart draws after a minute in which counters with these labels grew by one a second."""
    store = SeriesStore(retention_s=1e9)
    for counter in counters:
        labels = labels_of({"model": "chat", **{name: value for name, value in counter.items() if value}})
        layout = Layout((Series(labels=tuple(pair for pair in labels if pair[0] != "metric"), name=counter["metric"]),))
        for at, counted in MINUTE.items():
            store.append(repr(counter), layout, at * 1000, np.array([counted]))
    (query,) = chart.queries
    value = PromqlEngine(store).instant(query["expr"].replace("$window", "1m"), 60.0)
    assert isinstance(value, Vector)
    return [(dict(sample.labels), sample.value) for sample in value.samples]


def counted(version: str, source: str, outcome: str = "success") -> dict[str, str]:
    """Return the labels of a counter of requests."""
    return {"metric": "llm_requests_total", "version": version, "source": source, "outcome": outcome}


def failed(*counters: tuple[str, str, str]) -> dict[tuple[str, str], float]:
    """Return the failed share by version and source, of counters (version, source, outcome) that all grow alike."""
    found = drawn(failures(Scope("chat")), *(counted(*counter) for counter in counters))
    return {(labels.get("version", ""), labels["source"]): share for labels, share in found}


def rates(*counters: tuple[str, str]) -> dict[str, float]:
    """Return the requests per second by version, of counters (version, source)."""
    found = drawn(requests(Scope("chat")), *(counted(*counter) for counter in counters))
    return {labels.get("version", ""): rate for labels, rate in found}


def test_a_version_that_never_failed_has_a_share_of_zero_from_its_own_source() -> None:
    stable, engine = ("v1", "gateway", "success"), ("v2", "engine", "error")
    found = failed(
        stable, ("v1", "gateway", "error"), ("v2", "gateway", "success"), ("v2", "engine", "success"), engine
    )
    assert found == {("v1", "gateway"): pytest.approx(0.5), ("v2", "gateway"): 0.0}


def test_an_engine_that_tells_no_failure_has_no_share() -> None:
    assert failed(("v1", "engine", "success")) == {}
    assert failed(("v1", "engine", "success"), ("v1", "engine", "error")) == {("v1", "engine"): pytest.approx(0.5)}


def test_a_source_that_cannot_tell_failures_has_no_share() -> None:
    assert failed(("", "proxy", "unknown")) == {}
    assert failed(("", "proxy", "success")) == {("", "proxy"): 0.0}


def test_a_model_behind_a_proxy_alone_has_the_lines_of_the_proxy() -> None:
    assert rates(("", "proxy")) == {"": pytest.approx(1.0)}
    assert failed(("", "proxy", "success"), ("", "proxy", "rejected")) == {("", "proxy"): pytest.approx(0.5)}
    output = {"metric": "llm_tokens_total", "source": "proxy", "type": "output"}
    assert drawn(tokens(Scope("chat")), output) == [({}, pytest.approx(1.0))]


def test_a_proxy_behind_another_counts_the_same_requests() -> None:
    both = [counted("", "proxy") | {"engine": engine} for engine in ("litellm", "envoy-ai-gateway")]
    assert drawn(requests(Scope("chat")), *both) == [({}, pytest.approx(1.0))]
    failing = counted("", "proxy", "error") | {"engine": "litellm"}
    assert drawn(failures(Scope("chat")), *both, failing) == [({"source": "proxy"}, pytest.approx(0.5))]
    replicas = [counted("", "proxy") | {"engine": "litellm", "instance": instance} for instance in "ab"]
    assert drawn(requests(Scope("chat")), *replicas) == [({}, pytest.approx(2.0))]


def test_requests_that_are_counted_by_version_are_not_drawn_again_as_the_proxys() -> None:
    assert rates(("", "proxy"), ("v1", "engine")) == {"v1": pytest.approx(1.0)}
    assert rates(("", "proxy"), ("v1", "gateway"), ("v1", "engine")) == {"v1": pytest.approx(1.0)}


def test_a_rollouts_charts_leave_out_what_belongs_to_no_version() -> None:
    assert drawn(requests(Scope("chat", ("v1", "v2"))), counted("", "proxy")) == []
