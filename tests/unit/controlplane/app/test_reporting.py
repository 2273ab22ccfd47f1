"""The usage report from the series and the ledger to the outbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alerts.interfaces import Message
from alerts.wire import message_from_json
from collectors.samples import Layout, Series, labels_of
from controlplane.app.parts.part import Configuration
from controlplane.app.parts.reporting import Reporting
from controlplane.config.loader import LoadedFleet
from controlplane.cost import CostLedger
from controlplane.errors import LeaseLost
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.schedule import CalendarLoop, LoopFactory
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.outbox import OutboxStore
from controlplane.store.schedules import ScheduleStore

Write = Callable[[str], LoadedFleet]
START = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC
HOUR = 3600.0
FLEET = """
usage_report: {schedule: "0 * * * *", receiver: ops}
notifiers: [{name: ops, type: log}, {name: other, type: log}]
models:
  - {name: chat, stable: v1, traffic: {driver: none}, versions: {v1: {}}}
cost: {gpu_hour_usd: 3, budgets: [{model: chat, monthly_usd: 7200}]}
"""


class Clock:
    time = START

    def now(self) -> float:
        return self.time


class Bench:
    def __init__(self, db: Database) -> None:
        self.db, self.clock, self.store = db, Clock(), SeriesStore()
        self.reporting = Reporting(db, MetricsQuerier(PromqlEngine(self.store)), self.clock)
        factory = LoopFactory(LeaseStore(db), ScheduleStore(db), "a", self.clock)
        (loop,) = self.reporting.loops(factory)
        assert isinstance(loop, CalendarLoop)
        self.loop = loop

    async def configure(self, loaded: LoadedFleet) -> list[str]:
        settings = self.reporting.settings(Configuration(loaded, "127.0.0.1:8080"))
        return list(await self.reporting.configure(settings))

    async def until(self, time: float, rate: float = 2.0, gpus: float = 4.0) -> None:
        """Live on to `time`: one request rate is recorded every 15 s, and GPUs are charged every 5 minutes."""
        ledger = CostLedger(self.db, self._cost)
        layout = Layout((Series("model:llm_requests:rate5m", labels_of({"model": "chat"})),))
        while self.clock.time + 15 <= time:
            self.clock.time += 15
            self.store.append("rules", layout, round(self.clock.time * 1000), np.array([rate]))
            if self.clock.time % 300 < 15:
                ledger.tick(self.clock.time, {"chat": gpus})
        self.clock.time = time
        ledger.tick(time, {"chat": gpus})
        await self.loop.run_once()

    @property
    def _cost(self) -> Any:
        settings = self.reporting._settings
        assert settings and settings.cost
        return settings.cost

    def messages(self) -> list[Message]:
        return [message_from_json(entry.payload) for entry in reversed(OutboxStore(self.db).recent(100))]


@pytest.fixture
def bench(db: Database) -> Bench:
    return Bench(db)


async def test_each_report_covers_the_time_since_the_one_before(bench: Bench, fleet: Write) -> None:
    assert await bench.configure(fleet(FLEET)) == ["is sent to ops at 0 * * * * UTC"]
    await bench.until(START + 15)
    assert bench.messages() == []
    first, second = START + 3200, START + 3200 + HOUR  # 12:00 and 13:00
    await bench.until(first)
    await bench.until(second, rate=0.5)
    one, two = bench.messages()
    assert (one.receiver, one.status, one.console_url) == ("ops", "notice", "http://127.0.0.1:8080")
    assert one.notice and two.notice
    # The first one has no total to compare with, and its period began with the process.
    assert one.notice.title == "Usage of test from 2026-11-18 11:06 to 2026-11-18 12:00 UTC"
    assert one.notice.text.startswith("chat: 6,360 requests, GPU hours unknown; 2026-11 so far $")
    assert two.notice.title == "Usage of test from 2026-11-18 12:00 to 2026-11-18 13:00 UTC"
    assert two.notice.text.startswith("chat: 1,800 requests, 4.0 GPU hours, $12.00; 2026-11 so far $")
    assert [entry.lane for entry in OutboxStore(bench.db).recent(10)] == ["usage-report"] * 2


async def test_a_report_that_a_crash_cut_short_is_sent_once(
    bench: Bench, fleet: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.configure(fleet(FLEET))
    await bench.until(START + 15)

    def dies(*_: object) -> None:
        raise LeaseLost("the process was stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(ScheduleStore, "save", dies)  # after the message was queued, before the run was recorded
        await bench.until(START + 3200)
    assert len(bench.messages()) == 1
    bench.loop._lease = None
    await bench.until(START + 3260)
    assert len(bench.messages()) == 1
    assert ScheduleStore(bench.db).all()["usage-report"].runs == 1


async def test_a_reload_moves_the_report_and_takes_it_away(bench: Bench, fleet: Write) -> None:
    await bench.configure(fleet(FLEET))
    assert await bench.configure(fleet(FLEET.replace("receiver: ops", "receiver: other"))) == [
        "is sent to other at 0 * * * * UTC"
    ]
    assert await bench.configure(fleet(FLEET.replace("gpu_hour_usd: 3", "gpu_hour_usd: 4"))) == [
        "is sent to ops at 0 * * * * UTC"
    ]
    without = FLEET.replace('usage_report: {schedule: "0 * * * *", receiver: ops}', "")
    assert await bench.configure(fleet(without)) == ["is not sent any more"]
    bench.clock.time = START + 2 * HOUR
    await bench.loop.run_once()
    assert bench.messages() == []


async def test_requests_that_cannot_be_counted_do_not_cost_the_report(
    bench: Bench, fleet: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.configure(fleet(FLEET))
    await bench.until(START + 15)
    await bench.until(START + 3200)
    monkeypatch.setattr("controlplane.app.parts.reporting.REQUESTS", "sum(")
    await bench.until(START + 3200 + HOUR)
    notice = bench.messages()[-1].notice
    assert notice
    assert notice.text.startswith("chat: requests unknown, 4.0 GPU hours, $12.00")
    assert "usage report: requests cannot be counted" in caplog.text
