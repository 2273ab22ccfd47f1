"""A child process that reads one calendar and writes its events in a span of time.

    python -m controlplane.fleet.rota.expansion < request > answer

A calendar comes from outside, and a short one may have more events than there is time to count. So this process limits
its own CPU time and memory, and the one that started it loses nothing when it is killed. Both request and answer are
JSON; `calendar.py` has the other end.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import recurring_ical_events
from icalendar import Calendar, Component, Event

CPU_S, MEMORY_BYTES = 5, 1 << 30
"""Limits of this process. Chosen: a calendar of 1 MiB with ten years of shifts needs less than a second and 100 MB."""
MAX_EVENTS, MAX_OCCURRENCES = 5_000, 5_000
"""Events in a calendar, and their occurrences in the span. Chosen: shifts of four hours for two years are 4,400."""
MAX_TEXT, ONE_TEXT = 10_000_000, 50
"""Characters of the summaries and attendees of all occurrences, and those that each of them counts beside its own.
Chosen: 5,000 shifts with twenty attendees have 8 million. Who reads the answer has no limit of its memory."""
_TOO_FREQUENT = ("SECONDLY", "MINUTELY")


class RefusedError(Exception):
    """The calendar is not used. The message says why."""


def occurrences(text: str, zone: ZoneInfo, start: float, end: float) -> list[dict[str, Any]]:
    """Return the events of a calendar that overlap a span of unix seconds, in the order of their begin.

    Each has `start`, `end` (unix seconds), `summary` and `attendees` (addresses). Cancelled events are left out, and
    people who declined. Raises RefusedError.
    """
    try:
        calendars = Calendar.from_ical(text, multiple=True)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise RefusedError(f"it is no calendar: {str(error)[:200]}") from None
    if not calendars and "BEGIN:VCALENDAR" in text:
        raise RefusedError("it is cut: it has no END:VCALENDAR")
    if not calendars or any(calendar.name != "VCALENDAR" for calendar in calendars):
        raise RefusedError("it is no calendar: it has no BEGIN:VCALENDAR")
    if sum(len(calendar.walk("VEVENT")) for calendar in calendars) > MAX_EVENTS:
        raise RefusedError(f"it has more than {MAX_EVENTS} events")
    found: list[dict[str, Any]] = []
    characters = 0
    for calendar in calendars:
        for event in calendar.walk("VEVENT"):
            _check_frequency(event)
        for event in _between(calendar, datetime.fromtimestamp(start, zone), datetime.fromtimestamp(end, zone)):
            if len(found) == MAX_OCCURRENCES:
                raise RefusedError(f"it has more than {MAX_OCCURRENCES} events in {(end - start) / 86_400:.0f} days")
            found.append(_occurrence(event, zone))
            characters += sum(len(one) + ONE_TEXT for one in (found[-1]["summary"], *found[-1]["attendees"]))
            if characters > MAX_TEXT:
                raise RefusedError(f"its events have more than {MAX_TEXT // 1_000_000} MB of summaries and attendees")
    shown = [one for one in found if one["end"] > start and one["start"] < end and one["end"] > one["start"]]
    return sorted(shown, key=lambda one: (one["start"], one["end"], one["summary"]))


def _check_frequency(event: Component) -> None:
    rules = event.get("RRULE", [])
    for rule in rules if isinstance(rules, list) else [rules]:
        if any(str(freq).upper() in _TOO_FREQUENT for freq in rule.get("FREQ", [])):
            raise RefusedError(f"the event {_summary(event)!r} recurs every second or minute; no shift is that short")


def _between(calendar: Calendar, start: datetime, end: datetime) -> Iterator[Event]:
    try:
        for event in recurring_ical_events.of(calendar).between(start, end):
            if str(event.get("STATUS", "")).upper() != "CANCELLED":
                yield event
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, ArithmeticError) as error:
        raise RefusedError(f"its events cannot be read: {str(error)[:200]}") from None


def _occurrence(event: Event, zone: ZoneInfo) -> dict[str, Any]:
    start, end = event.start, event.end
    return {
        "start": _unix(start, zone),
        "end": _unix(end, zone),
        "summary": _summary(event),
        "attendees": list(_attendees(event)),
    }


def _unix(moment: date | datetime, zone: ZoneInfo) -> float:
    """Return unix seconds. A day begins at midnight of the rota's time zone, in which times without a zone are too."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()


def _summary(event: Component) -> str:
    return str(event.get("SUMMARY", ""))[:500]


def _attendees(event: Event) -> Iterator[str]:
    value = event.get("ATTENDEE", [])
    for one in value if isinstance(value, list) else [value]:
        if str(getattr(one, "params", {}).get("PARTSTAT", "")).upper() != "DECLINED":
            yield str(one)[:500]


def main() -> None:
    """Answer the request on standard input."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    request = json.load(sys.stdin)
    try:
        found = occurrences(request["text"], ZoneInfo(request["zone"]), request["start"], request["end"])
        json.dump({"events": found}, sys.stdout)
    except RefusedError as refused:
        json.dump({"refused": str(refused)}, sys.stdout)
    except (MemoryError, RecursionError):
        json.dump({"refused": "it needs too much memory"}, sys.stdout)


if __name__ == "__main__":
    main()
