"""The queries of the dashboard of backups on two replicas' metrics, answered by the control plane's own PromQL."""

from __future__ import annotations

import math

import numpy as np
import pytest

from collectors.samples import Layout, Series, labels_of
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.series.series_store import SeriesStore
from dashboards.boards.backups import backups
from dashboards.settings import Settings

NOW = 1_800_000_000.0
HOUR = 3600.0
ROWS = [
    # job, metric, value: `models` is good, `plane` failed and is too old, `fresh` never ran
    ("models", "last_success_timestamp_seconds", NOW - 2 * HOUR),
    ("models", "max_age_seconds", 8 * HOUR),
    ("models", "failed", 0.0),
    ("models", "bytes", 4e9),
    ("models", "running", 1.0),
    ("plane", "last_success_timestamp_seconds", NOW - 6 * HOUR),
    ("plane", "max_age_seconds", 3 * HOUR),
    ("plane", "failed", 1.0),
    ("plane", "bytes", 1e6),
    ("plane", "running", 0.0),
    ("fresh", "waiting_since_timestamp_seconds", NOW - HOUR),
    ("fresh", "max_age_seconds", 2 * HOUR),
    ("fresh", "running", 0.0),
    ("verify", "last_success_timestamp_seconds", NOW - 9 * HOUR),
    ("verify", "failed", 0.0),
    ("verify", "bytes", 9e12),
    ("verify", "running", 0.0),
    ("drill-models", "bytes", 4e9),
]
NUMBERS = {
    "Jobs too old": {"": 1.0},
    "Jobs failed": {"": 1.0},
    "Runs now": {"": 1.0},
    "Nearest to too old": {"": 2.0},
    "Last snapshots": {"": 4e9 + 1e6},
}


@pytest.fixture
def engine() -> PromqlEngine:
    store = SeriesStore(HOUR)
    for replica in ("a:8080", "b:8080"):
        series = tuple(
            Series(f"controlplane_backup_{metric}", labels_of({"backup": job, "instance": replica}))
            for job, metric, _ in ROWS
        )
        store.append(replica, Layout(raw=series, metadata={}), round(NOW * 1000), np.array([v for _, _, v in ROWS]))
    return PromqlEngine(store)


def answers(engine: PromqlEngine, title: str, kind: str) -> dict[str, float]:
    (panel,) = [
        p for p in backups(Settings({"backup_room": 0.1}))["panels"] if p["title"] == title and p["type"] == kind
    ]
    found = engine.instant(panel["targets"][0]["expr"].replace("$backup", ".*").replace("$fleet", ".*"), NOW)
    assert isinstance(found, Vector)
    return {dict(sample.labels).get("backup", ""): sample.value for sample in found.samples}


@pytest.mark.parametrize(("title", "expected"), NUMBERS.items())
def test_a_number_counts_each_job_once(engine: PromqlEngine, title: str, expected: dict[str, float]) -> None:
    assert answers(engine, title, "stat") == expected


def test_ages_are_shares_of_max_age_and_the_verification_has_none(engine: PromqlEngine) -> None:
    title = "Age of the newest good run"
    assert answers(engine, title, "bargauge") == {"models": 0.25, "plane": 2.0, "fresh": 0.5}
    found = answers(engine, title, "timeseries")
    assert found == {"models": 2 * HOUR, "plane": 6 * HOUR, "fresh": HOUR, "verify": 9 * HOUR}
    assert all(math.isfinite(age) for age in found.values())
