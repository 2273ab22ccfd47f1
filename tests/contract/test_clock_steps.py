"""What alerting has stored follows a step of the clock, on either database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from alerts.interfaces import AlertInstance, AlertState
from alerts.wire import instance_to_json
from controlplane.errors import LeaseLost
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.outbox import OutboxStore, enqueue
from controlplane.store.tables.alerts import AlertGroupRow, AlertInstanceRow

TIMES = ("active_at", "fired_at", "keep_firing_since", "resolved_at", "unknown_since")
TOLD: dict[str, Any] = instance_to_json(
    AlertInstance("r", (("alertname", "b"),), (), AlertState.FIRING, 1.0, active_at=100.0, fired_at=110.0)
)


def fill(database: Database) -> None:
    rows: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("a", "pending", {"active_at": 100.0}),
        ("b", "firing", {"active_at": 100.0, "fired_at": 110.0, "keep_firing_since": 120.0, "unknown_since": 130.0}),
        ("c", "inactive", {"active_at": 100.0, "fired_at": 110.0, "resolved_at": 140.0}),
    )
    with database.transaction() as session:
        for name, state, times in rows:
            labels = {"alertname": name}
            row = AlertInstanceRow(
                rule="r", fingerprint=name, name=name, severity="", labels=labels, annotations={}, state=state, **times
            )
            row.changes = [50.0, 60.0] if name == "c" else None
            session.add(row)
        session.add(
            AlertGroupRow(
                key="g",
                receiver="x",
                labels={},
                generation=1,
                sequence=1,
                is_open=True,
                opened_at=100.0,
                notified_at=150.0,
                notified=[TOLD],
                flaps=[{"fingerprint": "b", "changes": 5, "told_at": 155.0}],
            )
        )
        enqueue(session, "alert", "x", "waits", {}, 160.0)
        enqueue(session, "alert", "x", "claimed", {}, 90.0)
    OutboxStore(database).claim("one", 95.0, 60.0, 1)


def stored(database: Database) -> tuple[list[list[float | None]], list[float | None], dict[str, Any], list[Any]]:
    with database.reading() as session:
        rows = session.exec(select(AlertInstanceRow).order_by(AlertInstanceRow.fingerprint)).all()
        instances = [[getattr(row, name) for name in TIMES] for row in rows]
        group = session.exec(select(AlertGroupRow)).one()
        times = [group.opened_at, group.notified_at]
        messages = [(m.message_id, m.next_attempt_at, m.claimed_until) for m in OutboxStore(database).recent(9)]
        return instances, times, group.notified[0], messages


@pytest.mark.parametrize("by", [-50.0, 50.0])
def test_everything_that_waits_is_moved(database: Database, by: float) -> None:
    fill(database)
    ClockSteps(database).move(by)
    instances, group, told, messages = stored(database)
    assert instances == [
        [100 + by, None, None, None, None],
        [100 + by, 110 + by, 120 + by, None, 130 + by],
        [100 + by, 110 + by, None, 140 + by, None],
    ]
    assert group == [100 + by, 150 + by]
    assert told == TOLD | {"active_at": 100 + by, "fired_at": 110 + by}
    with database.reading() as session:
        assert session.exec(select(AlertGroupRow.flaps)).one()[0]["told_at"] == 155 + by
        changes = session.exec(select(AlertInstanceRow.changes).order_by(AlertInstanceRow.fingerprint)).all()
    assert changes == [None, None, [50 + by, 60 + by]]
    back = min(by, 0.0)  # after a step forward a message is tried a little early
    assert messages == [("claimed", 90 + back, 155 + back), ("waits", 160 + back, None)]


@pytest.mark.parametrize("by", [-50.0, 50.0])
def test_the_wait_of_a_receiver_keeps_its_length(database: Database, by: float) -> None:
    outbox = OutboxStore(database)
    with database.transaction() as session:
        enqueue(session, "alert", "x", "waits", {}, 10.0)
    outbox.hold("x", 160.0)
    ClockSteps(database).move(by)
    assert outbox.claim("one", 159.0 + by, 60.0, 1) == []
    ClockSteps(database, claims_follow=False).move(by)  # the shared clock was not set
    assert [entry.message_id for entry in outbox.claim("one", 160.0 + by, 60.0, 1)] == ["waits"]


def test_nothing_is_left_in_the_future(database: Database) -> None:
    fill(database)
    ClockSteps(database).settle(105.0)
    instances, group, _, _ = stored(database)
    assert instances == [
        [100.0, None, None, None, None],
        [100.0, 105.0, 105.0, None, 105.0],
        [100.0, 105.0, None, 105.0, None],
    ]
    assert group == [100.0, 105.0]


def flapping(database: Database) -> tuple[list[Any], Sequence[Any]]:
    with database.reading() as session:
        changes = session.exec(select(AlertInstanceRow.changes).order_by(AlertInstanceRow.fingerprint)).all()
        return list(changes), session.exec(select(AlertGroupRow.flaps)).one()


def test_no_earlier_episode_is_left_in_the_future(database: Database) -> None:
    fill(database)
    ClockSteps(database).settle(55.0)
    assert flapping(database) == ([None, None, [50.0, 55.0]], [{"fingerprint": "b", "changes": 5, "told_at": 55.0}])


@pytest.mark.parametrize("flaps", [[{"fingerprint": "b"}], ["b"], [{"fingerprint": "b", "changes": 5, "told_at": "x"}]])
@pytest.mark.parametrize("changes", [[50.0, "x"], {"a": 1}, [[50.0], 60.0]])
def test_a_damaged_row_does_not_prevent_a_step_of_the_clock(database: Database, flaps: Any, changes: Any) -> None:
    fill(database)
    with database.transaction() as session:
        session.exec(update(AlertGroupRow).values(flaps=flaps))
        session.exec(update(AlertInstanceRow).where(col(AlertInstanceRow.fingerprint) == "c").values(changes=changes))
    ClockSteps(database).move(50.0)
    ClockSteps(database).settle(1000.0)
    instances, group, told, _ = stored(database)
    assert (instances[2][:2], group, told["fired_at"]) == ([150.0, 160.0], [150.0, 200.0], 160.0)
    assert flapping(database) == ([None, None, changes], flaps)


def test_who_lost_the_lease_moves_nothing(database: Database) -> None:
    fill(database)
    before = stored(database)
    steps = ClockSteps(database, lambda: Lease("alerting", "nobody", 7))
    for change in (steps.move, steps.settle):
        with pytest.raises(LeaseLost):
            change(50.0)
    assert stored(database) == before
