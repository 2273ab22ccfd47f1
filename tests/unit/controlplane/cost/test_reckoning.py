"""The ledger's arithmetic, as timelines in November 2026 (30 days) at 2 dollars a GPU hour."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.cost import LedgerEntry, accrue, month_of, report

HOUR, DAY = 3600.0, 86400.0
PRICE = 2.0


def at(day: int, hour: int = 0, minute: int = 0, month: int = 11) -> float:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC).timestamp()


def started(moment: float) -> LedgerEntry:
    return LedgerEntry("chat", month_of(moment).name, since=moment, accounted_to=moment)


@pytest.mark.parametrize(
    ("moment", "name", "days"),
    [
        (at(1), "2026-11", 30),
        (at(30, 23, 59), "2026-11", 30),
        (at(1, month=12), "2026-12", 31),
        (datetime(2028, 2, 29, tzinfo=UTC).timestamp(), "2028-02", 29),
    ],
)
def test_months_are_utc_calendar_months(moment: float, name: str, days: int) -> None:
    month = month_of(moment)
    assert (month.name, (month.end - month.start) / DAY) == (name, days)
    assert month.start <= moment < month.end


def test_gpus_that_are_up_are_charged_by_the_second() -> None:
    (entry,) = accrue(started(at(1)), 4.0, at(1) + 90, PRICE)

    assert entry.gpu_seconds == 360.0
    assert entry.spent_usd == pytest.approx(0.2)
    assert (entry.accounted_to, entry.unobserved_seconds, entry.observed_seconds) == (at(1) + 90, 0.0, 90.0)


def test_a_clock_that_was_set_back_gives_no_hour_for_nothing() -> None:
    (entry,) = accrue(started(at(1)), 4.0, at(1) + 90, PRICE)
    assert accrue(entry, 4.0, at(1) + 60, PRICE) == []  # another replica's clock, half a minute behind
    (again,) = accrue(entry, 4.0, at(1) + 90 - HOUR, PRICE)
    assert (again.gpu_seconds, again.accounted_to) == (360.0, at(1) + 90 - HOUR)
    (later,) = accrue(again, 4.0, at(1) + 180 - HOUR, PRICE)
    assert later.gpu_seconds == 720.0


def test_none_up_costs_nothing_and_is_observed() -> None:
    (entry,) = accrue(started(at(1)), 0.0, at(1) + 90, PRICE)

    assert (entry.spent_usd, entry.observed_seconds, entry.unobserved_seconds) == (0.0, 90.0, 0.0)


def test_unknown_is_neither_free_nor_charged() -> None:
    (entry,) = accrue(started(at(1)), None, at(1) + 90, PRICE)

    assert (entry.spent_usd, entry.observed_seconds, entry.unobserved_seconds) == (0.0, 0.0, 90.0)


def test_a_gap_is_observed_up_to_five_minutes() -> None:
    (within,) = accrue(started(at(1)), 1.0, at(1) + 300, PRICE)
    (beyond,) = accrue(started(at(1)), 1.0, at(1) + 301, PRICE)

    assert (within.gpu_seconds, within.unobserved_seconds) == (300.0, 0.0)
    assert (beyond.gpu_seconds, beyond.unobserved_seconds) == (0.0, 301.0)


@pytest.mark.parametrize("passed", [0.0, -30.0])
def test_a_clock_that_stands_or_steps_back_changes_nothing(passed: float) -> None:
    assert accrue(started(at(1)), 1.0, at(1) + passed, PRICE) == []


def test_a_tick_across_midnight_of_the_first_is_split_between_the_months() -> None:
    old = started(at(30, 12))
    old = LedgerEntry("chat", "2026-11", since=old.since, accounted_to=at(30, 23, 59))

    november, december = accrue(old, 1.0, at(1, 0, 2, month=12), PRICE)

    assert (november.month, november.gpu_seconds, november.accounted_to) == ("2026-11", 60.0, at(1, month=12))
    assert (december.month, december.gpu_seconds, december.since) == ("2026-12", 120.0, at(1, month=12))


def test_months_that_nobody_watched_are_unobserved() -> None:
    old = started(at(30, 23))

    november, january = accrue(old, 8.0, datetime(2027, 1, 3, tzinfo=UTC).timestamp(), PRICE)

    assert (november.gpu_seconds, november.unobserved_seconds) == (0.0, HOUR)
    assert (january.month, january.gpu_seconds, january.unobserved_seconds) == ("2027-01", 0.0, 2 * DAY)


def watched(entry: LedgerEntry, hours: float, gpus: float | None) -> LedgerEntry:
    step = 60.0
    for _ in range(int(hours * 60)):
        (entry,) = accrue(entry, gpus, entry.accounted_to + step, PRICE)
    return entry


def test_half_a_month_at_the_budgets_rate_is_on_budget() -> None:
    entry = watched(started(at(1)), 15 * 24, gpus=1.0)
    r = report(entry, limit=30 * 24 * PRICE)

    assert r.spent == pytest.approx(15 * 24 * PRICE)
    assert r.prorated == pytest.approx(r.spent)
    assert r.forecast == pytest.approx(r.limit)


def test_a_ledger_that_starts_on_the_21st_is_held_to_what_it_has_seen() -> None:
    entry = watched(started(at(21)), 24, gpus=2.0)
    r = report(entry, limit=720.0)

    assert r.spent == pytest.approx(96.0)
    assert r.prorated == pytest.approx(24.0)
    assert r.forecast == pytest.approx(960.0)


def test_time_that_was_not_observed_earns_no_allowance_and_is_forecast_at_the_mean() -> None:
    entry = watched(started(at(1)), 24, gpus=1.0)
    (entry,) = accrue(entry, 1.0, at(11), PRICE)
    r = report(entry, limit=720.0)

    assert (r.observed_seconds, r.unobserved_seconds) == (DAY, 9 * DAY)
    assert r.spent == pytest.approx(48.0)
    assert r.prorated == pytest.approx(24.0)
    assert r.forecast == pytest.approx(48.0 * 30)


def test_without_a_budget_only_spending_is_known_and_without_observation_no_forecast() -> None:
    r = report(watched(started(at(1)), 1, gpus=1.0), limit=None)
    assert r.spent == pytest.approx(2.0)
    assert (r.limit, r.prorated, r.forecast) == (None, None, None)

    r = report(started(at(1)), limit=100.0)
    assert (r.spent, r.limit, r.prorated, r.forecast) == (0.0, 100.0, 0.0, None)


@given(steps=st.lists(st.tuples(st.floats(0.1, 5e6), st.one_of(st.none(), st.floats(0, 64))), min_size=1, max_size=30))
def test_time_is_conserved_and_money_follows_gpu_time(steps: list[tuple[float, float | None]]) -> None:
    entries = {"": started(at(1))}
    entry = entries.pop("")
    entries[entry.month] = entry
    for seconds, gpus in steps:
        for changed in accrue(entry, gpus, entry.accounted_to + seconds, PRICE):
            entries[changed.month] = entry = changed

    for e in entries.values():
        month = month_of(e.since)
        assert month.name == e.month
        assert month.start <= e.since <= e.accounted_to <= month.end
        assert e.observed_seconds >= -1e-3
        assert e.spent_usd == pytest.approx(e.gpu_seconds / 3600 * PRICE)
    total = sum(e.observed_seconds + e.unobserved_seconds for e in entries.values())
    covered = sum(e.accounted_to - e.since for e in entries.values())
    assert total == pytest.approx(covered)
