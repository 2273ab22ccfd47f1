"""Retention over months: exact sets of snapshots that stay, with their reasons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from controlplane.backup.format.snapshot import Snapshot
from controlplane.backup.pruning.retention import Keep, fates

NEW_YORK = ZoneInfo("America/New_York")


def at(text: str, subject: str = "chat", version: str = "") -> Snapshot:
    """Return a snapshot of a time in UTC, which is its id too."""
    made_at = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    return Snapshot(text, made_at, subject, "file:///models", (), "", version=version)


def daily(begin: str, days: int, hour: int = 3) -> list[Snapshot]:
    first = datetime.fromisoformat(begin)
    return [at((first + timedelta(days=day, hours=hour)).isoformat(" ", "hours")) for day in range(days)]


def kept(snapshots: list[Snapshot], keep: Keep, **options: object) -> list[str]:
    return [fate.snapshot.id for fate in fates(snapshots, keep, {}, **options) if fate.reasons]  # type: ignore[arg-type]


def test_four_months_of_nightly_backups() -> None:
    snapshots = daily("2026-01-01", 120)  # until 2026-04-30
    assert kept(snapshots, Keep(daily=3, weekly=3, monthly=4)) == [
        "2026-01-31 03",
        "2026-02-28 03",
        "2026-03-31 03",
        "2026-04-19 03",  # Sunday of week 16
        "2026-04-26 03",
        "2026-04-28 03",
        "2026-04-29 03",
        "2026-04-30 03",
    ]


def test_periods_without_a_snapshot_do_not_count() -> None:
    snapshots = [at("2025-03-01 10"), at("2025-03-01 12"), at("2025-08-01 01"), at("2026-01-07 01")]
    assert kept(snapshots, Keep(daily=3)) == ["2025-03-01 12", "2025-08-01 01", "2026-01-07 01"]
    assert kept(snapshots, Keep(hourly=99)) == [one.id for one in snapshots]


def test_the_week_of_the_new_year_is_one_week() -> None:
    snapshots = [
        at("2025-12-29 01"),
        at("2025-12-31 01"),
        at("2026-01-01 01"),
        at("2026-01-04 23"),
        at("2026-01-05 00"),
    ]
    assert kept(snapshots, Keep(weekly=2)) == ["2026-01-04 23", "2026-01-05 00"]


def test_a_day_is_a_day_of_the_time_zone() -> None:
    # 03:00 in UTC is the evening before in New York: both of the 8th are of two days there.
    snapshots = [at("2026-03-07 20"), at("2026-03-08 03"), at("2026-03-08 20")]
    assert kept(snapshots, Keep(daily=2)) == ["2026-03-07 20", "2026-03-08 20"]
    assert kept(snapshots, Keep(daily=2), zone=NEW_YORK) == ["2026-03-08 03", "2026-03-08 20"]


def test_the_hour_that_comes_twice_keeps_one_snapshot() -> None:
    # 2026-11-01 01:30 comes twice in New York.
    snapshots = [at("2026-11-01 05:30"), at("2026-11-01 06:30"), at("2026-11-01 07:30")]
    assert kept(snapshots, Keep(hourly=9), zone=NEW_YORK) == ["2026-11-01 06:30", "2026-11-01 07:30"]
    assert kept(snapshots, Keep(hourly=9)) == [one.id for one in snapshots]


def test_the_newest_of_each_version_stays_without_any_rule() -> None:
    snapshots = [at("2026-01-01", version="v1"), at("2026-01-02", version="v1"), at("2026-01-03", version="v2")]
    found = fates([*snapshots, at("2026-01-04", "rag")], Keep(), {})
    assert [fate.reasons for fate in found] == [
        (),
        ("the newest of chat v1",),
        ("the newest of chat v2",),
        ("the newest of rag",),
    ]


def test_numbers_hold_for_each_subject_and_reasons_add_up() -> None:
    snapshots = [at("2026-01-01"), at("2026-01-01 00", "rag"), at("2026-01-02")]
    found = fates(snapshots, Keep(last=1, daily=1), {"2026-01-01": "it serves"})
    assert [fate.reasons for fate in found] == [
        ("it serves",),
        ("the newest of rag", "last", "daily 2026-01-01"),
        ("the newest of chat", "last", "daily 2026-01-02"),
    ]


def test_more_to_keep_than_there_is_and_no_snapshots() -> None:
    snapshots = daily("2026-01-01", 3)
    assert kept(snapshots, Keep(last=99)) == [one.id for one in snapshots]
    assert fates([], Keep(last=1), {}) == ()
