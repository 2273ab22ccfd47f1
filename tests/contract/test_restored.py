"""A database that was restored from a backup holds back what it has until an operator releases it."""

from __future__ import annotations

import pytest
from sqlmodel import select

from controlplane.errors import Conflict
from controlplane.store.assignments import AssignmentStore
from controlplane.store.audit import AuditStore
from controlplane.store.backups.restored import RAISED_BY, hold_of, put_on_hold, release
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.outbox import OutboxStatus, OutboxStore, enqueue
from controlplane.store.tables.lease import LeaseRow

TAKEN, RESTORED, RELEASED = 1_000.0, 2_000.0, 3_000.0


@pytest.fixture
def restored(database: Database) -> Database:
    """A database with a lease, an assignment, and messages that are queued, claimed and sent, on hold."""
    LeaseStore(database).acquire("rollouts", "host/1", 30.0)
    AssignmentStore(database).assign("chat", {"v1": 1000}, None, "rollout r-1", TAKEN)
    outbox = OutboxStore(database)
    with database.transaction() as session:
        for name in ("sent", "claimed", "queued"):
            enqueue(session, "test", "slack", name, {}, TAKEN, lane="group")
    for name in ("sent", "claimed"):
        (entry,) = outbox.claim("host/1", TAKEN, 30.0, 1)
        assert entry.message_id == name
        if name == "sent":
            outbox.done(entry, None, TAKEN)
    with database.transaction() as session:
        put_on_hold(session, "20260101T000000Z-aa", TAKEN, RESTORED)
    return database


def statuses(db: Database) -> dict[str, OutboxStatus]:
    return {entry.message_id: entry.status for entry in OutboxStore(db).recent(10)}


def test_a_database_that_was_not_restored_holds_nothing(database: Database) -> None:
    assert hold_of(database) is None
    with pytest.raises(Conflict, match="is not held"):
        release(database, "ann", RELEASED, drop_messages=False)


def test_messages_of_the_backup_are_held_and_new_ones_are_sent(restored: Database) -> None:
    hold = hold_of(restored)
    assert hold is not None
    assert (hold.snapshot, hold.taken_at, hold.messages, hold.rollouts) == ("20260101T000000Z-aa", TAKEN, 2, 0)
    with restored.transaction() as session:
        enqueue(session, "test", "slack", "new", {}, RESTORED, lane="group")
    assert [entry.message_id for entry in OutboxStore(restored).claim("host/2", RESTORED, 30.0, 10)] == ["new"]
    assert statuses(restored) == {
        "sent": OutboxStatus.SENT,
        "claimed": OutboxStatus.HELD,
        "queued": OutboxStatus.HELD,
        "new": OutboxStatus.QUEUED,
    }


def test_leases_are_free_and_epochs_and_generations_are_above_those_of_the_lost_database(restored: Database) -> None:
    with restored.reading() as session:
        assert session.exec(select(LeaseRow.epoch)).all() == [1 + RAISED_BY]
    lease = LeaseStore(restored).acquire("rollouts", "host/2", 30.0)
    assert lease is not None and lease.epoch == 2 + RAISED_BY
    assignment = AssignmentStore(restored).get("chat")
    assert assignment is not None and assignment.generation == 1 + RAISED_BY


def test_a_held_message_that_a_newer_one_of_its_lane_has_overtaken_is_dropped(restored: Database) -> None:
    with restored.transaction() as session:
        enqueue(session, "test", "slack", "new", {}, RESTORED, lane="group")
        enqueue(session, "test", "slack", "other", {}, RESTORED, lane="another group")
    assert release(restored, "ann", RELEASED, drop_messages=False).dropped == 2
    found = statuses(restored)
    assert (found["claimed"], found["queued"], found["new"]) == (
        OutboxStatus.DEAD,
        OutboxStatus.DEAD,
        OutboxStatus.QUEUED,
    )


@pytest.mark.parametrize("drop", [False, True])
def test_a_release_queues_or_drops_the_messages_once(restored: Database, drop: bool) -> None:
    assert release(restored, "ann", RELEASED, drop_messages=drop).messages == 2
    assert hold_of(restored) is None
    expected = OutboxStatus.DEAD if drop else OutboxStatus.QUEUED
    assert statuses(restored) == {"sent": OutboxStatus.SENT, "claimed": expected, "queued": expected}
    claimed = OutboxStore(restored).claim("host/2", RELEASED, 30.0, 10)
    assert [entry.message_id for entry in claimed] == ([] if drop else ["claimed"])
    assert [(act.actor, act.action) for act in AuditStore(restored).recent(10)] == [
        ("ann", "database.release"),
        ("backup", "database.restore"),
    ]
    with pytest.raises(Conflict, match="released already"):
        release(restored, "ann", RELEASED, drop_messages=drop)
