"""What the holder of the lease keeps in memory of the alert tables is what they hold, whatever happens in between."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, event, update
from sqlmodel import Session, col

import controlplane.store.tables.alerts  # noqa: F401 - fills SQLModel.metadata
from alerts.dispatch import Deliveries, GroupState, GroupStep, Picture
from alerts.interfaces import AlertInstance, AlertState, Message, Transition
from collectors.samples import labels_of
from controlplane.errors import LeaseLost, Unavailable
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.alerting.mirror import MOST_AGE_S, Content, Mirror
from controlplane.store.backlog import Backlog, EnduringAlertLog, write_back
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore
from controlplane.store.outbox import OutboxStore
from controlplane.store.tables.alerts import AlertGroupRow, AlertInstanceRow

RULE, OTHER = "f;g;Hot", "f;g;Cold"
STATES = (AlertState.FIRING, AlertState.PENDING, AlertState.INACTIVE)


def alert(node: str, rule: str = RULE, **fields: Any) -> AlertInstance:
    labels = labels_of({"alertname": "Hot", "node": node, "severity": "warning"})
    return replace(AlertInstance(rule, labels, (("summary", f"{node} °C"),), AlertState.FIRING, 0.5, 100.0), **fields)


def fired(instance: AlertInstance) -> Transition:
    return Transition(instance, AlertState.PENDING, AlertState.FIRING, 160.0, "fires")


def statements(database: Database) -> list[str]:
    """Return a list that every later statement on the alert tables is added to."""
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "alert_" in statement:
            seen.append(statement.split()[0])

    event.listen(database.engine, "before_cursor_execute", note)
    return seen


def shown(instances: Sequence[AlertInstance]) -> list[str]:
    return sorted(map(repr, instances))  # nan is not equal to itself


class Reader:
    """Dispatches nothing, and notes what it decides from."""

    def __init__(self, groups: SqlGroupLog) -> None:
        self._groups = groups
        self.pictures: list[Picture] = []

    def look(self, *steps: GroupStep) -> Picture:
        def decide(picture: Picture) -> Sequence[GroupStep]:
            self.pictures.append(picture)
            return steps

        self._groups.advance(decide, 200.0)
        return self.pictures[-1]


@pytest.mark.parametrize("seed", range(4))
def test_many_changes_leave_the_rows_that_they_should(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    mirror = Mirror()
    log, reader = SqlAlertLog(database, mirror=mirror), Reader(SqlGroupLog(database, mirror=mirror))
    now: dict[str, dict[str, AlertInstance]] = {RULE: {}, OTHER: {}}
    for _ in range(40):
        rule = chance.choice((RULE, OTHER))
        for node in chance.sample(range(12), 4):
            key = f"n{node}"
            if key in now[rule] and chance.random() < 0.4:
                del now[rule][key]
                continue
            old = now[rule].get(key, alert(key, rule))
            changed: dict[str, Any] = {"value": chance.choice((math.nan, math.inf, chance.random()))}
            if chance.random() < 0.5:
                changed |= {"state": chance.choice(STATES), "away": chance.choice(((), ("vllm/a:80",)))}
            if chance.random() < 0.3:
                changed |= {"annotations": (("summary", str(chance.random())),)}
            now[rule][key] = replace(old, **changed)
        transitions = [fired(each) for each in now[rule].values() if chance.random() < 0.2]
        log.record(rule, list(now[rule].values()), transitions)
        if chance.random() < 0.2:
            mirror.forget()
        wanted = [one for each in now.values() for one in each.values()]
        assert shown(SqlAlertLog(database).load(RULE)) == shown(list(now[RULE].values()))
        assert shown(SqlAlertLog(database).load(OTHER)) == shown(list(now[OTHER].values()))
        assert shown(reader.look().instances) == shown(wanted)


def test_an_evaluation_writes_only_what_changed_and_reads_nothing(database: Database) -> None:
    log = SqlAlertLog(database, mirror=Mirror())
    before = [alert(f"n{number}") for number in range(20)]
    log.record(RULE, before, [])
    seen = statements(database)
    log.record(RULE, before, [])
    assert seen == []
    log.record(RULE, [replace(before[0], value=9.0), *before[1:]], [])
    log.record(RULE, before[1:], [])
    log.record(RULE, [*before[1:], alert("new")], [])
    assert seen == ["UPDATE", "DELETE", "INSERT"]


def test_a_decision_reads_neither_alerts_nor_groups_again(database: Database) -> None:
    mirror = Mirror()
    log, groups = SqlAlertLog(database, mirror=mirror), SqlGroupLog(database, mirror=mirror)
    log.record(RULE, [alert("n1")], [])
    reader = Reader(groups)
    message = Message("ops{}", "ops", "firing", (), (alert("n1"),), (), sequence=1, generation=7)
    state = GroupState("ops{}", "ops", (), 7, 1, is_open=True, opened_at=7.0, notified=(alert("n1"),))
    first = reader.look(GroupStep(state, message, "opened"))
    assert (first.instances, first.groups, first.deliveries) == ((alert("n1"),), {}, Deliveries(set(), set()))
    seen = statements(database)
    later = reader.look()
    assert (later.instances, later.groups) == ((alert("n1"),), {"ops{}": state})
    assert later.instances is reader.look().instances  # so that dispatch need not sort it again
    assert not [each for each in seen if each != "SELECT"]
    (entry,) = OutboxStore(database).claim("me", 200.0, 60.0, 5)
    OutboxStore(database).done(entry, None, 201.0)
    assert later.deliveries.underway == {"ops{}"}
    assert reader.look().deliveries.underway == set()  # another process may deliver: never from memory


def test_rows_that_are_not_as_remembered_are_read_and_made_right(database: Database) -> None:
    log = SqlAlertLog(database, mirror=Mirror())
    one, two = alert("n1"), alert("n2")
    log.record(RULE, [one, two], [])
    with database.transaction() as session:
        session.execute(delete(AlertInstanceRow).where(col(AlertInstanceRow.fingerprint) == one.fingerprint))
    moved = [replace(one, value=7.0), replace(two, value=8.0)]
    log.record(RULE, moved, [])
    assert log.load(RULE) == moved


def test_what_another_holder_wrote_is_read_under_a_new_lease(database: Database) -> None:
    leases = LeaseStore(database)
    held: list[Lease | None] = [leases.acquire("alerting", "one", 60.0)]
    mirror = Mirror()
    log = SqlAlertLog(database, lambda: held[0], mirror)
    reader = Reader(SqlGroupLog(database, lambda: held[0], mirror))
    log.record(RULE, [alert("n1")], [])
    assert reader.look().instances == (alert("n1"),)
    first = held[0]
    assert first is not None
    leases.release(first)
    theirs = leases.acquire("alerting", "two", 60.0)
    SqlAlertLog(database, lambda: theirs).record(RULE, [alert("n2")], [])
    with pytest.raises(LeaseLost):
        reader.look()
    with pytest.raises(LeaseLost):
        log.record(RULE, [alert("n1", value=3.0)], [])
    assert log.load(RULE) == [alert("n2")]
    assert theirs is not None
    leases.release(theirs)
    held[0] = leases.acquire("alerting", "one", 60.0)
    assert reader.look().instances == (alert("n2"),)
    log.record(RULE, [alert("n2", value=3.0)], [])
    assert log.load(RULE) == [alert("n2", value=3.0)]


def test_a_commit_that_fails_is_not_taken_for_done(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqlAlertLog(database, mirror=Mirror())
    log.record(RULE, [alert("n1")], [])

    def refused(*_: object) -> None:
        raise Unavailable("the disk is full")

    with monkeypatch.context() as during:
        during.setattr("controlplane.store.alert_log.append_history", refused)
        with pytest.raises(Unavailable):
            log.record(RULE, [alert("n1", value=7.0), alert("n2")], [])
    assert log.load(RULE) == [alert("n1")]
    log.record(RULE, [alert("n1", value=7.0), alert("n2")], [])
    assert log.load(RULE) == [alert("n1", value=7.0), alert("n2")]


class Clock:
    def now(self) -> float:
        return 200.0


def test_what_the_backlog_wrote_back_is_not_overlooked(database: Database) -> None:
    backlog, mirror = Backlog(Clock()), Mirror()
    log = EnduringAlertLog(SqlAlertLog(database, mirror=mirror), backlog)
    first = [alert("n1"), alert("n2")]
    log.record(RULE, first, [])
    backlog.pause(Unavailable("locked"))
    log.record(RULE, [alert("n2", value=5.0), alert("n3")], [])
    assert SqlAlertLog(database).load(RULE) == first
    assert write_back(database, backlog, lambda: None, "one", mirror)
    log.record(RULE, first, [])
    assert SqlAlertLog(database).load(RULE) == first


def test_rows_that_housekeeping_or_a_person_changed_are_seen_after_ten_minutes(database: Database) -> None:
    now = [0.0]
    mirror = Mirror(lambda: now[0])
    reader = Reader(SqlGroupLog(database, mirror=mirror))
    SqlAlertLog(database, mirror=mirror).record(RULE, [alert("n1")], [])
    closed = GroupState("ops{}", "ops", (), 7, 1, is_open=False, opened_at=7.0)
    reader.look(GroupStep(closed, None, "closed"))
    assert SqlGroupLog(database).prune(1000.0) == 1
    with database.transaction() as session:
        session.execute(update(AlertInstanceRow).values(value=9.0))
    now[0] = MOST_AGE_S
    assert reader.look().groups == {"ops{}": closed}
    now[0] += 1.0
    picture = reader.look()
    assert (picture.instances, picture.groups) == ((alert("n1", value=9.0),), {})


def test_what_is_written_while_everything_is_read_anew_is_not_overlooked(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    mirror = Mirror(lambda: now[0])
    log, reader = SqlAlertLog(database, mirror=mirror), Reader(SqlGroupLog(database, mirror=mirror))
    log.record(RULE, [alert("n1", state=AlertState.PENDING)], [])
    begin = database.transaction

    def begin_later() -> AbstractContextManager[Session]:
        monkeypatch.setattr(database, "transaction", begin)
        now[0] += MOST_AGE_S + 1.0
        assert reader.look().instances == (alert("n1", state=AlertState.PENDING),)
        return begin()

    monkeypatch.setattr(database, "transaction", begin_later)
    log.record(RULE, [alert("n1")], [fired(alert("n1"))])
    assert reader.look().instances == (alert("n1"),)


def test_a_damaged_row_is_written_anew_and_kept_aside(database: Database) -> None:
    mirror = Mirror()
    log, reader = SqlAlertLog(database, mirror=mirror), Reader(SqlGroupLog(database, mirror=mirror))
    SqlAlertLog(database).record(RULE, [alert("n1")], [fired(alert("n1"))])
    with database.transaction() as session:
        session.execute(update(AlertInstanceRow).values(format=99))
        session.execute(update(AlertGroupRow).values(format=99))
    assert reader.look().instances == (alert("n1"),)  # from its history
    log.record(RULE, [alert("n1", value=2.0)], [])
    assert log.load(RULE) == [alert("n1", value=2.0)]
    assert database.unread.rows() == []


def test_a_reading_that_ends_after_the_content_was_given_up_is_not_believed() -> None:
    mirror = Mirror()
    begun = mirror.under(None)
    mirror.forget()  # as when rules of a reload are retired meanwhile
    begun.read([alert("n1")])
    begun.wrote(OTHER, [alert("n2", OTHER)])
    assert mirror.under(None).instances() is None
    assert mirror.under(None).of(OTHER) is None


def test_what_was_written_during_a_reading_is_newer_than_it() -> None:
    content = Content(None, 0.0)
    content.wrote(RULE, [alert("n1", value=2.0)])
    content.read([alert("n1", value=1.0), alert("n2", OTHER)])
    assert shown(content.instances() or ()) == shown([alert("n1", value=2.0), alert("n2", OTHER)])
    content.wrote(RULE, [])
    assert content.instances() == (alert("n2", OTHER),)
    another = Content(None, 0.0)
    another.wrote(RULE, [])
    another.read([alert("n1"), alert("n2", OTHER)])
    assert another.instances() == (alert("n2", OTHER),)
    assert content.of(RULE) is None  # an empty rule costs no memory: senders may name any number of alerts
