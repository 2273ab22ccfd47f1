"""Freeze windows on the calendar: when they hold, when they end, and nights in which clocks are set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from controlplane.clock.calendar import Calendar
from controlplane.config.rollout.freeze import FreezeSection
from controlplane.rollout.planning.freeze import MAX_JOINED, Freeze, Freezes, FreezeWindow, windows

BERLIN = "Europe/Berlin"


def window(name: str = "w", timezone: str = BERLIN, **fields: Any) -> FreezeWindow:
    data = {"name": name, "timezone": timezone, **{key.rstrip("_"): value for key, value in fields.items()}}
    return windows([FreezeSection.model_validate(data)])[0]


WEEKEND = window("weekend", cron="0 18 * * fri", for_="62h")
NIGHT = window("night", cron="0 22 * * *", for_="8h")
FEAST = window("feast", from_="2026-12-24", to="2026-12-26", models=["chat"])


def frozen(given: Sequence[FreezeWindow], model: str, when: float) -> Freeze | None:
    return Freezes(given).frozen(model, when)


def at(text: str, *, second: bool = False) -> float:
    """Return the instant of a time in Berlin; `second`: of two equal times the later one."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN), fold=int(second)).timestamp()


@pytest.mark.parametrize(
    ("given", "time", "until"),
    [
        (WEEKEND, "2026-11-27 17:59:59", None),
        (WEEKEND, "2026-11-27 18:00", "2026-11-30 08:00"),
        (WEEKEND, "2026-11-29 12:00", "2026-11-30 08:00"),
        (WEEKEND, "2026-11-30 07:59:59", "2026-11-30 08:00"),
        (WEEKEND, "2026-11-30 08:00", None),
        # The weekends in which clocks are set: the window ends on Monday at 8 all the same.
        (WEEKEND, "2026-03-30 07:59:59", "2026-03-30 08:00"),
        (WEEKEND, "2026-03-30 08:00", None),
        (WEEKEND, "2026-10-26 07:59:59", "2026-10-26 08:00"),
        (WEEKEND, "2026-10-26 08:00", None),
        (NIGHT, "2026-03-29 05:59:59", "2026-03-29 06:00"),
        (NIGHT, "2026-03-29 06:00", None),
        (NIGHT, "2026-10-25 05:59:59", "2026-10-25 06:00"),
        (NIGHT, "2026-10-25 06:00", None),
        # Whole days: the last one belongs to the window.
        (FEAST, "2026-12-23 23:59:59", None),
        (FEAST, "2026-12-24 00:00", "2026-12-27 00:00"),
        (FEAST, "2026-12-26 23:59:59", "2026-12-27 00:00"),
        (FEAST, "2026-12-27 00:00", None),
    ],
)
def test_a_window_holds_by_the_clock_on_the_wall(given: FreezeWindow, time: str, until: str | None) -> None:
    freeze = frozen([given], "chat", at(time))
    assert (freeze.until if freeze else None) == (at(until) if until else None)


def test_a_window_that_ends_in_the_hour_that_comes_twice_lasts_to_the_second_one() -> None:
    late = window(cron="30 22 * * *", for_="4h")
    for time in (at("2026-10-25 02:29"), at("2026-10-25 02:29", second=True)):
        freeze = frozen([late], "chat", time)
        assert freeze is not None and freeze.until == at("2026-10-25 02:30", second=True)
    assert frozen([late], "chat", at("2026-10-25 02:30", second=True)) is None


def test_a_window_that_ends_at_a_time_that_clocks_skip_does_not_end_before_it() -> None:
    late = window(cron="30 22 * * *", for_="4h")
    freeze = frozen([late], "chat", at("2026-03-29 01:59"))
    assert freeze is not None and freeze.until == at("2026-03-29 03:30")


def test_a_window_of_some_models_leaves_the_others_free() -> None:
    time = at("2026-12-25 12:00")
    assert frozen([FEAST], "chat", time) is not None
    assert frozen([FEAST], "ranker", time) is None
    assert frozen([], "chat", time) is None


def test_windows_without_a_break_between_them_are_one_freeze() -> None:
    early = window("early", from_="2026-11-27 12:00", to="2026-11-27 18:00")
    freeze = frozen([WEEKEND, early], "chat", at("2026-11-27 13:00"))
    assert str(freeze) == "freeze window early holds until 2026-11-30 08:00 Europe/Berlin"
    inner = window("inner", from_="2026-11-28", to="2026-11-28")
    freeze = frozen([inner, WEEKEND], "chat", at("2026-11-28 12:00"))
    assert str(freeze) == "freeze window weekend holds until 2026-11-30 08:00 Europe/Berlin"


def test_the_end_is_searched_for_a_bounded_time() -> None:
    half = [window(f"w{hour % 2}", "UTC", cron=f"0 {hour % 2}-23/2 * * *", for_="1h") for hour in (0, 1)]
    start = at("2026-11-27 13:00")
    freeze = frozen(half, "chat", start)
    assert freeze is not None and freeze.until - start == MAX_JOINED * 3600


def test_the_zone_of_the_window_counts_and_not_that_of_the_machine() -> None:
    tokyo = window("tokyo", "Asia/Tokyo", from_="2026-12-24", to="2026-12-24")
    assert frozen([tokyo], "chat", at("2026-12-23 15:59:59")) is None
    assert str(frozen([tokyo], "chat", at("2026-12-23 16:00"))) == (
        "freeze window tokyo holds until 2026-12-25 00:00 Asia/Tokyo"
    )


def test_one_value_answers_for_all_models_and_times() -> None:
    freezes = Freezes([NIGHT, FEAST])
    for _ in range(2):
        for model, time, name in (
            ("chat", "2026-12-25 12:00", "feast"),
            ("ranker", "2026-12-25 12:00", None),
            ("ranker", "2026-12-25 23:00", "night"),
            ("chat", "2026-12-28 12:00", None),
        ):
            freeze = freezes.frozen(model, at(time))
            assert (freeze.name if freeze else None) == name
    assert (freezes.of("ranker"), freezes.of("chat")) == ((NIGHT,), (NIGHT, FEAST))


def test_a_window_is_looked_up_once_for_any_number_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    times = Calendar.times

    def counted(calendar: Calendar, after: float) -> Iterator[float]:
        asked.append(after)
        return times(calendar, after)

    monkeypatch.setattr(Calendar, "times", counted)
    freezes, noon = Freezes([NIGHT, WEEKEND]), at("2026-12-23 12:00")
    assert [freezes.frozen(f"m{number}", noon) for number in range(200)] == [None] * 200
    assert len(asked) == 2
