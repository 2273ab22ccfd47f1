"""Alerts, groups and messages that another release stored, or that are damaged: on either database."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import select

from alerts.dispatch import GroupStep, Picture, decide
from alerts.interfaces import AlertInstance, AlertState, MessageRef, Transition
from collectors.samples import labels_of
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStatus, OutboxStore, enqueue
from controlplane.store.tables.alerts import AlertGroupRow, AlertInstanceRow
from controlplane.store.tables.unreadable import UnreadableRow
from controlplane.store.unreadable import TOLD_S, prune, report
from tests.routes import key_of, root, stages

RULE, OTHER = "f;g;Slow", "f;g;Other"
ROUTE = root("ops", ("alertname", "model"), wait_s=10, interval_s=60, repeat_s=3600)


def alert(model: str, rule: str = RULE, **fields: Any) -> AlertInstance:
    labels = labels_of({"alertname": rule[4:], "model": model, "severity": "critical"})
    whole = AlertInstance(rule, labels, (("summary", model),), AlertState.FIRING, 1.0, 100.0, fired_at=100.0)
    return replace(whole, **fields)


def key(instance: AlertInstance) -> str:
    return key_of(ROUTE, instance.labels)


class Fleet:
    """Two models fire; both were told of at second 110."""

    def __init__(self, db: Database, damage: str = "") -> None:
        self.db, self.log, self.groups = db, SqlAlertLog(db), SqlGroupLog(db)
        for instance in (alert("a"), alert("b")):
            transition = Transition(instance, AlertState.PENDING, AlertState.FIRING, 100.0, f"{instance.labels} fires")
            self.log.record(RULE, [*self.log.load(RULE), instance], [transition])
        self.tick(100.0)
        assert [step.message is not None for step in self.tick(110.0)] == [True, True]
        for entry in OutboxStore(db).claim("x", 110.0, 60, 10):
            OutboxStore(db).done(entry, None, 110.0)
            self.groups.remember({(entry.lane, 100): MessageRef("C/1")})
        for statement in filter(None, damage.split(";")):
            self.run(statement)

    def run(self, statement: str) -> None:
        with self.db.transaction() as session:
            session.execute(text(statement).bindparams(**_named(statement)))

    def tick(self, at: float) -> Sequence[GroupStep]:
        def at_once(picture: Picture) -> Sequence[GroupStep]:
            return decide(stages(ROUTE), picture, at)

        return self.groups.advance(at_once, at)

    def kept(self) -> list[tuple[str, dict[str, Any]]]:
        with self.db.reading() as session:
            return [(row.source, json.loads(row.document)) for row in session.exec(select(UnreadableRow))]


def _named(statement: str) -> dict[str, Any]:
    values = {"a": alert("a").fingerprint, "b": alert("b").fingerprint, "key": key(alert("a"))}
    return {name: value for name, value in values.items() if f":{name}" in statement}


ROWS = {
    "the format is newer": "UPDATE alert_instance SET format = 9 WHERE fingerprint = :a",
    "the state is unknown": "UPDATE alert_instance SET state = 'muted' WHERE fingerprint = :a",
    "the labels are none": "UPDATE alert_instance SET labels = '[]' WHERE fingerprint = :a",
    "a label is a number": """UPDATE alert_instance SET labels = '{"alertname" : 1}' WHERE fingerprint = :a""",
    "away is a text": """UPDATE alert_instance SET away = '"abc"' WHERE fingerprint = :a""",
    "half an episode": "UPDATE alert_instance SET changes = '[50.0]' WHERE fingerprint = :a",
    "an episode of no times": """UPDATE alert_instance SET changes = '["x", 50.0]' WHERE fingerprint = :a""",
}


@pytest.mark.parametrize("damage", ROWS.values(), ids=ROWS)
def test_an_alert_whose_row_cannot_be_read_is_taken_from_its_history(
    database: Database, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet(database, damage)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert fleet.log.load(RULE) == [alert("a"), alert("b")]
            assert fleet.tick(200.0) == []
    assert [r.getMessage() for r in caplog.records] == [
        f"database: row {RULE} {alert('a').fingerprint} of table alert_instance cannot be read and is left as it is "
        f"({database.unread.rows()[0].reason}); run the release that stored it, or restore the database; everything "
        "else goes on"
    ]
    assert fleet.log.by_fingerprint(alert("a").fingerprint) == alert("a")
    assert fleet.kept() == []

    fleet.log.record(RULE, [alert("a", value=2.0), alert("b")], [])

    ((source, document),) = fleet.kept()
    assert (source, document["fingerprint"]) == ("alert_instance", alert("a").fingerprint)
    assert fleet.log.load(RULE) == [alert("a", value=2.0), alert("b")]
    assert database.unread.rows() == []


NO_HISTORY = """; UPDATE alert_event SET instance = '{"format": 9}'"""


def test_an_alert_without_a_history_is_taken_from_what_was_told_of_it(database: Database) -> None:
    fleet = Fleet(database, ROWS["the format is newer"] + NO_HISTORY)
    assert fleet.log.load(RULE) == [alert("a"), alert("b")]
    assert fleet.tick(200.0) == []
    # It ends as any other: it is told so, and once.
    fleet.log.record(RULE, [alert("a", state=AlertState.INACTIVE, resolved_at=210.0), alert("b")], [])
    (step,) = fleet.tick(210.0)
    assert step.message is not None
    assert (step.message.status, step.message.generation, step.message.sequence) == ("resolved", 100, 2)


def test_without_its_earlier_episodes_an_alert_still_fires(database: Database) -> None:
    gone = "DELETE FROM alert_event; UPDATE alert_group SET notified = '[]'"
    fleet = Fleet(database, f"{ROWS['half an episode']}; {gone}")
    assert fleet.log.load(RULE) == [alert("a"), alert("b")]


def test_what_nothing_is_known_of_is_tracked_anew_and_not_told_as_new(database: Database) -> None:
    told = "; UPDATE alert_group SET notified = '[7]' WHERE key = :key"
    fleet = Fleet(database, ROWS["the format is newer"] + NO_HISTORY + told)
    assert fleet.log.load(RULE) == [alert("b")]
    assert fleet.log.active() == [alert("b")]
    # Not over: what was told is not known, and the alert may be pending.
    assert fleet.tick(200.0) == []
    fleet.log.record(RULE, [alert("a", active_at=200.0, fired_at=300.0), alert("b")], [])
    (step,) = fleet.tick(300.0)
    # The group's message goes on, where it is: nobody is paged by a new one.
    assert step.message is not None
    assert (step.message.status, step.message.generation, step.message.sequence) == ("firing", 100, 2)
    assert fleet.groups.roots([(key(alert("a")), 100)]) == {(key(alert("a")), 100): MessageRef("C/1")}
    assert sorted(source for source, _ in fleet.kept()) == ["alert_group", "alert_instance"]
    assert fleet.tick(301.0) == []
    assert database.unread.rows() == []
    # That rows were kept aside is told for a day.
    now = time.time()
    assert {row.table for row in report(database, now)} == {"alert_group", "alert_instance"}
    assert report(database, now + 2 * TOLD_S) == []


GROUPS = {
    "what was told is of another type": "UPDATE alert_group SET notified = '{}' WHERE key = :key",
    "one that was told is of a newer release": (
        """UPDATE alert_group SET notified = '[{"format" : 9}]' WHERE key = :key"""
    ),
    "the labels are none": "UPDATE alert_group SET labels = '3' WHERE key = :key",
    "the format is newer": "UPDATE alert_group SET format = 9 WHERE key = :key",
}


@pytest.mark.parametrize("damage", GROUPS.values(), ids=GROUPS)
def test_a_group_that_cannot_be_read_finds_out_what_was_told(database: Database, damage: str) -> None:
    fleet = Fleet(database, damage)
    assert fleet.tick(200.0) == []
    assert [row.table for row in database.unread.rows()] == ["alert_group"]
    assert [group.is_open for group in fleet.groups.read()[1].values()] == [True, True]
    # It is over: told once, in the place of its message.
    fleet.log.record(RULE, [alert("a", state=AlertState.INACTIVE, resolved_at=210.0), alert("b")], [])
    (step,) = fleet.tick(210.0)
    assert step.message is not None
    assert (step.message.status, len(step.message.resolved), step.message.sequence) == ("resolved", 1, 2)
    assert [source for source, _ in fleet.kept()] == ["alert_group"]
    assert fleet.tick(400.0) == []
    assert database.unread.rows() == []


def test_a_group_of_which_nothing_fires_closes_when_it_would_have_been_repeated(database: Database) -> None:
    fleet = Fleet(database, GROUPS["the format is newer"])
    fleet.log.record(RULE, [alert("b")], [])
    assert fleet.tick(200.0) == []
    assert [s.sentence for s in fleet.tick(110.0 + 3600) if s.state.key == key(alert("a"))] == [
        f"{key(alert('a'))} closed: its last message cannot be read, and none of its alerts fires"
    ]


def test_a_group_without_a_number_is_left_out_and_the_others_go_on(database: Database) -> None:
    fleet = Fleet(database)
    if not database.is_sqlite:
        pytest.skip("PostgreSQL keeps numbers only in such a column")
    fleet.run("UPDATE alert_group SET generation = 'x' WHERE key = :key")
    fleet.log.record(RULE, [alert("a"), alert("b", state=AlertState.INACTIVE, resolved_at=210.0)], [])
    told = {step.state.key: step.message for step in fleet.tick(210.0)}
    assert told[key(alert("a"))] is None  # opened anew
    assert told[key(alert("b"))] is not None


def test_text_that_is_no_json_stops_nothing(database: Database) -> None:
    """SQLite keeps any text; PostgreSQL refuses it."""
    if not database.is_sqlite:
        pytest.skip("PostgreSQL keeps JSON only in such a column")
    fleet = Fleet(database)
    for statement in (
        "UPDATE alert_instance SET labels = '{\"a' WHERE fingerprint = :a",
        "UPDATE alert_event SET instance = 'x' WHERE fingerprint = :b",
        "UPDATE alert_group SET notified = '' WHERE key = :key",
        "UPDATE outbox SET payload = '{', result = '{'",
    ):
        fleet.run(statement)
    assert fleet.log.load(RULE) == sorted(fleet.log.active(), key=lambda i: i.labels) == [alert("a"), alert("b")]
    assert len(fleet.log.recent()) == len(fleet.log.since(0)) == 2
    assert [entry.payload for entry in OutboxStore(database).recent(9)] == [{}, {}]
    assert fleet.tick(200.0) == []
    ClockSteps(database).move(50.0)
    fleet.log.record(RULE, [alert("a"), alert("b")], [])
    ((_, document),) = fleet.kept()
    assert document["labels"] == '{"a'


def test_a_history_that_cannot_be_read_is_told_by_its_sentences(database: Database) -> None:
    fleet = Fleet(database, NO_HISTORY)
    assert [event.sentence for event in fleet.log.recent()] == [f"{alert(m).labels} fires" for m in "ba"]
    (event,) = fleet.log.history(alert("a").fingerprint)
    assert (event.fingerprint, event.after) == (alert("a").fingerprint, AlertState.FIRING)
    assert event.instance.labels == (("alertname", "Slow"),)
    assert fleet.log.resolved() == []
    fleet.run("UPDATE alert_event SET after = 'muted'")
    assert fleet.log.recent() == []


def test_a_follower_goes_on_behind_what_it_cannot_be_told(database: Database) -> None:
    fleet = Fleet(database, NO_HISTORY + "; UPDATE alert_event SET after = 'muted'")
    ended = alert("b", state=AlertState.INACTIVE, resolved_at=210.0)
    fleet.log.record(RULE, [ended], [Transition(ended, AlertState.FIRING, AlertState.INACTIVE, 210.0, "over")])
    assert [event.sentence for event in fleet.log.since(0, limit=1)] == ["over"]
    assert fleet.log.resolved() == [ended]


def test_the_alert_of_a_rule_that_is_gone_ends_though_its_row_cannot_be_read(database: Database) -> None:
    fleet = Fleet(database, ROWS["the labels are none"])
    ended = fleet.log.retire([OTHER], 300.0)
    assert {t.instance.labels for t in ended} == {alert("a").labels, alert("b").labels}
    assert fleet.log.active() == []
    assert [source for source, _ in fleet.kept()] == ["alert_instance"]


def test_what_nobody_could_track_anew_is_kept_aside(database: Database) -> None:
    fleet = Fleet(database, ROWS["the format is newer"] + NO_HISTORY + "; UPDATE alert_group SET notified = '[]'")
    assert [t.instance.labels for t in fleet.log.retire([OTHER], 300.0)] == [alert("b").labels]
    ((_, document),) = fleet.kept()
    assert (document["format"], document["labels"]) == (9, dict(alert("a").labels))
    with database.reading() as session:
        assert len(session.exec(select(AlertInstanceRow)).all()) == 1
    assert prune(database, 1.0) == 0
    assert prune(database, 1e12) == 1


def test_a_step_of_the_clock_moves_what_can_be_read(database: Database) -> None:
    fleet = Fleet(database, GROUPS["one that was told is of a newer release"])
    ClockSteps(database).move(1000.0)
    with database.reading() as session:
        groups = {row.key: row for row in session.exec(select(AlertGroupRow))}
    assert groups[key(alert("a"))].notified == [{"format": 9}]
    assert groups[key(alert("b"))].notified[0]["fired_at"] == 1100.0
    assert {row.notified_at for row in groups.values()} == {1110.0}
    assert fleet.tick(1200.0) == []


def test_a_message_of_an_unknown_status_is_left_alone(database: Database) -> None:
    with database.transaction() as session:
        for name in ("m1", "m2"):
            enqueue(session, "alert", "ops", name, {}, 1.0)
        session.execute(text("UPDATE outbox SET status = 'parked' WHERE message_id = 'm1'"))
    outbox = OutboxStore(database)
    assert [entry.message_id for entry in outbox.recent(9)] == ["m2"]
    assert outbox.get("m1") is None
    assert outbox.depth()[OutboxStatus.QUEUED] == 1
    assert [entry.message_id for entry in outbox.claim("x", 2.0, 60, 9)] == ["m2"]
    assert [(row.table, row.key) for row in database.unread.rows()] == [("outbox", "m1")]
