"""Alerting while the machine's clock is set: what waits goes on waiting for as long as it would have."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from alerts.errors import DeliveryFailed
from alerts.interfaces import AlertState, Message, MessageRef
from alerts.routing.tree import Node
from alerts.rules import parse_rules
from collectors.samples import Layout, Series, labels_of
from controlplane.app.parts.alerting import Alerting
from controlplane.errors import Unavailable
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore
from controlplane.store.outbox import OutboxStore, enqueue
from tests.fakes.machine_clock import Machine
from tests.fakes.open_groups import open_groups
from tests.fakes.recipes import alerting_settings
from tests.routes import root

STEPS = [1.0, -1.0, 30.0, -30.0, 300.0, -300.0, 3600.0, -3600.0]
EVERY_S, SETTLE_S = 15, 45.0
HOT = "groups: [{name: g, interval: 15s, rules: [{alert: Hot, expr: 'temp > 85', for: 2m}]}]"
GONE = "groups: [{name: g, interval: 15s, rules: [{alert: Gone, expr: 'absent(temp)'}]}]"
LAYOUT = Layout((Series("temp", labels_of({"gpu": "0"})),))


@dataclass
class Box:
    """A notifier that keeps what it gets, with the true seconds at which it came."""

    world: World
    name: str = "box"
    got: list[tuple[float, str]] = field(default_factory=list)
    fault: DeliveryFailed | None = None

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        if self.fault:
            fault, self.fault = self.fault, None
            raise fault
        self.got.append((self.world.elapsed, message.status))
        return None

    async def close(self) -> None: ...


class World:
    """Alerting and the store of one process; a GPU is scraped every 15 s of true time."""

    def __init__(self, db: Database, rules: str, route: Node, machine: Machine | None = None) -> None:
        self.machine, self.db = machine or Machine(1_800_000_000.0, 0.0), db
        self.temperature = 90.0
        self.states: list[tuple[float, AlertState]] = []
        lease = LeaseStore(db).acquire("alerting", "one", 86_400.0)
        assert lease is not None
        self.lease: Lease = lease
        self.store, self.box = SeriesStore(), Box(self)
        querier = MetricsQuerier(PromqlEngine(self.store))
        self.alerting = Alerting(
            db, querier, self.store, self.machine, "one", since=0.0, monotonic=self.machine.monotonic
        )
        self._settings = alerting_settings(parse_rules(rules, "f"), 15.0, route, {"box": self.box}, SETTLE_S)
        self._configured = False

    @property
    def elapsed(self) -> float:
        return self.machine.elapsed

    async def run(self, seconds: int) -> None:
        if not self._configured:
            self._configured = True
            await self.alerting.configure(self._settings)
        for _ in range(seconds):
            self.machine.elapsed += 1
            if self.machine.elapsed % EVERY_S == 0:
                self.store.append("t", LAYOUT, round(self.machine.now() * 1000), np.array([self.temperature]))
            await self.alerting.beat(self.lease)
            await self.alerting.dispatch()
            await self.alerting.deliver()
            state = next((a.state for a in SqlAlertLog(self.db).active()), AlertState.INACTIVE)
            if not self.states or self.states[-1][1] is not state:
                self.states.append((self.machine.elapsed, state))

    async def set_clock(self, by_s: float) -> None:
        self.machine.set(by_s)
        async with self.alerting.steady:
            step = self.machine.clock.adopt()
            assert step is not None
            self.store.begin_era(round(self.machine.now() * 1000), 300_000 if by_s <= -60 else 0)
            self.alerting.clock_was_set(step.by_s)


def unavailable(_steps: ClockSteps, _by_s: float) -> None:
    raise Unavailable("the database is away")


def route(wait_s: float = 0, repeat_s: float = 14_400) -> Node:
    return root("box", ("alertname",), wait_s=wait_s, interval_s=60, repeat_s=repeat_s)


@pytest.mark.parametrize("by", STEPS)
async def test_for_measures_the_time_that_passed(db: Database, by: float) -> None:
    world = World(db, HOT, route())
    await world.run(60)
    assert world.states[-1][1] is AlertState.PENDING
    began = world.states[-1][0]
    await world.set_clock(by)
    await world.run(100)
    (_, pending), (fired, firing) = world.states[-2:]
    assert (pending, firing) == (AlertState.PENDING, AlertState.FIRING)
    # Two minutes, and at most one evaluation more: where the clock was moved the multiples of 15 s are others.
    assert 120 <= fired - began < 120 + 2 * EVERY_S


@pytest.mark.parametrize("by", STEPS)
async def test_a_firing_alert_goes_on_and_is_not_told_again(db: Database, by: float) -> None:
    world = World(db, HOT, route())
    await world.run(150)
    assert [status for _, status in world.box.got] == ["firing"]
    (before,) = SqlAlertLog(db).active()
    states = list(world.states)
    await world.set_clock(by)
    await world.run(100)
    assert world.states == states
    assert [status for _, status in world.box.got] == ["firing"]
    (after,) = SqlAlertLog(db).active()
    assert after.fired_at == pytest.approx((before.fired_at or 0) + by)
    assert "ALERTS" in {dict(labels)["__name__"] for labels in world.store.series_in((), 0, 2**50)}
    world.temperature = 50
    await world.run(90)
    assert [status for _, status in world.box.got] == ["firing", "resolved"]


@pytest.mark.parametrize("by", STEPS)
async def test_a_group_waits_for_company_as_long_as_it_would_have(db: Database, by: float) -> None:
    world = World(db, HOT, route(wait_s=60))
    await world.run(150)
    assert world.states[-1][1] is AlertState.FIRING
    fired = world.states[-1][0]
    await world.set_clock(by)
    await world.run(60)
    assert [at - fired for at, _ in world.box.got] == [60]


@pytest.mark.parametrize("by", STEPS)
async def test_a_reminder_comes_when_it_would_have(db: Database, by: float) -> None:
    world = World(db, HOT, route(repeat_s=120))
    await world.run(150)
    await world.set_clock(by)
    await world.run(120)
    first, second = (at for at, _ in world.box.got)
    assert second - first == pytest.approx(120, abs=2)


@pytest.mark.parametrize("by", STEPS)
async def test_a_receiver_that_asked_for_silence_gets_it_and_no_more(db: Database, by: float) -> None:
    world = World(db, HOT, route())
    world.box.fault = DeliveryFailed("busy", retry_after=60.0)
    await world.run(145)
    asked = world.states[-1][0]
    assert world.box.got == []
    await world.set_clock(by)
    await world.run(70)
    (at,) = (at for at, _ in world.box.got)
    assert at - asked == pytest.approx(60, abs=6)


@pytest.mark.parametrize("by", STEPS)
async def test_nothing_fires_because_every_series_looks_stale_for_a_scrape(db: Database, by: float) -> None:
    world = World(db, GONE, route())
    await world.run(75)
    assert [state for _, state in world.states] == [AlertState.FIRING, AlertState.INACTIVE]
    states, told = list(world.states), len(world.box.got)
    # Between two scrapes: until the next one there is no sample within the last five minutes.
    await world.run(7)
    await world.set_clock(by)
    await world.run(100)
    assert world.states == states
    assert len(world.box.got) == told


@pytest.mark.parametrize("by", STEPS)
async def test_rules_are_evaluated_again_soon(db: Database, by: float) -> None:
    world = World(db, HOT, route())
    await world.run(40)
    await world.set_clock(by)
    at: list[tuple[float, float]] = []
    for _ in range(90):
        await world.run(1)
        last = world.alerting.reports()[0].last_evaluation
        if last is not None and (not at or at[-1][1] != last):
            at.append((world.elapsed, last))
    gaps = [two - one for (one, _), (two, _) in pairwise(at)]
    longest = SETTLE_S + EVERY_S if abs(by) >= 60 else 2 * EVERY_S
    assert len(at) >= 3
    assert max(gaps) <= longest


async def test_a_step_that_could_not_be_written_is_written_later(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(db, HOT, route())
    await world.run(60)
    (before,) = SqlAlertLog(db).active()
    await world.set_clock(300)
    with monkeypatch.context() as broken:
        broken.setattr(ClockSteps, "move", unavailable)
        await world.run(1)
    assert "wait in memory" in world.alerting.fault
    await world.set_clock(-100)
    await world.run(1)
    assert SqlAlertLog(db).active() == [before]
    await world.alerting.write_back()
    assert world.alerting.fault == ""
    (after,) = SqlAlertLog(db).active()
    assert after.active_at == before.active_at + 200


async def test_a_process_whose_clock_was_ahead_leaves_nothing_in_the_future(db: Database) -> None:
    world = World(db, HOT, route())
    await world.run(200)
    assert world.states[-1][1] is AlertState.FIRING
    world.machine.set(-3600)
    world.machine.restart()
    later = World(db, HOT, route(), world.machine)
    await later.run(1)
    now = later.machine.now()
    (alert,) = SqlAlertLog(db).active()
    assert alert.state is AlertState.FIRING
    assert max(alert.active_at, alert.fired_at or 0) <= now
    (group,) = open_groups(SqlGroupLog(db))
    assert max(group.opened_at, group.notified_at or 0) <= now


def test_a_message_that_a_clock_ahead_put_off_is_due(db: Database) -> None:
    outbox = OutboxStore(db)
    with db.transaction() as session:
        for name, at in (("soon", 1300.0), ("late", 9000.0)):
            enqueue(session, "alert", "box", name, {}, at)
    ClockSteps(db).settle(1000.0)
    assert {m.message_id: m.next_attempt_at for m in outbox.recent(9)} == {"soon": 1300.0, "late": 1000.0}
