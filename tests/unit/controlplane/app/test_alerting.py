"""Alerting as one part: what a beat does, and how reloads and other processes are noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pytest

from alerts.errors import DeliveryFailed, QueryFailed
from alerts.interfaces import AlertState, Message, MessageRef, Querier, Transition, VectorSample
from alerts.rules import RuleGroup, parse_rules
from collectors.samples import Layout, Series, labels_of
from controlplane.app.parts.alerting import Alerting
from controlplane.app.rules import reads_own_metrics
from controlplane.errors import LeaseLost
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore
from controlplane.store.outbox import OutboxStore
from tests.fakes.recipes import alerting_settings
from tests.patience import HANG_S, until
from tests.routes import root

HOT = "groups: [{name: g, interval: %s, rules: [{alert: Hot, expr: 'temp > 85', for: 10s}]}]"
ROUTE = root("box", ("alertname",), wait_s=0, interval_s=5, repeat_s=3600)


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time


class Box:
    """A notifier that keeps what it gets."""

    def __init__(self, name: str = "box") -> None:
        self.name = name
        self.got: list[Message] = []
        self.closed = False

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        self.got.append(message)
        return None

    async def close(self) -> None:
        self.closed = True


class Bench:
    """One process's alerting over a store and a database that it shares with others."""

    def __init__(self, db: Database, clock: Clock, holder: str) -> None:
        self.clock, self.store, self.box = clock, SeriesStore(), Box()
        self.querier = MetricsQuerier(PromqlEngine(self.store))
        self.woken: list[str] = []
        self.waits: list[float] = []
        self.alerting = Alerting(db, self.querier, self.store, clock, holder, wake=self._wake)
        self._layout = Layout((Series("temp", labels_of({"gpu": "0"})),))

    def _wake(self, loop: str, after_s: float) -> None:
        self.woken.append(loop)
        self.waits.append(after_s)

    def heat(self, value: float) -> None:
        self.store.append("gpu", self._layout, round(self.clock.time * 1000), np.array([value]))

    async def configure(
        self,
        groups: tuple[RuleGroup, ...],
        *,
        settle_s: float = 0.0,
        console_url: str = "",
        wait_s: float = ROUTE.group_wait_s,
    ) -> Sequence[str]:
        route = replace(ROUTE, group_wait_s=wait_s)
        told = alerting_settings(groups, 15.0, route, {"box": self.box}, settle_s, console_url)
        return await self.alerting.configure(told)

    async def beat(self, lease: Lease, temperature: float) -> None:
        self.clock.time += 5
        self.heat(temperature)
        await self.alerting.beat(lease)
        await self.alerting.dispatch()
        await self.alerting.deliver()


@pytest.fixture
def lease(db: Database) -> Lease:
    found = LeaseStore(db).acquire("alerting", "one", 60.0)
    assert found is not None
    return found


async def test_an_alert_goes_from_pending_to_firing_to_resolved_and_is_told(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    await bench.configure(parse_rules(HOT % "5s", "f"))
    states = []
    for temperature in (80, 90, 90, 90, 80, 80):
        await bench.beat(lease, temperature)
        states.append([a.state for a in SqlAlertLog(db).active()])
    pending, firing = [AlertState.PENDING], [AlertState.FIRING]
    assert states == [[], pending, pending, firing, [], []]
    assert [(m.status, len(m.firing), len(m.resolved)) for m in bench.box.got] == [("firing", 1, 0), ("resolved", 0, 1)]


async def test_a_transition_wakes_dispatch_and_a_queued_message_wakes_delivery(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    await bench.configure(parse_rules(HOT % "5s", "f"))
    await bench.beat(lease, 90)
    await bench.beat(lease, 90)
    assert bench.woken == ["dispatch"], "nothing changed at the second turn"
    bench.woken.clear()
    await bench.beat(lease, 90)
    assert bench.woken == ["dispatch", "delivery", "delivery"], "the last one: the receiver is free again"
    bench.woken.clear()
    bench.clock.time += 1
    await bench.alerting.beat(lease)
    assert bench.woken == [], "no group was due"


async def test_a_message_that_is_due_within_a_beat_wakes_dispatch_in_time(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    await bench.configure(parse_rules(HOT % "5s", "f"), wait_s=0.75)
    for _ in range(3):  # it fires after ten seconds
        bench.clock.time += 5
        bench.heat(90)
        await bench.alerting.beat(lease)
    bench.woken.clear()
    await bench.alerting.dispatch()
    assert (bench.woken, bench.waits[-1]) == (["dispatch"], 0.75)
    bench.woken.clear()
    bench.clock.time += 0.75
    await bench.alerting.dispatch()
    assert bench.woken == ["delivery"]


async def test_a_group_is_evaluated_at_its_own_interval(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    await bench.configure(parse_rules(HOT % "15s", "f"))
    at = []
    for _ in range(7):
        await bench.beat(lease, 50)
        (report,) = bench.alerting.reports()
        at.append(report.last_evaluation)
    start = 1_000_000.0
    assert at == [start + 5, start + 5, start + 5, start + 20, start + 20, start + 20, start + 35]


async def test_a_clock_that_is_set_back_stops_no_evaluation(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    await bench.configure(parse_rules(HOT % "15s", "f"))
    await bench.beat(lease, 50)
    bench.clock.time -= 1000
    at = []
    for _ in range(4):
        await bench.beat(lease, 50)
        at.append(bench.alerting.reports()[0].last_evaluation)
    start = 1_000_000.0 - 1000
    assert at == [start + 10, start + 15, start + 15, start + 15]


async def test_a_reload_keeps_unchanged_groups_and_ends_the_alerts_of_rules_that_are_gone(
    db: Database, lease: Lease
) -> None:
    bench = Bench(db, Clock(), "one")
    groups = parse_rules(HOT % "5s", "f")
    await bench.configure(groups)
    for _ in range(3):
        await bench.beat(lease, 90)
    assert [a.state for a in SqlAlertLog(db).active()] == [AlertState.FIRING]
    await bench.configure(parse_rules(HOT % "5s", "f"))
    assert bench.alerting.reports()[0].last_evaluation == bench.clock.time
    await bench.configure(())
    await bench.beat(lease, 90)
    assert SqlAlertLog(db).active() == []
    assert [m.status for m in bench.box.got] == ["firing", "resolved"]


SAYS_WHERE = """groups:
- name: g
  interval: 5s
  rules:
  - {alert: Hot, expr: temp > 85, annotations: {summary: "see {{ $externalURL }}/wiki, {{ externalURL }}"}}
"""


async def test_templates_and_messages_name_the_address_that_is_configured_now(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    told = []
    for url in ("https://one.example", "https://two.example/cp"):
        await bench.configure(parse_rules(SAYS_WHERE, "f"), console_url=url)
        for temperature in (90, 80):
            await bench.beat(lease, temperature)
        firing = next(m for m in reversed(bench.box.got) if m.firing)
        told.append((dict(firing.firing[0].annotations)["summary"], firing.console_url))
    assert told == [
        ("see https://one.example/wiki, https://one.example", "https://one.example"),
        ("see https://two.example/cp/wiki, https://two.example/cp", "https://two.example/cp"),
    ]


async def test_a_firing_alert_takes_over_a_changed_address(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    texts = []
    for url in ("https://one.example", "https://two.example"):
        await bench.configure(parse_rules(SAYS_WHERE, "f"), console_url=url)
        await bench.beat(lease, 90)
        (alert,) = SqlAlertLog(db).active()
        texts.append((alert.state, dict(alert.annotations)["summary"]))
    assert texts == [
        (AlertState.FIRING, "see https://one.example/wiki, https://one.example"),
        (AlertState.FIRING, "see https://two.example/wiki, https://two.example"),
    ]


async def test_a_reload_keeps_the_notifiers_that_stay_and_closes_the_others(db: Database) -> None:
    bench = Bench(db, Clock(), "one")
    stays, goes, comes = Box("stays"), Box("goes"), Box("comes")
    await bench.alerting.configure(alerting_settings((), 15.0, ROUTE, {"box": stays, "other": goes}))
    told = await bench.alerting.configure(
        alerting_settings((), 15.0, ROUTE, {"box": stays, "other": comes, "log": goes})
    )
    assert bench.alerting.notifiers == {"box": stays, "other": comes, "log": goes}
    assert told == ["notifiers: 1 added (log), 1 changed (other), 1 kept"]
    assert (stays.closed, comes.closed) == (False, False)
    await bench.alerting.configure(alerting_settings((), 15.0, ROUTE, {"box": stays}))
    await bench.alerting.close()
    assert (stays.closed, comes.closed, goes.closed) == (True, True, True)


async def test_a_reload_cuts_off_no_message_that_is_being_sent(db: Database, lease: Lease) -> None:
    class Slow(Box):
        """Takes a message when it is told to, unless it is closed before."""

        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.asked, self.answers = asyncio.Event(), asyncio.Event()

        async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
            self.asked.set()
            await self.answers.wait()
            if self.closed:
                raise DeliveryFailed("closed while it sent")
            return await super().send(message, root)

    bench = Bench(db, Clock(), "one")
    old, new = Slow("box"), Box()
    bench.box = old
    await bench.configure(parse_rules(SAYS_WHERE, "f"))
    sending = asyncio.create_task(bench.beat(lease, 90))
    async with asyncio.timeout(HANG_S):
        await old.asked.wait()
        bench.box = new
        await bench.configure(parse_rules(SAYS_WHERE, "f"))
        old.answers.set()
        await sending
    assert (len(old.got), [(m.status, m.attempts) for m in OutboxStore(db).recent(9)]) == (1, [("sent", 1)])
    assert (old.closed, new.closed) == (True, False)


async def test_a_process_that_lost_its_lease_writes_nothing_and_one_that_takes_over_goes_on(
    db: Database, lease: Lease
) -> None:
    clock = Clock()
    one, two = Bench(db, clock, "one"), Bench(db, clock, "two")
    for bench in (one, two):
        await bench.configure(parse_rules(HOT % "5s", "f"))
    await one.beat(lease, 90)
    await one.beat(lease, 90)
    LeaseStore(db).release(lease)
    taken = LeaseStore(db).acquire("alerting", "two", 60.0)
    assert taken is not None
    with pytest.raises(LeaseLost):
        await one.beat(lease, 50)
    assert [a.state for a in SqlAlertLog(db).active()] == [AlertState.PENDING]
    # The second process never saw the first ten seconds, and needs not: what is pending lies in the database.
    await two.beat(taken, 90)
    assert [a.state for a in SqlAlertLog(db).active()] == [AlertState.FIRING]
    assert [m.status for m in two.box.got] == ["firing"]


async def test_a_lease_that_comes_back_brings_what_another_process_wrote_meanwhile(db: Database, lease: Lease) -> None:
    clock, leases = Clock(), LeaseStore(db)
    one, two = Bench(db, clock, "one"), Bench(db, clock, "two")
    for bench in (one, two):
        await bench.configure(parse_rules(HOT % "5s", "f"))
    for _ in range(3):
        await one.beat(lease, 90)
    fired_at = SqlAlertLog(db).active()[0].fired_at
    leases.release(lease)
    taken = leases.acquire("alerting", "two", 60.0)
    assert taken is not None
    await two.beat(taken, 90)
    await two.beat(taken, 50)  # over, and told by the other
    for _ in range(3):
        await two.beat(taken, 90)  # and a new one
    (again,) = SqlAlertLog(db).active()
    assert (again.state, again.fired_at != fired_at) == (AlertState.FIRING, True)
    history = len(SqlAlertLog(db).recent(100))
    leases.release(taken)
    back = leases.acquire("alerting", "one", 60.0)
    assert back is not None
    await one.beat(back, 91)
    (now,) = SqlAlertLog(db).active()
    assert (now.active_at, now.fired_at, now.value) == (again.active_at, again.fired_at, 91.0)
    assert len(SqlAlertLog(db).recent(100)) == history


RATE = """
groups:
  - name: g
    interval: 5s
    rules:
      - {record: "temp:max20s", expr: "max_over_time(temp[20s])"}
      - {alert: Hot, expr: "temp:max20s > 85", for: 10s}
"""


async def test_a_restart_with_an_empty_store_resolves_nothing_until_the_rules_past_is_there(
    db: Database, lease: Lease
) -> None:
    clock = Clock()
    before = Bench(db, clock, "one")
    await before.configure(parse_rules(RATE, "f"))
    for _ in range(4):
        await before.beat(lease, 90)
    assert [m.status for m in before.box.got] == ["firing"]

    after = Bench(db, clock, "one")
    await after.configure(parse_rules(RATE, "f"), settle_s=5.0)
    states = []
    for _ in range(7):
        clock.time += 5  # the target does not answer: there is not one sample
        await after.alerting.beat(lease)
        await after.alerting.dispatch()
        await after.alerting.deliver()
        states.append([a.state for a in SqlAlertLog(db).active()])
    # 20 s of the recorded series' range and 5 s for the first scrapes; then no data is no alert.
    assert states == [[AlertState.FIRING]] * 4 + [[]] * 3
    assert [m.status for m in after.box.got] == ["resolved"]


async def test_after_a_restart_an_alert_that_was_seen_again_may_end_at_once(db: Database, lease: Lease) -> None:
    clock = Clock()
    before = Bench(db, clock, "one")
    await before.configure(parse_rules(HOT % "5s", "f"))
    for _ in range(4):
        await before.beat(lease, 90)

    after = Bench(db, clock, "one")
    await after.configure(parse_rules(HOT % "5s", "f"), settle_s=600.0)
    await after.beat(lease, 91)
    assert [a.state for a in SqlAlertLog(db).active()] == [AlertState.FIRING]
    await after.beat(lease, 50)
    assert SqlAlertLog(db).active() == []


class Elsewhere:
    """Another server: knows what it was told, or does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: list[VectorSample] | None = []

    async def instant(self, expr: str, at: float) -> list[VectorSample]:
        self.asked.append(expr)
        if self.answer is None:
            raise QueryFailed("execution: http://mimir cannot be reached")
        return self.answer


OWN = "{name: own, interval: 5s, rules: [{alert: Failing, expr: 'increase(controlplane_failures_total[1m]) > 0'}]}"
BOTH = f"groups: [{{name: g, interval: 5s, rules: [{{alert: Hot, expr: 'temp > 85'}}]}}, {OWN}]"


@pytest.mark.parametrize(
    ("rules", "own"),
    [
        ("[{alert: A, expr: controlplane_x > 0}, {record: a:b, expr: sum(controlplane_y)}]", True),
        ("[{alert: A, expr: controlplane_x > 0}, {alert: W, expr: vector(1)}]", False),
        ("[{alert: A, expr: controlplane_x > 0 and on () up}]", False),
        ("[{alert: A, expr: 'controlplane_x and {job=\"a\"}'}]", False),
    ],
)
def test_which_groups_read_the_control_planes_own_metrics_only(rules: str, own: bool) -> None:
    (group,) = parse_rules(f"groups: [{{name: g, rules: {rules}}}]", "f")
    assert reads_own_metrics(group) is own


async def test_a_server_that_does_not_answer_is_noticed_by_rules_that_are_evaluated_here(
    db: Database, lease: Lease
) -> None:
    bench, server = Bench(db, Clock(), "one"), Elsewhere()
    bench.alerting = Alerting(db, server, bench.store, bench.clock, "one", own=bench.querier)
    await bench.configure(parse_rules(BOTH, "f"))
    failures = Layout((Series("controlplane_failures_total", ()),))
    server.answer = [VectorSample(labels_of({"gpu": "0"}), 90.0)]
    await bench.beat(lease, 0)
    server.answer = None
    for count in (0, 1, 2):
        bench.store.append("own", failures, round(bench.clock.time * 1000) + 1, np.array([float(count)]))
        await bench.beat(lease, 0)
    assert set(server.asked) == {"temp > 85"}
    assert {(dict(a.labels)["alertname"], a.state) for a in SqlAlertLog(db).active()} == {
        ("Hot", AlertState.FIRING),
        ("Failing", AlertState.FIRING),
    }
    hot, own = bench.alerting.reports()
    assert hot.rules[0].last_error == "execution: http://mimir cannot be reached"
    assert own.rules[0].last_error == ""


async def test_after_a_start_a_rule_over_another_servers_data_waits_for_scrapes_and_not_for_its_lookback(
    db: Database, lease: Lease
) -> None:
    rules = parse_rules("groups: [{name: g, interval: 5s, rules: [{alert: Hot, expr: 'rate(t[10m]) > 1'}]}]", "f")
    before, server = Bench(db, Clock(), "one"), Elsewhere()
    before.alerting = Alerting(db, server, before.store, before.clock, "one", own=before.querier)
    await before.configure(rules)
    server.answer = [VectorSample((), 2.0)]
    await before.beat(lease, 0)
    after = Bench(db, before.clock, "one")
    after.alerting = Alerting(db, server, after.store, after.clock, "one", own=after.querier)
    await after.configure(rules, settle_s=12.0)
    server.answer = []
    firing = []
    for _ in range(4):
        await after.beat(lease, 0)
        firing.append(len(SqlAlertLog(db).active()))
    assert firing == [1, 1, 0, 0]


TWO_GROUPS = """groups:
- {name: slow, interval: 5s, rules: [{alert: Slow, expr: hangs}]}
- {name: hot, interval: 5s, rules: [{alert: Hot, expr: temp > 85}]}
"""


class Hanging:
    """A querier whose answer to one query comes when it is let."""

    def __init__(self, inner: Querier) -> None:
        self.inner, self.let, self.asked = inner, asyncio.Event(), asyncio.Event()

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        if expr == "hangs":
            self.asked.set()
            await self.let.wait()
            return await self.inner.instant("temp > 85", at)
        return await self.inner.instant(expr, at)


async def test_a_group_whose_query_hangs_holds_up_no_other_group_and_no_message(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    hanging = Hanging(bench.querier)
    bench.alerting = Alerting(db, hanging, bench.store, bench.clock, "one")
    hanging.let.set()
    await bench.configure(parse_rules(TWO_GROUPS, "f"))
    await bench.beat(lease, 80)
    hanging.let.clear()
    bench.clock.time += 5
    bench.heat(90)
    beat = asyncio.create_task(bench.alerting.beat(lease))
    await hanging.asked.wait()
    await until(lambda: bool(SqlAlertLog(db).active()))
    assert not beat.done()
    await bench.alerting.dispatch()
    await bench.alerting.deliver()
    assert [m.status for m in bench.box.got] == ["firing"]
    assert not beat.done()
    hanging.let.set()
    await beat


async def test_what_was_found_after_a_look_at_the_groups_is_told_at_the_next_one(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    hanging = Hanging(bench.querier)
    bench.alerting = Alerting(db, hanging, bench.store, bench.clock, "one")
    await bench.configure(parse_rules("groups: [{name: g, interval: 1h, rules: [{alert: Slow, expr: hangs}]}]", "f"))
    hanging.let.set()
    await bench.beat(lease, 80)
    hanging.let.clear()
    hanging.asked.clear()
    bench.clock.time += 3600
    bench.heat(90)
    beat = asyncio.create_task(bench.alerting.beat(lease))
    await hanging.asked.wait()
    await bench.alerting.dispatch()
    hanging.let.set()
    await beat
    await bench.alerting.dispatch()
    await bench.alerting.deliver()
    assert [m.status for m in bench.box.got] == ["firing"]


async def test_a_rule_that_changes_while_its_group_is_evaluated_is_evaluated_next(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    hanging = Hanging(bench.querier)
    bench.alerting = Alerting(db, hanging, bench.store, bench.clock, "one")
    group = "groups: [{name: g, interval: 1h, rules: [{record: hot, expr: hangs}, {alert: A, expr: %s}]}]"
    await bench.configure(parse_rules(group % "temp > 95", "f"))
    bench.heat(90)
    beat = asyncio.create_task(bench.alerting.beat(lease))
    await hanging.asked.wait()
    await bench.configure(parse_rules(group.replace("{record: hot, expr: hangs}, ", "") % "temp > 80", "f"))
    bench.clock.time += 1
    hanging.let.set()
    await beat
    assert await bench.querier.instant("hot", bench.clock.time) == [], "the recorded series has ended"
    await bench.beat(lease, 90)
    assert [m.status for m in bench.box.got] == ["firing"]


async def test_alerts_of_a_rule_that_goes_while_others_are_ended_end_too(
    db: Database, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(db, Clock(), "one")
    await bench.configure(parse_rules(HOT % "5s", "f"))
    for _ in range(3):
        await bench.beat(lease, 90)
    loop, retire = asyncio.get_running_loop(), SqlAlertLog.retire

    def reload_meanwhile(self: SqlAlertLog, rules: Collection[str], at: float) -> list[Transition]:
        monkeypatch.undo()
        found = retire(self, rules, at)
        asyncio.run_coroutine_threadsafe(bench.configure(()), loop).result(5)
        return found

    monkeypatch.setattr(SqlAlertLog, "retire", reload_meanwhile)
    await bench.configure(parse_rules(HOT % "5s", "f"))
    await bench.beat(lease, 90)
    await bench.beat(lease, 90)
    assert [m.status for m in bench.box.got] == ["firing", "resolved"]


async def test_only_who_evaluated_under_the_lease_dispatches(db: Database, lease: Lease) -> None:
    bench = Bench(db, Clock(), "one")
    await bench.configure(parse_rules(HOT % "5s", "f"))
    for _ in range(4):
        bench.clock.time += 5
        bench.heat(90)
        await bench.alerting.beat(lease)
    await bench.alerting.follow()
    await bench.alerting.dispatch()
    await bench.alerting.deliver()
    assert bench.box.got == []
    await bench.alerting.beat(lease)
    await bench.alerting.dispatch()
    await bench.alerting.deliver()
    assert [m.status for m in bench.box.got] == ["firing"]
