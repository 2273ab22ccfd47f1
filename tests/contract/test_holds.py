"""Stored silences and acknowledgements, on either database."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from alerts.dispatch import Dispatcher, GroupStep, Picture, decide
from alerts.holds import Acknowledgement, Silence
from alerts.interfaces import AlertInstance, AlertState, Clock, Transition
from alerts.routing.matchers import Matcher, Op
from alerts.routing.tree import Node
from alerts.wire import message_from_json
from collectors.samples import labels_of
from controlplane.app.parts.holding import AHEAD_S, HoldWatch, Reminders
from controlplane.errors import Conflict, LeaseLost, NotFound, Unavailable, Unreadable
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.audit import AuditStore
from controlplane.store.backlog import Backlog, EnduringGroupLog
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.database import Database
from controlplane.store.holding.acknowledgements import AcknowledgementStore
from controlplane.store.holding.silences import MOST_OPEN, Act, SilenceState, SilenceStore, StoredSilence
from controlplane.store.lease import Lease
from controlplane.store.outbox import OutboxStore
from controlplane.store.tables.holds import AcknowledgementRow, SilenceRow
from tests.routes import root, stages

CHAT = (Matcher("model", Op.EQUAL, "chat"), Matcher("severity", Op.MATCHES, "warn.*"))
ROUTE = root("ops", ("alertname", "model"), wait_s=0, interval_s=60, repeat_s=3600)


class Hand:
    """A clock that a test sets."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at


def silence(name: str = "s1", **fields: Any) -> Silence:
    return replace(Silence(name, CHAT, 1000.0, 8200.0, "ann", "new driver", 1000.0), **fields)


def act(at: float = 1000.0, action: str = "silence.create") -> Act:
    return Act("ann", action, "why", at)


def fire(db: Database, model: str = "chat", fired_at: float = 900.0, **fields: Any) -> AlertInstance:
    labels = labels_of({"alertname": f"Slow{model}", "model": model, "severity": "warning"})
    made = AlertInstance(f"f;g;{model}", labels, (), AlertState.FIRING, 1.0, 800.0, fired_at=fired_at)
    made = replace(made, **fields)
    SqlAlertLog(db).record(made.rule, [made], [Transition(made, AlertState.PENDING, made.state, 900.0, "fires")])
    return made


def picture(db: Database, at: float) -> Picture:
    seen: list[Picture] = []

    def look(found: Picture) -> list[GroupStep]:
        seen.append(found)
        return []

    SqlGroupLog(db).advance(look, at)
    return seen[0]


def test_a_silence_reads_back_as_it_was_and_is_audited(database: Database) -> None:
    store = SilenceStore(database)
    store.add(silence(), "token-1", act(), key="k", request="r")
    stored = StoredSilence(silence(), "token-1", 1000.0)
    assert store.get("s1") == stored
    assert store.by_key("k") == (stored, "r")
    assert store.by_key("other") is None
    assert [stored.state(at) for at in (999, 1000, 8199, 8200)] == [
        SilenceState.PENDING,
        SilenceState.ACTIVE,
        SilenceState.ACTIVE,
        SilenceState.EXPIRED,
    ]
    (entry,) = AuditStore(database).recent(5)
    assert (entry.actor, entry.action, entry.subject, entry.detail) == ("ann", "silence.create", "silence/s1", "why")
    with pytest.raises(Conflict):
        store.add(silence("s2"), "token-1", act(), key="k")
    with pytest.raises(NotFound, match="there is no silence s2"):
        store.get("s2")


def test_the_order_is_by_end_and_over_ones_come_last(database: Database) -> None:
    store = SilenceStore(database)
    for name, ends_at in (("late", 9000.0), ("over", 1500.0), ("soon", 3000.0), ("first", 1200.0)):
        store.add(silence(name, ends_at=ends_at), "", act())
    assert [one.silence.id for one in store.list(2000.0, expired=True)] == ["soon", "late", "over", "first"]
    assert [one.silence.id for one in store.list(2000.0, expired=False)] == ["soon", "late"]
    assert store.prune(1500.0) == 1
    assert [one.silence.id for one in store.list(2000.0, expired=True)] == ["soon", "late", "over"]


def test_there_are_never_too_many(database: Database) -> None:
    with database.transaction() as session:
        for number in range(MOST_OPEN):
            session.add(
                SilenceRow(
                    id=f"n{number}",
                    matchers=[{"name": "a", "op": "=", "value": "b"}],
                    starts_at=0.0,
                    ends_at=2000.0,
                    created_at=0.0,
                    created_by="",
                    owner="",
                    comment="",
                    updated_at=0.0,
                )
            )
    with pytest.raises(Conflict, match="1000 silences are not over"):
        SilenceStore(database).add(silence(), "", act())
    SilenceStore(database).add(silence(ends_at=9000.0), "", act(at=2000.0))


def test_a_decision_reads_the_acknowledgement_of_an_alert_that_returns(database: Database) -> None:
    """While an alert flaps, its episodes are one: dispatch decides whether it does."""
    chat = fire(database, state=AlertState.INACTIVE, resolved_at=960.0, changes=(700.0, 750.0))
    fire(database, "code", state=AlertState.INACTIVE, resolved_at=960.0)
    taken = AcknowledgementStore(database)
    one = Acknowledgement(chat.fingerprint, 700.0, "ann", 710.0)
    taken.put(one, "alert.acknowledge", "why")
    assert picture(database, 1000.0).holds.acknowledgements == {chat.fingerprint: one}


def test_a_decision_reads_what_is_not_over_and_only_episodes_that_last(database: Database) -> None:
    store, taken = SilenceStore(database), AcknowledgementStore(database)
    chat, code = fire(database), fire(database, "code", fired_at=950.0)
    store.add(silence(), "", act())
    store.add(silence("over", ends_at=1900.0), "", act())
    one = Acknowledgement(chat.fingerprint, 900.0, "ann", 1000.0, 5000.0, "I look")
    taken.put(one, "alert.snooze", "why")
    taken.put(Acknowledgement(code.fingerprint, 940.0, "bob", 945.0), "alert.acknowledge", "an earlier episode")
    holds = picture(database, 2000.0).holds
    assert list(holds.silences) == [silence()]
    assert holds.acknowledgements == {chat.fingerprint: one}
    assert SqlGroupLog(database).read().holds.acknowledgements == {chat.fingerprint: one}
    assert taken.prune(2000.0) == 1, "that of the episode that is over"
    assert taken.remove(chat.fingerprint, "ann", "given back", 2000.0) is True
    assert taken.remove(chat.fingerprint, "ann", "given back", 2000.0) is False
    assert picture(database, 2000.0).holds.acknowledgements == {}


def test_a_change_is_one_transaction_and_moves_the_reminder(database: Database) -> None:
    store = SilenceStore(database)
    store.add(silence(), "", act())
    with database.transaction() as session:
        session.execute(text("UPDATE silence SET reminded_at = 7300, reminders = 1"))

    def fails(_: Session, before: StoredSilence) -> Silence:
        raise Conflict("no")

    with pytest.raises(Conflict):
        store.change("s1", act(7400.0, "silence.extend"), fails)
    longer = store.change(
        "s1", act(7400.0, "silence.extend"), lambda _, before: replace(before.silence, ends_at=9000.0)
    )
    assert (longer.silence.ends_at, longer.reminded_at, longer.reminders) == (9000.0, None, 1)
    same = store.change("s1", act(7500.0, "silence.extend"), lambda _, before: before.silence)
    assert same == longer
    assert [entry.action for entry in AuditStore(database).recent(9)] == ["silence.extend", "silence.create"]


async def test_any_process_notices_a_change_and_only_a_change(database: Database) -> None:
    watch, other = HoldWatch(database), HoldWatch(database)
    assert (await watch.changed(), await watch.changed()) == (True, False)
    fire(database)
    assert await watch.changed() is False, "an alert is no news of a person"
    SilenceStore(database).add(silence(), "", act())
    assert (await watch.changed(), await watch.changed()) == (True, False)
    chat = fire(database)
    AcknowledgementStore(database).put(Acknowledgement(chat.fingerprint, 900.0, "ann", 1000.0), "a", "")
    fire(database, "code")
    assert (await watch.changed(), await watch.changed()) == (True, False)
    assert (await other.changed(), await other.changed()) == (True, False)


@pytest.mark.parametrize("by", [-50.0, 3600.0])
def test_times_follow_a_step_of_the_clock(database: Database, by: float) -> None:
    chat = fire(database)
    SilenceStore(database).add(silence(), "", act())
    one = Acknowledgement(chat.fingerprint, 900.0, "ann", 1000.0, 5000.0, "")
    AcknowledgementStore(database).put(one, "alert.snooze", "")
    ClockSteps(database).move(by)
    holds = picture(database, 1000.0 + by).holds
    assert list(holds.silences) == [silence().moved_by(by)]
    assert holds.acknowledgements == {chat.fingerprint: one.moved_by(by)}, "it still belongs to the episode"


def test_times_of_a_clock_that_was_ahead_are_capped_alike(database: Database) -> None:
    chat = fire(database, fired_at=9000.0)
    AcknowledgementStore(database).put(Acknowledgement(chat.fingerprint, 9000.0, "ann", 9100.0), "a", "")
    ClockSteps(database).settle(2000.0)
    assert list(picture(database, 2000.0).holds.acknowledgements or ()) == [chat.fingerprint]


DAMAGE = {
    "a newer format": "UPDATE silence SET format = 9",
    "matchers that are none": "UPDATE silence SET matchers = '[3]'",
    "an operator of another release": """UPDATE silence SET matchers = '[{"name": "a", "op": "~~", "value": "b"}]'""",
    "a pattern that is none": """UPDATE silence SET matchers = '[{"name": "a", "op": "=~", "value": "("}]'""",
    "a new key": """UPDATE silence SET matchers = '[{"name": "a", "op": "=", "value": "b", "x": 1}]'""",
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_damaged_silence_is_reported_and_the_others_count(
    database: Database, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = SilenceStore(database)
    store.add(silence(), "", act())
    with database.transaction() as session:
        session.execute(text(DAMAGE[damage]))
    store.add(silence("s2"), "", act())
    with caplog.at_level(logging.ERROR):
        assert [one.id for one in picture(database, 2000.0).holds.silences] == ["s2"]
    assert [one.silence.id for one in store.list(2000.0, expired=True)] == ["s2"]
    assert "row s1 of table silence cannot be read" in caplog.text
    with pytest.raises(Unreadable, match="silence s1 cannot be read"):
        store.get("s1")
    assert [row.table for row in database.unread.rows()] == ["silence"]


def test_a_damaged_acknowledgement_holds_nothing_back(database: Database) -> None:
    chat, code = fire(database), fire(database, "code")
    for one in (chat, code):
        AcknowledgementStore(database).put(Acknowledgement(one.fingerprint, 900.0, "ann", 1000.0), "a", "")
    with database.transaction() as session:
        session.execute(text("UPDATE acknowledgement SET format = 9 WHERE fingerprint = :f"), {"f": chat.fingerprint})
    assert list(picture(database, 2000.0).holds.acknowledgements or ()) == [code.fingerprint]
    assert [(row.table, row.key) for row in database.unread.rows()] == [("acknowledgement", chat.fingerprint)]


async def test_a_group_remembers_what_is_held_back_in_its_row(database: Database) -> None:
    clock = Hand()
    chat = fire(database)
    dispatcher = Dispatcher(stages(ROUTE), SqlGroupLog(database), clock)
    assert [step.message is not None for step in await dispatcher.tick()] == [True]
    for entry in OutboxStore(database).claim("x", 1000.0, 60.0, 5):
        OutboxStore(database).done(entry, None, 1000.0)
    SilenceStore(database).add(silence(), "", act())
    clock.at = 1010.0
    (step,) = await dispatcher.tick()
    assert step.message is None
    (group,) = SqlGroupLog(database).read().groups.values()
    assert group.held == (chat.fingerprint,)
    again = Dispatcher(stages(ROUTE), SqlGroupLog(database), clock)  # as after a restart
    SilenceStore(database).change("s1", act(2000.0), lambda _, before: replace(before.silence, ends_at=2000.0))
    clock.at = 2000.0
    (step,) = await again.tick()
    assert step.message is not None
    assert step.message.firing == (chat,)


def test_while_the_database_is_away_the_silences_that_were_read_last_count(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Hand()
    fire(database)
    SilenceStore(database).add(silence(), "", act())
    groups = EnduringGroupLog(SqlGroupLog(database), Backlog(clock))

    def decided(at: float) -> list[GroupStep]:
        clock.at = at
        return list(groups.advance(lambda found: decide(stages(ROUTE), found, at), at))

    assert decided(1000.0) == []

    def gone(*_: Any) -> Any:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(SqlGroupLog, "advance", gone)
    monkeypatch.setattr(SqlGroupLog, "read", gone)
    assert decided(8199.0) == []
    (step,) = decided(8200.0)  # the silence ends in memory, too
    assert step.message is not None


class Office:
    """Reminders of one process."""

    def __init__(self, db: Database, clock: Clock, lease: Lease | None = None) -> None:
        self.db, self.ticks = db, 0.0
        self.reminders = Reminders(db, clock, lambda: lease, self._monotonic)

    def _monotonic(self) -> float:
        self.ticks += 60.0
        return self.ticks

    async def remind(self) -> bool:
        return await self.reminders.remind(stages(ROUTE))

    def said(self) -> list[str]:
        entries = reversed(OutboxStore(self.db).recent(9))
        notices = [message_from_json(entry.payload).notice for entry in entries]
        return [f"{notice.title}. {notice.text}" for notice in notices if notice]


async def test_a_silence_that_holds_something_back_is_announced_once_before_its_end(database: Database) -> None:
    clock = Hand(8200.0 - AHEAD_S - 1)
    fire(database)
    fire(database, "code")
    SilenceStore(database).add(silence(), "", act())
    office, other = Office(database, clock), Office(database, clock)
    assert await office.remind() is False
    clock.at += 1
    assert [await office.remind(), await office.remind(), await other.remind()] == [True, False, False]
    assert office.said() == [
        "Silence of ann ends at 1970-01-01 02:16 UTC. It holds back 1 alert that still fires and is notified after its "
        "end: Slowchat (model=chat). Its reason: new driver. `cp silences extend s1 --for 2h` prolongs it."
    ]
    SilenceStore(database).change("s1", act(8000.0), lambda _, before: replace(before.silence, ends_at=12000.0))
    clock.at = 12000.0 - 1
    assert [await office.remind(), await other.remind()] == [True, False], "another end is another reminder"
    assert [entry.message_id for entry in OutboxStore(database).recent(9)] == [
        "ops silence s1/2/1",
        "ops silence s1/1/1",
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"matchers": (Matcher("model", Op.EQUAL, "code"),)}, "it holds nothing back"),
        ({"starts_at": 8200.0 - 3599.0}, "it is short"),
        ({"ends_at": 7000.0}, "it is over"),
        ({"starts_at": 8000.0, "ends_at": 20_000.0}, "its end is far off"),
    ],
)
async def test_nobody_is_reminded_without_need(database: Database, fields: dict[str, Any], why: str) -> None:
    fire(database)
    SilenceStore(database).add(silence(**fields), "", act())
    office = Office(database, Hand(8190.0))
    assert await office.remind() is False, why
    assert office.said() == []


async def test_where_the_root_has_no_notifier_those_of_the_alerts_are_reminded(database: Database) -> None:
    chat = Node("route.routes[0]", 2, CHAT[:1], "team", ("alertname",), 0, 60, 3600, key="/chat")
    fire(database)
    SilenceStore(database).add(silence(), "", act())
    office = Office(database, Hand(8190.0))
    nobody = stages(replace(ROUTE, routes=(chat,)), notifiers={"ops": (), "team": ("pager", "mail")})
    assert await office.reminders.remind(nobody) is True
    assert {entry.receiver for entry in OutboxStore(database).recent(9)} == {"pager", "mail"}


async def test_an_alert_that_fires_in_the_last_minutes_is_still_announced(database: Database) -> None:
    SilenceStore(database).add(silence(), "", act())
    office = Office(database, Hand(7500.0))
    assert await office.remind() is False
    fire(database)
    assert await office.remind() is True


async def test_a_process_without_its_lease_reminds_nobody(database: Database) -> None:
    fire(database)
    SilenceStore(database).add(silence(), "", act())
    office = Office(database, Hand(7500.0), Lease("alerting", "lost", 1))
    with pytest.raises(LeaseLost):
        await office.remind()
    assert office.said() == []
    with database.reading() as session:
        assert [row.reminded_at for row in session.exec(select(SilenceRow))] == [None]
        assert session.exec(select(AcknowledgementRow)).all() == []


async def test_a_database_that_is_away_stops_no_dispatch(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    fire(database)
    SilenceStore(database).add(silence(), "", act())
    office, watch = Office(database, Hand(7500.0)), HoldWatch(database)

    def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("the database is away")

    with monkeypatch.context() as cut:
        cut.setattr(Database, "first", away)
        assert (await office.remind(), await watch.changed()) == (False, False)
    assert (await office.remind(), await watch.changed()) == (True, True), "what was missed is made up for"
