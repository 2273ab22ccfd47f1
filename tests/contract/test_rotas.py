"""Stored calendars of rotas, on either database."""

from __future__ import annotations

from controlplane.store.alerting.rotas import RotaStore, StoredCalendar
from controlplane.store.database import Database


def test_a_calendar_from_its_first_fetch_to_its_end(database: Database) -> None:
    store = RotaStore(database)
    assert store.all() == {}
    first = StoredCalendar("a", "BEGIN:VCALENDAR", '"1"', 100.0)
    store.put("primary", first)
    store.put("other", first)
    assert store.confirm("primary", "a", '"1"', 400.0)
    assert not store.confirm("unknown", "a", '"1"', 500.0)
    assert not store.confirm("primary", "b", '"1"', 500.0), "the calendar of another address"
    assert not store.confirm("primary", "a", '"2"', 500.0), "another version"
    second = StoredCalendar("b", "X" * (1 << 20), "", 700.0)
    store.put("other", second)
    assert store.all() == {"primary": StoredCalendar("a", "BEGIN:VCALENDAR", '"1"', 400.0), "other": second}
    store.keep_only(["other"])
    assert store.all() == {"other": second}
    store.keep_only([])
    assert store.all() == {}
