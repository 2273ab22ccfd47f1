"""The boards' numbers where several sources count the same requests, answered by the control plane's own PromQL.

`far` is behind two proxies of others, one behind the other. `near` is behind our gateway, a proxy and an engine.
`bare` is an engine alone.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from collectors.samples import Layout, Series, labels_of
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.series.series_store import SeriesStore
from dashboards.generate import BOARDS
from tests.unit.dashboards.test_dashboards import SETTINGS

NOW = 1_800_000_000.0
MINUTE = 60.0
COUNTS = [
    # model, version, source, outcome, requests per second
    ("far", "", "proxy", "success", 4.0),
    ("near", "", "proxy", "success", 20.0),
    ("near", "v1", "gateway", "success", 9.0),
    ("near", "v2", "gateway", "success", 1.0),
    ("near", "v1", "engine", "unknown", 8.0),
    ("near", "v1", "probe", "success", 0.5),
    ("bare", "v1", "engine", "unknown", 3.0),
    ("bare", "v1", "probe", "success", 0.5),
    ("idle", "v1", "gateway", "success", 0.0),
    ("idle", "v1", "engine", "unknown", 2.0),
    ("cloud", "", "account", "success", 70.0),
]
RATIOS = [
    # model, version, source, recorded share of errors: the alert looks at the gateway's of `near`
    ("near", "v1", "gateway", 0.002),
    ("near", "", "proxy", 0.2),
    ("bare", "v1", "probe", 0.03),
    ("far", "", "proxy", 0.01),
]
BUCKETS = [
    # model, source, upper bound, requests per second
    ("near", "gateway", "0.5", 6.0),
    ("near", "gateway", "+Inf", 10.0),
    ("near", "probe", "0.7", 0.5),
    ("near", "probe", "+Inf", 0.5),
    ("far", "proxy", "0.5", 1.0),
    ("far", "proxy", "+Inf", 4.0),
]


@pytest.fixture(scope="module")
def engine() -> PromqlEngine:
    rows = [
        (Series("llm_requests_total", labels_of(_named(model, version, source) | {"outcome": outcome})), per_second)
        for model, version, source, outcome, per_second in COUNTS
    ]
    behind = {"model": "far", "source": "proxy", "engine": "vllm-router", "outcome": "success"}
    rows.append((Series("llm_requests_total", labels_of(behind)), 3.0))  # the proxy behind that of `far`
    routed = {"model": "routed", "source": "proxy", "engine": "vllm-router", "outcome": "error"}
    rows.append((Series("llm_requests_total", labels_of(routed)), 0.25))
    rows += [
        (Series("llm_request_duration_seconds_bucket", labels_of(_named(model, "", source) | {"le": le})), per_second)
        for model, source, le, per_second in BUCKETS
    ]
    ratios = [
        Series("model_version_source:llm_requests:error_ratio", labels_of(_named(model, version, source)))
        for model, version, source, _ in RATIOS
    ]
    store = SeriesStore(3600)
    layout = Layout(raw=tuple(series for series, _ in rows), metadata={})
    rates = np.array([per_second for _, per_second in rows])
    for age in (4 * MINUTE, 2 * MINUTE, 0.0):
        store.append("all", layout, round((NOW - age) * 1000), rates * (1000 - age))
    shares = np.array([share for *_, share in RATIOS])
    store.append("rules", Layout(raw=tuple(ratios), metadata={}), round(NOW * 1000), shares)
    return PromqlEngine(store)


def _named(model: str, version: str, source: str) -> dict[str, str]:
    found = {"model": model, "version": version, "source": source}
    return {name: value for name, value in found.items() if value}


def answers(engine: PromqlEngine, board: str, title: str, kind: str, *by: str) -> dict[tuple[str, ...], float]:
    """Return the values of a panel's first query by labels, with every variable set to all."""
    (panel,) = [p for p in BOARDS[board](SETTINGS)["panels"] if (p["title"], p["type"]) == (title, kind)]
    expr = re.sub(r"\$(\w+)", lambda v: "5m" if v[1] == "__rate_interval" else ".*", panel["targets"][0]["expr"])
    found = engine.instant(expr, NOW)
    assert isinstance(found, Vector)
    return {tuple(dict(s.labels).get(name, "") for name in by): round(s.value, 6) for s in found.samples}


@pytest.mark.parametrize("board", ["fleet", "model"])
def test_requests_are_counted_once_whoever_counts_them(engine: PromqlEngine, board: str) -> None:
    assert answers(engine, board, "Requests per second", "stat") == {(): 4.0 + 10.0 + 3.0 + 2.0 + 0.25}
    assert answers(engine, board, "Requests per second by version", "timeseries", "model", "version") == {
        ("far", ""): 4.0,
        ("near", "v1"): 9.0,
        ("near", "v2"): 1.0,
        ("bare", "v1"): 3.0,
        ("idle", "v1"): 2.0,
        ("routed", ""): 0.25,
    }


@pytest.mark.parametrize("board", ["model", "rollout"])
def test_shares_of_versions_are_of_one_source(engine: PromqlEngine, board: str) -> None:
    found = answers(engine, board, "Share of the requests by version", "timeseries", "model", "version")
    assert {key: found[key] for key in found if key[0] != "idle"} == {
        ("near", "v1"): 0.9,
        ("near", "v2"): 0.1,
        ("bare", "v1"): 1.0,
    }


def test_errors_are_those_that_the_alert_looks_at(engine: PromqlEngine) -> None:
    assert answers(engine, "model", "Errors", "stat") == {(): 0.03}
    for board, title in (("model", "Errors"), ("fleet", "Errors, as clients see them")):
        assert answers(engine, board, title, "timeseries", "model", "source") == {
            (model, source): share for model, _, source, share in RATIOS
        }


def test_the_sources_of_a_model_stand_side_by_side_and_its_two_proxies_are_not_added_up(engine: PromqlEngine) -> None:
    assert answers(engine, "model", "Outcomes", "timeseries", "source", "outcome") == {
        ("gateway", "success"): 10.0,
        ("proxy", "success"): 24.0,
        ("proxy", "error"): 0.25,
        ("engine", "unknown"): 13.0,
        ("probe", "success"): 1.0,
        ("account", "success"): 70.0,
    }


def test_a_heatmap_adds_up_no_two_sources_of_a_model(engine: PromqlEngine) -> None:
    assert answers(engine, "model", "Whole request, as clients see it", "heatmap", "le") == {
        ("0.5",): 7.0,
        ("+Inf",): 14.0,
    }
