"""Time intervals as timelines: which moments are inside."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from alerts.errors import RuleError
from alerts.routing.config import read_alertmanager
from alerts.routing.intervals import TimeInterval


def interval(fields: str) -> TimeInterval:
    listed = f"time_intervals: [{{name: n, time_intervals: [{{{fields}}}]}}]"
    text = f"route: {{receiver: r}}\nreceivers: [{{name: r}}]\n{listed}"
    routing = read_alertmanager(text, "am.yml")
    assert routing.intervals is not None
    (found,) = routing.intervals["n"]
    return found


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("fields", "inside", "outside"),
    [
        (
            "times: [{start_time: '09:00', end_time: '17:00'}]",
            ["2026-11-28T09:00:00", "2026-11-28T16:59:59"],
            ["2026-11-28T08:59:59", "2026-11-28T17:00:00"],
        ),
        ("times: [{start_time: '22:00', end_time: '24:00'}]", ["2026-11-28T23:59:59"], ["2026-11-29T00:00:00"]),
        (
            "weekdays: ['monday:friday']",
            ["2026-11-27T12:00:00", "2026-11-30T00:00:00"],
            ["2026-11-28T12:00:00", "2026-11-29T23:59:59"],
        ),
        ("weekdays: [sunday]", ["2026-11-29T12:00:00"], ["2026-11-30T12:00:00"]),
        ("days_of_month: ['-1']", ["2026-02-28T12:00:00", "2028-02-29T12:00:00"], ["2028-02-28T12:00:00"]),
        ("days_of_month: ['-3:-1']", ["2026-11-28T00:00:00"], ["2026-11-27T23:59:59", "2026-11-01T00:00:00"]),
        ("days_of_month: ['31']", ["2026-10-31T00:00:00"], ["2026-11-30T00:00:00"]),
        ("days_of_month: ['29:-1']", ["2026-11-29T00:00:00"], ["2026-02-28T00:00:00"]),
        ("months: ['november:december']", ["2026-11-01T00:00:00"], ["2026-10-31T23:59:59"]),
        ("years: ['2027']", ["2027-01-01T00:00:00"], ["2026-12-31T23:59:59"]),
        (
            "weekdays: [saturday], times: [{start_time: '00:00', end_time: '01:00'}], months: [november]",
            ["2026-11-28T00:30:00"],
            ["2026-11-28T01:00:00", "2026-11-27T00:30:00", "2026-12-05T00:30:00"],
        ),
    ],
)
def test_moments_inside_and_outside(fields: str, inside: list[str], outside: list[str]) -> None:
    found = interval(fields)
    assert [moment for moment in inside if not found.has(at(moment))] == []
    assert [moment for moment in outside if found.has(at(moment))] == []


def test_the_zone_decides_the_day_and_the_hour() -> None:
    shanghai = interval("times: [{start_time: '09:00', end_time: '18:00'}], location: Asia/Shanghai")
    assert shanghai.has(at("2026-11-28T09:00:00", "Asia/Shanghai"))
    assert not shanghai.has(at("2026-11-28T09:00:00", "Europe/Berlin") + 2 * 3600)
    berlin = interval("times: [{start_time: '02:00', end_time: '03:00'}], location: Europe/Berlin")
    # The clocks go back at 3:00: the hour from 2 to 3 comes twice, and in spring it does not come.
    assert [berlin.has(at("2026-10-25T00:30:00") + hour * 3600) for hour in range(3)] == [True, True, False]
    assert not any(berlin.has(at("2026-03-29T00:30:00") + hour * 3600) for hour in range(4))


@pytest.mark.parametrize("location", ["location: ''", "location: null", "location: Etc/UTC", ""])
def test_without_a_zone_it_is_utc(location: str) -> None:
    found = interval(f"times: [{{start_time: '09:00', end_time: '10:00'}}], {location}".rstrip(", "))
    assert found.has(at("2026-11-28T09:00:00")) and not found.has(at("2026-11-28T10:00:00"))


def test_the_zone_decides_the_month_and_its_last_day() -> None:
    auckland = interval("days_of_month: ['-1'], months: [february], years: ['2027'], location: Pacific/Auckland")
    inside = ("2027-02-27T11:00:00", "2027-02-28T10:59:59")  # 13 hours ahead
    assert [auckland.has(at(moment) + late) for moment in inside for late in (-1, 0, 1)] == [
        *(False, True, True),
        *(True, True, False),
    ]


def test_an_interval_without_fields_is_always() -> None:
    assert TimeInterval().has(0.0)


def test_a_month_that_does_not_exist_is_refused_though_alertmanager_takes_it() -> None:
    with pytest.raises(
        RuleError, match=r"am\.yml:3: time_intervals: n: months: '13' is no month"
    ):  # Alertmanager takes it
        interval("months: ['13']")
