"""Stored heartbeats and stuck messages, on either database."""

from __future__ import annotations

from alerts.sender import KIND
from controlplane.store.alerting.heartbeats import Heartbeat, HeartbeatStore
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStore, Stuck, enqueue


def test_a_heartbeat_from_its_declaration_to_its_end(database: Database) -> None:
    store = HeartbeatStore(database)
    store.expect(["b", "a"], 100.0)
    store.expect(["a", "b", "c"], 200.0)
    assert store.beat("a", "ann", 210.0) == Heartbeat("a", 210.0, "ann", 1)
    assert store.beat("a", "bob", 205.0) == Heartbeat("a", 210.0, "bob", 2)
    assert store.all() == [Heartbeat("a", 210.0, "bob", 2), Heartbeat("b", 100.0), Heartbeat("c", 200.0)]
    store.expect(["a"], 300.0)
    assert store.all() == [Heartbeat("a", 210.0, "bob", 2)]


def test_a_heartbeat_of_a_name_that_another_replica_declared_is_kept(database: Database) -> None:
    store = HeartbeatStore(database)
    assert store.beat("new", "ann\x00\x1b", 10.0).beats == 1
    store.expect(["new"], 20.0)
    assert [(one.name, one.at) for one in store.all()] == [("new", 10.0)]


def test_a_step_of_the_clock_makes_no_heartbeat_late(database: Database) -> None:
    store, steps = HeartbeatStore(database), ClockSteps(database)
    store.expect(["a"], 100.0)
    steps.move(3600.0)
    assert store.all() == [Heartbeat("a", 3700.0)]
    steps.settle(500.0)
    assert store.all() == [Heartbeat("a", 500.0)]


def test_messages_that_do_not_get_through_are_counted(database: Database) -> None:
    outbox = OutboxStore(database)
    with database.transaction() as session:
        for number, (lane, at) in enumerate([("a", 10.0), ("b", 20.0), ("b", 90.0), ("c", 95.0)]):
            enqueue(session, KIND, "ops", f"m{number}", {}, at, lane=lane)
        enqueue(session, "report", "ops", "other", {}, 1.0)
    assert outbox.stuck(KIND, 50.0) == Stuck(2, 0)
    first = {entry.message_id: entry for entry in outbox.claim("x", 100.0, 60, 10)}
    outbox.dead(first["m0"], "no such channel", 100.0)
    outbox.dead(first["m1"], "no such channel", 100.0)
    outbox.done(first["m3"], None, 100.0)
    assert outbox.stuck(KIND, 50.0) == Stuck(0, 1)
