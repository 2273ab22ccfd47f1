"""The calendar's jobs as stored: the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from controlplane.errors import LeaseLost
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.schedules import AHEAD_S, ScheduleState, ScheduleStore

NOW = 1_000_000.0
FIRST = ScheduleState("report", "@daily UTC", NOW)


def test_a_job_is_opened_once_by_all_replicas(database: Database, replica: Database) -> None:
    assert ScheduleStore(database).all() == {}
    assert ScheduleStore(database).open("report", "@daily UTC", NOW) == FIRST
    assert ScheduleStore(replica).open("report", "@daily UTC", NOW + 60) == FIRST
    assert ScheduleStore(replica).all() == {"report": FIRST}


def test_a_new_calendar_and_a_time_far_ahead_begin_anew(database: Database) -> None:
    store = ScheduleStore(database)
    store.open("report", "@daily UTC", NOW)
    assert store.open("report", "@weekly UTC", NOW + 60) == replace(FIRST, calendar="@weekly UTC", done_to=NOW + 60)
    assert store.open("report", "@weekly UTC", NOW + 60 - AHEAD_S).done_to == NOW + 60
    assert store.open("report", "@weekly UTC", NOW + 59 - AHEAD_S).done_to == NOW + 59 - AHEAD_S


def test_a_run_is_recorded_whole(database: Database) -> None:
    store, lease = ScheduleStore(database), LeaseStore(database).acquire("report", "a", 30)
    assert lease
    store.open("report", "@daily UTC", NOW)
    ran = ScheduleState(
        "report", "@daily UTC", NOW + 1, NOW + 1, NOW + 2, NOW + 3, "failed", "no \0 room", 5, 2, 7, {"to": [1, "x"]}
    )
    store.save(ran, lease)
    assert store.all() == {"report": replace(ran, error="no \\x00 room")}
    store.save(replace(ran, outcome="done", error=None), lease)
    assert store.all() == {"report": replace(ran, outcome="done", error=None)}


def test_a_process_that_lost_its_lease_records_nothing(database: Database, run_out: Callable[[str], None]) -> None:
    store, lease = ScheduleStore(database), LeaseStore(database).acquire("report", "a", 30)
    assert lease
    store.open("report", "@daily UTC", NOW)
    run_out("report")
    assert LeaseStore(database).acquire("report", "b", 30)
    with pytest.raises(LeaseLost):
        store.save(replace(FIRST, runs=1), lease)
    assert store.all() == {"report": FIRST}


@pytest.mark.parametrize("damage", ["'not JSON'", "'[1]'", "'7'", "'null'"])
def test_damaged_notes_are_as_good_as_none(database: Database, damage: str) -> None:
    store = ScheduleStore(database)
    store.open("report", "@daily UTC", NOW)
    if not database.is_sqlite and damage == "'not JSON'":
        pytest.skip("PostgreSQL refuses what is no JSON")
    with database.transaction() as session:
        session.execute(text(f"UPDATE schedule SET notes = {damage}"))
    found: Any = store.all()["report"]
    assert found == FIRST
