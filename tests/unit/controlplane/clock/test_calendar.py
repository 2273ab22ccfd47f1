"""Calendar times of cron expressions in time zones with and without summer time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.clock.calendar import Calendar, Timetable, shift_of

BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"


def times(cron: str, zone: str, start: str, count: int) -> list[str]:
    """Return the next times as that zone's clocks show them, with the offset from UTC."""
    after = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)).timestamp()
    found = islice(Calendar(cron, zone).times(after), count)
    return [datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%d %H:%M%z") for at in found]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 8 * * 1", ["30 08:00+0000", "07 08:00+0000"]),
        ("0 8 * * mon", ["30 08:00+0000", "07 08:00+0000"]),
        ("0 8 * * 0", ["29 08:00+0000", "06 08:00+0000"]),
        ("0 8 * * 7", ["29 08:00+0000", "06 08:00+0000"]),
        ("0 8 * * 0-1", ["29 08:00+0000", "30 08:00+0000", "06 08:00+0000"]),
        ("0 8 * * fri-sun", ["27 08:00+0000", "28 08:00+0000", "29 08:00+0000", "04 08:00+0000"]),
        ("*/20 8 * * *", ["27 08:00+0000", "27 08:20+0000", "27 08:40+0000", "28 08:00+0000"]),
        ("15,45 8-9 * * *", ["27 08:15+0000", "27 08:45+0000", "27 09:15+0000", "27 09:45+0000", "28 08:15+0000"]),
        ("0 0 1 jan *", ["01 00:00+0000", "01 00:00+0000"]),
        ("@weekly", ["29 00:00+0000", "06 00:00+0000"]),
        ("@monthly", ["01 00:00+0000", "01 00:00+0000"]),
        ("0 0 29 2 *", ["29 00:00+0000"]),
    ],
)
def test_times_follow_as_crontab_reads_them(cron: str, expected: list[str]) -> None:
    # 27 November 2026 is a Friday.
    assert times(cron, "UTC", "2026-11-27T06:00", len(expected)) == expected


def test_a_daily_job_runs_once_on_the_day_that_skips_its_time() -> None:
    skipped = ["28 02:30+0100", "29 03:30+0200", "30 02:30+0200"]
    assert times("30 2 * * *", BERLIN, "2026-03-27T12:00", 3) == skipped
    assert times("30 2,3 * * *", BERLIN, "2026-03-28T12:00", 3) == ["29 03:30+0200", "30 02:30+0200", "30 03:30+0200"]


def test_every_skipped_time_is_moved_and_none_is_lost() -> None:
    moved = ["28 02:00+0100", "28 02:30+0100", "29 03:00+0200", "29 03:30+0200", "30 02:00+0200"]
    assert times("*/30 2 * * *", BERLIN, "2026-03-27T12:00", 5) == moved
    # On Lord Howe clocks skip from 02:00 to 02:30: 02:10 comes at 02:40, after 02:35.
    assert times("10,35 2 * * *", LORD_HOWE, "2026-10-03T12:00", 3) == [
        "04 02:35+1100",
        "04 02:40+1100",
        "05 02:10+1100",
    ]


def test_a_daily_job_runs_once_on_the_day_that_has_its_time_twice() -> None:
    assert times("30 2 * * *", BERLIN, "2026-10-24T12:00", 2) == ["25 02:30+0200", "26 02:30+0100"]
    # Asked in the second of the two hours: the first one was the time.
    at = datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo(BERLIN), fold=1).timestamp()
    found = Calendar("30 2 * * *", BERLIN).next_after(at)
    assert found == datetime(2026, 10, 26, 2, 30, tzinfo=ZoneInfo(BERLIN)).timestamp()


def test_an_hourly_job_runs_in_every_hour_that_clocks_show() -> None:
    assert times("30 * * * *", BERLIN, "2026-03-29T01:00", 2) == ["29 01:30+0100", "29 03:30+0200"]
    autumn = ["25 01:30+0200", "25 02:30+0200", "25 02:30+0100", "25 03:30+0100"]
    assert times("30 * * * *", BERLIN, "2026-10-25T01:00", 4) == autumn
    half_an_hour = ["05 01:30+1100", "05 01:45+1100", "05 01:30+1030", "05 01:45+1030", "05 02:00+1030"]
    assert times("*/15 * * * *", LORD_HOWE, "2026-04-05T01:20", 5) == half_an_hour


def test_the_time_asked_from_is_not_among_the_times() -> None:
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
    assert Calendar("0 12 * * *").next_after(noon) == noon + 86400
    assert Calendar("0 12 * * *").next_after(noon - 0.001) == noon
    assert Calendar("* * * * *").next_after(noon + 59.999) == noon + 60


def test_a_shift_moves_every_time() -> None:
    plain, shifted = Calendar("0 12 * * *", BERLIN), Calendar("0 12 * * *", BERLIN, shift_s=90)
    start = datetime(2026, 11, 27, tzinfo=UTC).timestamp()
    expected = [at + 90 for at in islice(plain.times(start), 3)]
    assert list(islice(shifted.times(start), 3)) == expected
    noon = expected[0] - 90
    assert shifted.next_after(noon + 30) == noon + 90


def test_a_shift_is_the_same_for_replicas_and_not_for_fleets() -> None:
    shifts = [shift_of(f"fleet-{number}/housekeeping", 3600) for number in range(50)]
    assert shifts == [shift_of(f"fleet-{number}/housekeeping", 3600) for number in range(50)]
    assert all(0 <= shift < 3600 and shift == int(shift) for shift in shifts)
    assert len(set(shifts)) > 40
    assert shift_of("any", 0) == 0


@given(
    minute=st.integers(0, 59),
    hour=st.sampled_from(["*", "*/6", "2", "3", "0,13", "1-4", "22-23"]),
    zone=st.sampled_from(["UTC", BERLIN, LORD_HOWE, "America/St_Johns", "Asia/Kolkata", "Africa/Casablanca"]),
    start=st.integers(1_767_225_600, 1_830_297_600),  # 2026 and 2027
)
def test_times_ascend_and_each_is_shown_by_a_clock(minute: int, hour: str, zone: str, start: int) -> None:
    """The oracle reads the clock of every minute; it knows nothing of cron but what a minute and an hour match."""
    hours = {
        "*": range(24),
        "*/6": range(0, 24, 6),
        "2": [2],
        "3": [3],
        "0,13": [0, 13],
        "1-4": range(1, 5),
        "22-23": [22, 23],
    }[hour]
    found = list(islice(Calendar(f"{minute} {hour} * * *", zone).times(start), 5))
    assert found == sorted(set(found))
    assert found[0] > start
    shown: set[datetime] = set()
    expected = []
    at = start - start % 60
    while at <= found[-1]:
        clock = datetime.fromtimestamp(at, ZoneInfo(zone))
        if clock.minute == minute and clock.hour in hours and at > start:
            # An expression with fixed hours takes the first of two equal times.
            if "*" in hour or not clock.fold:
                expected.append(float(at))
            shown.add(clock.replace(tzinfo=None))
        at += 60
    skipped = [at for at in found if _moved(at, zone, minute, hours)]
    assert [at for at in found if at not in skipped] == [at for at in expected if at <= found[-1]]
    assert "*" not in hour or not skipped


def _moved(at: float, zone: str, minute: int, hours: Sequence[int]) -> bool:
    """Tell whether a time is one that clocks skipped, moved behind the gap."""
    clock = datetime.fromtimestamp(at, ZoneInfo(zone))
    return not (clock.minute == minute and clock.hour in hours)


@pytest.mark.parametrize(
    ("cron", "sentence"),
    [
        ("61 * * * *", "minute: '61' is not a minute from 0 to 59"),
        ("* 24 * * *", "hour: '24' is not an hour from 0 to 23"),
        ("* * 0 * *", "day of the month: '0' is not a day from 1 to 31"),
        ("0 8 * 13 *", "month: '13' is not a month from 1 to 12"),
        ("0 8 * * 8", "weekday: '8' is not a name"),
        ("0 8 * * mun", "weekday: 'mun' is not a name"),
        ("0 8 * * sat-mon", "weekday: 'sat-mon' is not a name"),
        ("0 8 * * */2", "weekday: '*/2' has a step; list the days, such as mon,wed,fri"),
        ("0 8 1 * mon", "set the day of the month or the weekday, not both"),
        ("5-1 * * * *", "minute: '5-1' is not a minute"),
        ("*/0 * * * *", "minute: '*/0' is not a minute"),
        ("1,,2 * * * *", "minute: '1,,2' is not a minute"),
        ("0 0 L * *", "day of the month: 'L' is not a day"),
        ("0 0 last * *", "day of the month: 'last' is not a day"),
        ("0 0 ; * *", "day of the month: ';' is not a day"),
        ("0 0 30 2 *", "no day matches '0 0 30 2 *'"),
        ("0 8 * *", "expected 5 fields such as '30 3 * * *', or @daily; got 4"),
        ("", "expected 5 fields such as '30 3 * * *', or @daily; got 0"),
        ("@reboot", "expected 5 fields such as '30 3 * * *', or @daily; got 1"),
    ],
)
def test_a_bad_expression_is_refused_by_the_name_of_its_field(cron: str, sentence: str) -> None:
    with pytest.raises(ValueError) as raised:
        Calendar(cron)
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize("zone", ["Berlin", "Mars/Base", "Europe", "", "../../etc/passwd", "UTC\0"])
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"no time zone is called .*; write one such as Europe/Berlin"):
        Calendar("@daily", zone)


NOON = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
DAY = timedelta(days=1).total_seconds()


@pytest.mark.parametrize(
    ("done_to", "now", "due"),
    [
        (NOON, NOON + 60, (None, 0)),
        (NOON - DAY, NOON - 1, (None, 0)),
        (NOON - DAY, NOON, (NOON, 0)),
        (NOON - DAY, NOON + 3600, (NOON, 0)),
        # Two days without a process: the newest time is made up for.
        (NOON - 2 * DAY, NOON + 3600, (NOON, 1)),
        # Two days are the most: older times count as one.
        (NOON - 30 * DAY, NOON + 3600, (NOON, 2)),
        (NOON + DAY, NOON + 60, (None, 0)),
    ],
)
def test_what_is_due_after_an_outage(done_to: float, now: float, due: tuple[float | None, int]) -> None:
    assert Timetable(Calendar("0 12 * * *"), 2 * DAY).due(done_to, now) == due


def test_a_time_that_is_too_old_is_passed_over() -> None:
    assert Timetable(Calendar("0 12 * * *"), 3600).due(NOON - DAY, NOON + 3601) == (None, 1)
    assert Timetable(Calendar("0 12 * * *"), 3600).due(NOON - DAY, NOON + 3599) == (NOON, 0)


def test_a_timetable_as_text_tells_its_times() -> None:
    assert str(Timetable(Calendar("@daily"))) == "@daily UTC"
    assert str(Timetable(Calendar("0 8 * * mon", BERLIN, shift_s=61))) == "0 8 * * mon Europe/Berlin +61s"
