"""A text that a database cannot hold costs its own alert, and holds up no other rule, group or message."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from alerts.dispatch import GroupState, GroupStep, decide
from alerts.errors import NotStored
from alerts.interfaces import AlertInstance, AlertState, Message, MessageRef, Transition
from alerts.received import ReceivedAlert
from alerts.routing.matchers import Matcher, Op
from alerts.routing.tree import route_key
from alerts.rules import parse_rules
from alerts.sending import Fate, Outcome
from collectors.samples import Labels, Layout, Series, labels_of
from controlplane.app.parts.alerting import Alerting
from controlplane.errors import NotStorable, Unavailable
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.alerting.mirror import Mirror
from controlplane.store.backlog import Backlog, EnduringAlertLog, EnduringGroupLog, write_back
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.outbox import OutboxStore, enqueue
from tests.fakes.open_groups import open_groups
from tests.fakes.recipes import alerting_settings
from tests.routes import root, stages

BAD = "half \ud800 a character"
"""Neither database takes it; a NUL is what PostgreSQL alone refuses."""

RULES = r"""
groups:
- name: g
  interval: 5s
  rules:
  - {alert: Nul, expr: 'label_replace(temp > 85, "gpu", "a\x00b", "", "")'}
  - {alert: Hot, expr: "temp > 85"}
"""


class Clock:
    time = 1_000_000.0

    def now(self) -> float:
        return self.time


class Box:
    name = "box"

    def __init__(self) -> None:
        self.got: list[Message] = []

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        self.got.append(message)
        return None

    async def close(self) -> None: ...


def instance(name: str, rule: str, summary: str = "", **more: str) -> AlertInstance:
    labels = labels_of({"alertname": name, **more})
    return AlertInstance(rule, labels, (("summary", summary),), AlertState.FIRING, 1.0, 5.0, fired_at=5.0)


def firing(one: AlertInstance, sentence: str = "it is") -> Transition:
    return Transition(one, AlertState.INACTIVE, AlertState.FIRING, 5.0, sentence)


async def test_a_nul_that_a_query_makes_costs_one_rule(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    clock, box, store = Clock(), Box(), SeriesStore()
    querier = MetricsQuerier(PromqlEngine(store))
    alerting = Alerting(database, querier, store, clock, "one")
    route = root("box", ("alertname",), wait_s=0)
    await alerting.configure(alerting_settings(parse_rules(RULES, "f"), 5.0, route, {"box": box}))
    lease = LeaseStore(database).acquire("alerting", "one", 60.0)
    assert lease is not None
    layout = Layout((Series("temp", ()),))
    for _ in range(5):
        clock.time += 5
        store.append("gpu", layout, round(clock.time * 1000), np.array([90.0]))
        await alerting.beat(lease)
        await alerting.dispatch()
        await alerting.deliver()
    querier.close()
    assert [dict(m.firing[0].labels)["alertname"] for m in box.got if "Nul" not in m.group_key] == ["Hot"]
    nul, hot = alerting.reports()[0].rules
    assert (hot.health, hot.state) == ("ok", "firing")
    if not database.is_sqlite:
        assert (nul.health, nul.failures) == ("err", 5)
        assert nul.last_error.startswith("its alerts cannot be stored: the database cannot hold it: ")
        assert "INSERT" not in nul.last_error
    assert not [r for r in caplog.records if r.exc_info]


def test_alerts_that_cannot_be_stored_are_an_error_of_their_rule(database: Database) -> None:
    log = SqlAlertLog(database)
    bad = instance("A", "f;g;A")
    with pytest.raises(NotStored, match="its alerts cannot be stored: the database cannot hold it: "):
        log.record("f;g;A", [bad], [firing(bad, BAD)])
    assert log.active() == []
    log.record("f;g;A", [bad], [firing(bad)])
    assert len(log.active()) == 1


def step(key: str) -> GroupStep:
    group: Labels = (("alertname", key),)
    message = Message(key, "ops", "firing", group, (instance(key, "r"),), (), sequence=1, generation=7)
    return GroupStep(GroupState(key, "ops", group, 7, 1, is_open=True, opened_at=7.0), message, "opened")


def test_a_group_that_cannot_be_stored_holds_up_no_other(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    groups = SqlGroupLog(database)
    steps = [step("a"), step(BAD), step("b")]
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert [s.state.key for s in groups.advance(lambda *_: steps, 7.0)] == ["a", "b"]
    assert [g.key for g in open_groups(groups)] == ["a", "b"]
    assert sorted(m.message_id for m in OutboxStore(database).recent(10)) == ["a/7/1", "b/7/1"]
    assert [r.getMessage()[:40] for r in caplog.records] == [f"alerting: no notification of group {BAD!r}"[:40]]


def long_text(characters: int) -> str:
    """Return a text that no compression makes much shorter, with characters of 1 to 4 bytes, quotes and braces."""
    return "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyzé漢😀{}'\"\\\n/^=,", k=characters))


def test_a_group_whose_name_is_too_long_for_an_index_holds_up_no_other(database: Database) -> None:
    backlog = Backlog(Clock())
    groups = EnduringGroupLog(SqlGroupLog(database), backlog)
    steps = [step("a"), step(long_text(16_384)), step("b")]
    groups.advance(lambda *_: steps, 7.0)
    assert not backlog.paused
    assert {"a/7/1", "b/7/1"} <= {m.message_id for m in OutboxStore(database).recent(10)}


def test_an_alert_with_very_long_labels_is_sent_and_ends(database: Database) -> None:
    alerts = [
        instance("Hot", "f;g;Hot", model=long_text(4096), node=long_text(4096)),
        instance("Hot", "f;g;Hot", model=long_text(4096), node=long_text(4095)),
    ]
    received = ReceivedAlert((("alertname", long_text(4096)),), (), "prometheus", 5.0, 65.0, 5.0)
    alerts.append(replace(alerts[0], rule=received.rule, labels=received.labels))
    mirror = Mirror()
    log, groups = SqlAlertLog(database, mirror=mirror), SqlGroupLog(database, mirror=mirror)
    far = route_key("", [Matcher("model", Op.NOT_EQUAL, long_text(4096))], set())
    node = root("ops", ("alertname", "model", "node"), wait_s=0)
    tree = stages(replace(node, routes=(replace(node, path="route.routes[0]", key=far),)))
    for now, state in ((10.0, AlertState.FIRING), (100.0, AlertState.INACTIVE)):
        over = None if state is AlertState.FIRING else now
        stored = [replace(one, state=state, resolved_at=over) for one in alerts]
        log.record("f;g;Hot", stored[:2], [])
        log.record(received.rule, stored[2:], [])
        steps = groups.advance(partial(decide, tree, at=now), now)
        assert [s.message.status for s in steps if s.message] == ["firing" if over is None else "resolved"] * 3
        claimed = OutboxStore(database).claim("one", now, 60.0, 5)
        assert len(claimed) == 3
        OutboxStore(database).settle([Outcome(entry, Fate.SENT, now) for entry in claimed])


def test_a_transaction_says_what_it_cannot_hold_without_the_statement(database: Database) -> None:
    with pytest.raises(NotStorable) as refused, database.transaction() as session:
        enqueue(session, "alert", BAD, "m1", {}, 0.0)
    assert "INSERT" not in str(refused.value)
    assert OutboxStore(database).get("m1") is None


def test_what_waits_in_memory_and_cannot_be_stored_is_dropped_and_the_rest_is_written(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    backlog = Backlog(Clock())
    log = EnduringAlertLog(SqlAlertLog(database), backlog)
    backlog.pause(Unavailable("the disk is full"))
    for name, sentence in (("A", "it is"), ("B", BAD), ("C", "it is")):
        one = instance(name, f"f;g;{name}")
        log.record(one.rule, [one], [firing(one, sentence)])
    assert write_back(database, backlog, lambda: None, "one")
    assert sorted(dict(i.labels)["alertname"] for i in SqlAlertLog(database).active()) == ["A", "B", "C"]
    assert [dict(e.instance.labels)["alertname"] for e in reversed(SqlAlertLog(database).recent(10))] == ["A", "C"]
    assert "alerting: a change of f;g;B cannot be stored and is dropped: the database cannot hold it" in caplog.text
