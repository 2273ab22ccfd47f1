"""What the series of an embedded store say changed around an alert's start."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from alerts.interfaces import AlertInstance, AlertState
from collectors.samples import Layout, Series, labels_of
from controlplane.errors import QueryError
from controlplane.fleet.alerting import sightings as module
from controlplane.fleet.alerting.sightings import sightings
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import QueryValue
from controlplane.metrics.series.series_store import SeriesStore

START = 1_800_000_000.0
"""Start of the alert: a multiple of 30 seconds, so that each look is at a whole half minute."""
SINCE, UNTIL = START - 1800, START + 300


class Store:
    """A store with series that a test draws."""

    def __init__(self) -> None:
        self._store = SeriesStore(retention_s=1e9)
        self.asked: list[str] = []

    def draw(self, name: str, points: Mapping[float, float | None], **labels: str) -> None:
        """Store a sample every 15 s: the value of the last key before it. Keys are seconds from the start."""
        key, layout = f"{name}{labels}", Layout((Series(name, labels_of(labels)),))
        value: float | None = None
        for at in np.arange(SINCE - 600, UNTIL + 1, 15.0).tolist():
            told = [points[second] for second in sorted(points) if START + second <= at]
            before, value = value, told[-1] if told else None
            if value is not None:
                self._store.append(key, layout, round(at * 1000), np.array([value]))
            elif before is not None:
                self._store.end(key, round(at * 1000))

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        self.asked.append(expr)
        return PromqlEngine(self._store).instant(expr, at)


def alert(**labels: str) -> AlertInstance:
    return AlertInstance("f;g;A", labels_of({"alertname": "A", **labels}), (), AlertState.FIRING, 1.0, START)


async def seen(store: Any, **labels: str) -> list[tuple[float, str, str]]:
    """Return (seconds from the start, kind, sentence) of each change."""
    found = await sightings(store, alert(**labels), SINCE, UNTIL)
    assert found.fault == ""
    return [(one.at - START, one.kind, one.sentence) for one in found.found]


BEFORE = -9000.0


async def test_targets_of_the_model_that_went_down_came_back_appeared_and_disappeared() -> None:
    store = Store()
    up = {"job": "vllm", "model": "chat"}
    store.draw("up", {BEFORE: 1, -600: 0, -300: 1}, instance="a:8000", **up)
    store.draw("up", {-120: 1}, instance="b:8000", **up)
    store.draw("up", {BEFORE: 1, 60: None}, instance="c:8000", **up)
    store.draw("up", {BEFORE: 1}, instance="quiet:8000", **up)
    store.draw("up", {BEFORE: 1, -60: 0}, instance="d:8000", job="vllm", model="other")
    assert await seen(store, model="chat") == [
        (-600, "target", "vllm/a:8000 went down: its scrapes fail"),
        (-300, "target", "vllm/a:8000 is up again"),
        (-120, "target", "vllm/b:8000 appeared"),
        (60, "target", "vllm/c:8000 disappeared: it was not scraped any more"),
    ]


async def test_the_narrowest_label_of_the_alert_decides_which_targets_are_looked_at() -> None:
    store = Store()
    await seen(store, model="chat", node='n"1', instance="a:1")
    assert [expr for expr in store.asked if expr.startswith("up")] == ['up{instance="a:1"}[2100s:30s]']
    assert await seen(store) == []


async def test_errors_and_throttling_of_gpus_on_the_node() -> None:
    store = Store()
    store.draw("gpu_errors_total", {-90: 1, 30: 3}, node="n1", gpu="0", type="xid_79")
    store.draw("gpu_errors_total", {BEFORE: 5, -60: 6}, node="n1", gpu="1", type="ecc_uncorrected")
    store.draw("gpu_errors_total", {BEFORE: 0, -30: 1}, node="n1", gpu="1", type="row_remap_failure")
    store.draw("gpu_errors_total", {BEFORE: 0, -45: 900}, node="n1", gpu="1", type="ecc_corrected")
    store.draw("gpu_errors_total", {BEFORE: 0, -45: 1}, node="n2", gpu="0", type="xid_13")
    store.draw("gpu_errors_total", {BEFORE: 7}, node="n1", gpu="2", type="xid_31")
    store.draw("gpu_throttle_active", {BEFORE: 0, 0: 1, 60: 0}, node="n1", gpu="0", reason="hw_thermal")
    store.draw("gpu_throttle_seconds_total", {BEFORE: 4, 90: 5, 120: 6}, node="n1", gpu="3", reason="power")
    assert await seen(store, node="n1", gpu="0") == [
        (-90, "gpu", "GPU 0 of n1 had 1 error XID 79"),
        (-60, "gpu", "GPU 1 of n1 had 1 uncorrected ECC error"),
        (-30, "gpu", "GPU 1 of n1 had 1 failed row remapping"),
        (0, "gpu", "GPU 0 of n1 was throttled: hw thermal"),
        (30, "gpu", "GPU 0 of n1 had 2 errors XID 79"),
        (90, "gpu", "GPU 3 of n1 was throttled: power"),
    ]


async def test_a_counter_that_starts_anew_is_no_error() -> None:
    store = Store()
    store.draw("gpu_errors_total", {BEFORE: 9, -60: 0}, node="n1", gpu="0", type="xid_79")
    assert await seen(store, node="n1") == []


async def test_only_the_changes_nearest_to_the_start_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_EACH", 2)
    store = Store()
    store.draw("up", {BEFORE: 1, -900: 0, -60: 1, 30: 0, 240: 1}, instance="a:1", job="j", model="chat")
    assert [at for at, *_ in await seen(store, model="chat")] == [-60, 30]


async def test_series_that_cannot_be_read_are_told() -> None:
    class Broken:
        async def instant_value(self, expr: str, at: float) -> QueryValue:
            raise QueryError("timeout", "query timed out")

    class Hanging:
        async def instant_value(self, expr: str, at: float) -> QueryValue:
            await asyncio.Event().wait()
            raise AssertionError

    assert (await sightings(Broken(), alert(model="chat"), SINCE, UNTIL)).fault == "query timed out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TIMEOUT_S", 0.01)
        assert (await sightings(Hanging(), alert(model="chat"), SINCE, UNTIL)).fault == "no answer within 0.01 s"
