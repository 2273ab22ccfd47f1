"""Calendars as programs export them: the shifts that they mean, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from controlplane.fleet.rota.calendar import CalendarError, Names, names_of, read_calendar

NOW = datetime(2026, 10, 20, tzinfo=UTC).timestamp()
BERLIN = ZoneInfo("Europe/Berlin")
PEOPLE = names_of([("ann", "ann@example.org", ["Ann Smith"]), ("bo", "bo@example.org", []), ("ann-lee", "", [])])


def event(*lines: str, uid: str = "1", summary: str = "ann") -> str:
    body = "\r\n".join([f"UID:{uid}", "DTSTAMP:20260101T000000Z", f"SUMMARY:{summary}", *lines])
    return f"BEGIN:VEVENT\r\n{body}\r\nEND:VEVENT"


def shifts(*events: str, zone: str = "Europe/Berlin", names: Names = PEOPLE) -> list[tuple[str, str, str]]:
    """Return (begin, end, people) of each shift, in Berlin's time."""
    text = "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:test", *events, "END:VCALENDAR", ""])
    found = read_calendar(text, zone, names, NOW).roster.shifts
    return [(_told(one.starts_at), _told(one.ends_at), " ".join(one.people)) for one in found]


def _told(at: float) -> str:
    return f"{datetime.fromtimestamp(at, BERLIN):%m-%d %H:%M}"


def test_a_weekly_shift_keeps_its_hour_when_summer_time_ends() -> None:
    """On 25 October 2026 the clocks in Berlin go back: that week has an hour more."""
    weekly = event(
        "DTSTART;TZID=Europe/Berlin:20261012T090000",
        "DTEND;TZID=Europe/Berlin:20261019T090000",
        "RRULE:FREQ=WEEKLY;UNTIL=20261102T090000Z",
    )
    assert shifts(weekly) == [
        ("10-12 09:00", "10-19 09:00", "ann"),
        ("10-19 09:00", "10-26 09:00", "ann"),
        ("10-26 09:00", "11-02 09:00", "ann"),
        ("11-02 09:00", "11-09 09:00", "ann"),
    ]


def test_exceptions_additions_and_moved_occurrences() -> None:
    daily = event(
        "DTSTART;TZID=Europe/Berlin:20261020T090000",
        "DTEND;TZID=Europe/Berlin:20261020T170000",
        "RRULE:FREQ=DAILY;COUNT=4",
        "EXDATE;TZID=Europe/Berlin:20261021T090000",
        "RDATE;TZID=Europe/Berlin:20261030T090000",
    )
    moved = event(
        "RECURRENCE-ID;TZID=Europe/Berlin:20261022T090000",
        "DTSTART;TZID=Europe/Berlin:20261022T120000",
        "DTEND;TZID=Europe/Berlin:20261022T130000",
        summary="bo",
    )
    assert shifts(daily, moved) == [
        ("10-20 09:00", "10-20 17:00", "ann"),
        ("10-22 12:00", "10-22 13:00", "bo"),
        ("10-23 09:00", "10-23 17:00", "ann"),
        ("10-30 09:00", "10-30 17:00", "ann"),
    ]


def test_whole_days_and_times_without_a_zone_are_in_the_zone_of_the_rota() -> None:
    day = event("DTSTART;VALUE=DATE:20261021", "DTEND;VALUE=DATE:20261023")
    floating = event("DTSTART:20261024T080000", "DTEND:20261024T120000", uid="2", summary="bo")
    assert shifts(day, floating) == [("10-21 00:00", "10-23 00:00", "ann"), ("10-24 08:00", "10-24 12:00", "bo")]
    assert shifts(day, floating, zone="UTC")[0] == ("10-21 02:00", "10-23 02:00", "ann")


def test_a_zone_that_the_calendar_defines_itself() -> None:
    zone = (
        "BEGIN:VTIMEZONE\r\nTZID:Here\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0500\r\n"
        "TZOFFSETTO:+0500\r\nTZNAME:X\r\nEND:STANDARD\r\nEND:VTIMEZONE"
    )
    own = event("DTSTART;TZID=Here:20261021T120000", "DTEND;TZID=Here:20261021T130000")
    assert shifts(zone, own) == [("10-21 09:00", "10-21 10:00", "ann")]


@pytest.mark.parametrize(
    ("summary", "lines", "people"),
    [
        ("On Call - Ann Smith - Primary", [], "ann"),  # PagerDuty
        ("ann, bo", [], "ann bo"),  # Grafana OnCall
        ("[L1] BO", [], "bo"),
        ("ann@example.org", [], "ann"),  # Opsgenie
        ("ann-lee", [], "ann-lee"),
        ("Annual review", ["ATTENDEE:mailto:bo@example.org"], "bo"),
        ("Primary", ["ATTENDEE;PARTSTAT=DECLINED:mailto:ann@example.org", "ATTENDEE:MAILTO:Bo@example.org"], "bo"),
        ("ann", ["ATTENDEE:mailto:bo@example.org"], "ann"),
    ],
)
def test_whom_an_event_names(summary: str, lines: list[str], people: str) -> None:
    one = event("DTSTART:20261021T120000Z", "DTEND:20261021T130000Z", *lines, summary=summary.replace(",", "\\,"))
    assert [found for *_, found in shifts(one)] == [people]


def test_an_event_that_names_nobody_is_no_shift_and_is_told_and_a_cancelled_one_is_not() -> None:
    unknown = event("DTSTART:20261021T120000Z", "DTEND:20261021T130000Z", summary="Zoe")
    cancelled = event("DTSTART:20261022T120000Z", "DTEND:20261022T130000Z", "STATUS:CANCELLED", uid="2")
    text = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{unknown}\r\n{cancelled}\r\nEND:VCALENDAR\r\n"
    found = read_calendar(text, "UTC", PEOPLE, NOW)
    assert found.roster.shifts == ()
    assert [one.summary for one in found.unknown] == ["Zoe"]
    assert found.roster.known_until == NOW + timedelta(days=35).total_seconds()


ONE = ("DTSTART:20261021T120000Z", "DTEND:20261021T130000Z")


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([event(*ONE, "RRULE:FREQ=SECONDLY")], "recurs every second or minute; no shift is that short"),
        (
            [event("DTSTART:00010101T000000", "DURATION:PT1M", "RRULE:FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=31")],
            "take too long",
        ),
        ([event(*ONE, uid=str(number)) for number in range(5001)], "it has more than 5000 events"),
        (
            [event(*ONE, "RRULE:FREQ=HOURLY", uid=str(number)) for number in range(9)],
            "it has more than 5000 events in 37 days",
        ),
        (
            [event(*ONE, "RRULE:FREQ=HOURLY", *(f"ATTENDEE:mailto:{'a' * 400}{number}@x" for number in range(100)))],
            "its events have more than 10 MB of summaries and attendees",
        ),
        (
            [event(*ONE, "RRULE:FREQ=HOURLY", *["ATTENDEE:a"] * 1000)],
            "its events have more than 10 MB of summaries and attendees",
        ),
        ([event("DTSTART:garbage", "DTEND:20261021T130000Z")], "its events cannot be read"),
        (["X" * (1 << 20)], "it is larger than 1 MiB"),
    ],
)
def test_what_is_refused(events: list[str], reason: str) -> None:
    with pytest.raises(CalendarError, match=reason):
        shifts(*events)


@pytest.mark.parametrize("text", ["BEGIN:VCALENDAR\r\n" * 3000, "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VEVENT\r\n"])
def test_a_calendar_that_is_cut_says_so(text: str) -> None:
    with pytest.raises(CalendarError, match="it is cut: it has no END:VCALENDAR"):
        read_calendar(text, "UTC", PEOPLE, NOW)


@pytest.mark.parametrize("text", ["", "<html>sign in</html>"])
def test_what_is_no_calendar(text: str) -> None:
    with pytest.raises(CalendarError, match="it is no calendar"):
        read_calendar(text, "UTC", PEOPLE, NOW)
