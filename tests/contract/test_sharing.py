"""What replicas tell each other through the database: who is there, whose clock is how far ahead, how rules do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from sqlmodel import select

from alerts.evaluate import GroupReport, RuleHealth, Told
from alerts.interfaces import AlertInstance, AlertState
from alerts.rules import parse_rules
from collectors.samples import labels_of
from controlplane.errors import LeaseLost
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore
from controlplane.store.replicas import GONE_S, Replicas, ReplicaStatus, running_replicas
from controlplane.store.rule_reports import RuleReports
from controlplane.store.tables.replica import ReplicaRow, RuleReportRow
from tests.fakes.replicas import START

RULES = """
groups:
- name: both
  rules: [{record: "up:sum", expr: sum(up)}, {alert: Down, expr: "up == 0"}]
- name: recording
  rules: [{record: "up:max", expr: max(up)}]
"""


@dataclass
class Clocks:
    """The database's clock, and that of a process which is ahead of it."""

    at: float = START
    ahead_s: float = 0.0

    def now(self) -> float:
        return self.at + self.ahead_s


def replicas(db: Database, holder: str, clocks: Clocks) -> Replicas:
    return Replicas(db, holder, clocks, database_clock=lambda _session: clocks.at)


def tenure(db: Database, holder: str) -> Lease:
    leases = LeaseStore(db)
    for status in leases.list():
        leases.release(Lease(status.name, status.holder, status.epoch))
    found = leases.acquire("alerting", holder, 60)
    assert found is not None
    return found


def test_a_process_is_alone_until_another_one_was_seen_and_again_some_time_after(
    database: Database, replica: Database
) -> None:
    clocks = Clocks()
    one, two = replicas(database, "one", clocks), replicas(replica, "two", clocks)
    assert not one.alone, "before the database was asked somebody may be there"
    one.beat()
    assert one.alone
    two.beat()
    one.beat()
    assert (one.alone, two.alone) == (False, False)
    clocks.at += GONE_S
    one.beat()
    assert not one.alone
    clocks.at += 1
    one.beat()
    assert one.alone
    with database.reading() as session:
        assert [row.holder for row in session.exec(select(ReplicaRow))] == ["one"]


@pytest.mark.parametrize(("ahead_s", "moved"), [(0.9, 0.0), (300.0, -300.0), (-300.0, 300.0)])
def test_a_successor_moves_times_from_the_clock_that_they_were_written_by(
    database: Database, replica: Database, ahead_s: float, moved: float
) -> None:
    wrong, right = Clocks(ahead_s=ahead_s), Clocks()
    one, two = replicas(database, "one", wrong), replicas(replica, "two", right)
    assert one.inherit(tenure(database, "one")) == 0.0, "nobody was there before"
    lease = tenure(replica, "two")
    assert two.inherit(lease) == pytest.approx(moved)
    assert two.inherit(lease) is None, "once a tenure"
    two.beat()
    assert two.inherit(tenure(replica, "two")) is None, "its own times are right already"
    assert one.inherit(tenure(database, "one")) == pytest.approx(-moved)


def test_a_process_that_said_that_it_ends_is_gone_at_once_and_its_clock_is_remembered(
    database: Database, replica: Database
) -> None:
    one, two = replicas(database, "one", Clocks(ahead_s=300.0)), replicas(replica, "two", Clocks())
    one.inherit(tenure(database, "one"))
    two.beat()
    assert not two.alone
    one.leave()
    two.beat()
    assert two.alone
    assert two.inherit(tenure(replica, "two")) == pytest.approx(-300.0)


def test_who_lost_the_lease_moves_nothing(database: Database, replica: Database) -> None:
    one = replicas(database, "one", Clocks())
    lost = tenure(database, "one")
    tenure(replica, "two")
    with pytest.raises(LeaseLost):
        one.inherit(lost)
    with database.reading() as session:
        assert session.exec(select(ReplicaRow)).all() == []


def test_a_step_of_the_clock_counts_at_once(database: Database) -> None:
    clocks = Clocks()
    one = replicas(database, "one", clocks)
    one.beat()
    clocks.ahead_s = 90.0
    one.clock_was_set(90.0)
    assert one.database_time(clocks.now()) == clocks.at
    one.beat()
    assert one.database_time(clocks.now()) == clocks.at


def test_reports_of_alerting_rules_are_read_as_they_were_written(database: Database, replica: Database) -> None:
    both, recording = parse_rules(RULES, "f")
    healths = (RuleHealth(both.rules[0]), RuleHealth(both.rules[1], "err", "gone \x1b[31m", START, 0.25))
    reports = [
        GroupReport(both, healths, START, 0.5),
        GroupReport(recording, (RuleHealth(recording.rules[0]),), None, 0),
    ]
    lease = tenure(database, "one")
    RuleReports(database).write(lease, reports, START + 1)
    heard = RuleReports(replica).read()
    assert heard == {both.rules[1].id: Told("one", START + 1, "err", r"gone \x1b[31m", START, 0.25)}
    RuleReports(database).write(lease, [], START + 2)
    assert RuleReports(replica).read() == {}


@pytest.mark.parametrize(
    "damage",
    [[], 5, {"r": 5}, {"r": {"evaluation_s": "a"}}, {"r": {"evaluation_s": []}}, {"r": {"last_evaluation": "a"}}],
)
def test_a_report_that_cannot_be_read_hides_no_other(database: Database, damage: Any) -> None:
    good = {"r": {"health": "ok", "last_error": "", "last_evaluation": START, "evaluation_s": 0.5}}
    with database.transaction() as session:
        session.add(RuleReportRow(rule_group="a", holder="one", at=START, rules=damage))
        session.add(RuleReportRow(rule_group="b", holder="one", at=START, rules=good))
    assert RuleReports(database).read() == {"r": Told("one", START, "ok", "", START, 0.5)}


def test_running_replicas_are_those_that_were_seen_and_have_not_left(database: Database, replica: Database) -> None:
    clocks, ahead = Clocks(), Clocks(ahead_s=3.0)
    one, two = replicas(database, "one", clocks), replicas(replica, "two", ahead)
    one.beat()
    clocks.at += 20
    ahead.at += 20
    two.beat()
    clocks.at += 5

    def running() -> list[ReplicaStatus]:
        return running_replicas(replica, lambda _session: clocks.at)

    assert running() == [ReplicaStatus("one", 25.0, 0.0), ReplicaStatus("two", 5.0, 3.0)]
    clocks.at += GONE_S - 20
    assert [status.holder for status in running()] == ["two"]
    two.leave()
    assert running() == []


def test_a_report_of_a_lost_tenure_replaces_nothing(database: Database, replica: Database) -> None:
    (both, _) = parse_rules(RULES, "f")
    report = [GroupReport(both, tuple(RuleHealth(rule) for rule in both.rules), START, 0.5)]
    lost = tenure(database, "one")
    RuleReports(replica).write(tenure(replica, "two"), report, START)
    with pytest.raises(LeaseLost):
        RuleReports(database).write(lost, report, START + 1)
    assert [told.by for told in RuleReports(database).read().values()] == ["two"]


def test_active_alerts_are_read_by_rule(database: Database) -> None:
    def alert(rule: str, node: str, state: AlertState) -> AlertInstance:
        return AlertInstance(rule, labels_of({"alertname": rule, "node": node}), (), state, 1.0, START)

    firing, pending = alert("a", "1", AlertState.FIRING), alert("b", "2", AlertState.PENDING)
    log = SqlAlertLog(database)
    log.record("a", [firing, alert("a", "3", AlertState.INACTIVE)], [])
    log.record("b", [pending], [])
    assert log.active_by_rule() == {"a": [firing], "b": [pending]}
