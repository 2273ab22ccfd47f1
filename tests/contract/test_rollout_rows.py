"""Rows that belong to rollouts: wishes, findings and quarantines, each in the transaction of what it follows from."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.errors import Conflict, LeaseLost, NotFound
from controlplane.store.audit import AuditStore
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.findings import FindingRecord
from controlplane.store.rollout_rows.quarantines import Quarantine
from controlplane.store.rollout_rows.records import EventRecord, RolloutRecord
from controlplane.store.rollout_rows.wishes import WishRecord
from tests.contract.test_rollout_log import record

PAUSE = WishRecord("pause", "ann", "operator", 110.0, 2, "lunch")
BAD = Quarantine("chat", "v2", 120.0, "r-1", "v2 failed")


def finding(number: int, carry: str = "", kind: str = "look", name: str = "") -> FindingRecord:
    return FindingRecord(kind, name, 3, number, 100.0 + number, 101.0 + number, "pass", {"reasons": ["fine"]}, carry)


def test_a_wish_is_stored_with_its_event_and_its_audit_row(database: Database, replica: Database) -> None:
    log = RolloutLog(database)
    log.start(record())
    seen: list[RolloutRecord] = []

    def wish(stored: RolloutRecord) -> WishRecord:
        seen.append(stored)
        return PAUSE

    assert log.wish("r-1", wish).wishes == (PAUSE,)
    assert seen == [record()]
    assert RolloutLog(replica).get("r-1").wishes == (PAUSE,)
    assert [found.wishes for found in RolloutLog(replica).active()] == [(PAUSE,)]
    assert log.events("r-1")[-1] == EventRecord(110.0, "planned", "ann: pause: lunch.")
    entry = AuditStore(database).recent(1)[0]
    assert (entry.actor, entry.action, entry.detail) == ("ann", "rollout.pause", "rollout r-1, step 3: lunch")


def test_a_wish_that_changes_nothing_leaves_no_trace(database: Database) -> None:
    log = RolloutLog(database)
    log.start(record())

    def refused(stored: RolloutRecord) -> WishRecord:
        raise Conflict("it is paused already")

    assert log.wish("r-1", lambda stored: None).wishes == ()
    with pytest.raises(Conflict, match="paused already"):
        log.wish("r-1", refused)
    with pytest.raises(NotFound):
        log.wish("r-9", lambda stored: PAUSE)
    assert len(log.events("r-1")) == len(AuditStore(database).recent(9)) == 1


def test_a_wish_outlives_the_engines_save(database: Database) -> None:
    log = RolloutLog(database)
    log.start(record())
    log.wish("r-1", lambda stored: PAUSE)
    log.save(record(sentence="on"), [], None, None)
    assert (log.get("r-1").sentence, log.get("r-1").wishes) == ("on", (PAUSE,))


def test_findings_are_kept_and_only_the_latest_of_a_name_has_its_own_data(database: Database) -> None:
    log = RolloutLog(database)
    log.start(record())
    log.save(record(), [], None, None, findings=[finding(1, "one"), finding(1, "h", "hook", "h")])
    log.save(record(), [], None, None, findings=[finding(2, "two"), finding(3, "three")])
    assert [(f.kind, f.number, f.carry) for f in log.findings("r-1", 10)] == [
        ("look", 1, ""),
        ("hook", 1, ""),
        ("look", 2, ""),
        ("look", 3, ""),
    ]
    assert [f.number for f in log.findings("r-1", 2)] == [2, 3]
    assert log.latest_finding("r-1", "look", "") == finding(3, "three")
    assert log.latest_finding("r-1", "hook", "h") == finding(1, "h", "hook", "h")
    assert log.latest_finding("r-1", "warm", "") is None
    with pytest.raises(NotFound):
        log.findings("r-9", 1)


def test_of_findings_that_found_too_little_the_first_and_the_latest_stay(database: Database) -> None:
    log = RolloutLog(database)
    log.start(record())

    def save(number: int, outcome: str = "not-enough-data", step: int = 3, name: str = "") -> None:
        made = finding(number, f"data {number}", name=name)._replace(outcome=outcome, step=step)
        log.save(record(), [], None, None, findings=[made])

    for number in range(1, 2001):
        save(number)
    save(1, name="other")
    save(2001, "pass")
    for number in range(2002, 2006):
        save(number)
    for number in range(2006, 2009):
        save(number, step=4)
    save(2009, "fail", 4)
    found = [(f.name, f.step, f.number, f.outcome) for f in log.findings("r-1", 5000)]
    few = "not-enough-data"
    assert found == [
        ("", 3, 1, few),
        ("", 3, 2000, few),
        ("other", 3, 1, few),
        ("", 3, 2001, "pass"),
        ("", 3, 2002, few),
        ("", 3, 2005, few),
        ("", 4, 2006, few),
        ("", 4, 2008, few),
        ("", 4, 2009, "fail"),
    ]
    latest = log.latest_finding("r-1", "look", "")
    assert latest is not None and latest.carry == "data 2009", "what the next look goes on from is kept"


def test_a_quarantine_and_a_finding_come_with_their_step_or_not_at_all(database: Database) -> None:
    log, leases = RolloutLog(database), LeaseStore(database)
    log.start(record())
    lease = leases.acquire("rollouts", "a", 15.0)
    assert lease is not None
    leases.release(lease)
    over: dict[str, Any] = {"finished_at": 120.0, "phase": "rolled-back", "ok": False}
    with pytest.raises(LeaseLost):
        log.save(record(**over), [], None, lease, findings=[finding(1)], quarantine=BAD)
    assert (log.quarantines(), log.findings("r-1", 9)) == ([], [])
    log.save(record(**over), [], None, None, findings=[finding(1)], quarantine=BAD)
    assert (log.quarantines("chat"), log.quarantines("other")) == ([BAD], [])


def test_a_quarantine_holds_until_it_is_lifted_and_can_come_again(database: Database) -> None:
    log = RolloutLog(database)
    log.start(record())
    log.save(record(), [], None, None, quarantine=BAD)
    log.save(record(), [], None, None, quarantine=BAD._replace(reason="again", rollout_id="r-2"))
    assert log.quarantines() == [BAD], "the first one holds"
    assert log.lift("chat", "v3", "bob", "why not", 130.0) is None
    assert log.lift("chat", "v2", "bob", "fixed", 130.0) == BAD
    assert log.lift("chat", "v2", "bob", "fixed", 131.0) is None
    assert log.quarantines() == []
    lifts = [(e.actor, e.detail) for e in AuditStore(database).recent(9) if e.action == "quarantine.lift"]
    assert lifts == [("bob", "v2, in quarantine since rollout r-1: fixed")]
    log.save(record(), [], None, None, quarantine=BAD._replace(since=140.0))
    assert log.quarantines() == [BAD._replace(since=140.0)]
