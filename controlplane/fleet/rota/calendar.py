"""A rota's calendar: its events in a span of time, and the people whom they name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from alerts.duty import Roster, Shift
from controlplane.errors import ControlPlaneError

MAX_BYTES = 1 << 20
"""Size of a calendar. Chosen: a rota of ten years has 200 KB."""
BEHIND_S, AHEAD_S = 2 * 86_400.0, 35 * 86_400.0
"""The span that is read: two days before now, for the ends of alerts, and five weeks after it."""
TIMEOUT_S = 20.0
"""Seconds until the child process is killed. Chosen: its CPU time is limited to a quarter of it."""
_MODULE = "controlplane.fleet.rota.expansion"
_MAILTO = re.compile(r"mailto:", re.IGNORECASE)

_TOO_LONG = "its events take too long to count; shorten its recurrences"
"""Said for both limits, because it depends on the machine's load which of them a calendar meets first."""


class CalendarError(ControlPlaneError):
    """A calendar that cannot be used. The message says why, and goes on after the calendar's name."""


class Occurrence(NamedTuple):
    """One event, or one occurrence of an event that recurs. Times are unix seconds."""

    starts_at: float
    ends_at: float
    summary: str
    attendees: tuple[str, ...]


@dataclass(frozen=True)
class Names:
    """The names by which calendars call people."""

    by_name: Mapping[str, str]
    """Person by each of its names, in lower case."""
    by_email: Mapping[str, str]
    """Person by its e-mail address, in lower case."""

    def of(self, event: Occurrence) -> tuple[str, ...]:
        """Return the people whom an event names in its summary, or else those whom it invites.

        A name counts where it stands as a whole word, so that `ann` and `On call - Ann Smith (primary)` both name Ann.
        A longer name is looked for first, and what it covers is no other name.
        """
        text, found = event.summary.lower(), set()
        known = {**self.by_name, **self.by_email}
        for name in sorted(known, key=len, reverse=True):
            pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
            if re.search(pattern, text):
                found.add(known[name])
                text = re.sub(pattern, "\n", text)
        invited = (self.by_email.get(_MAILTO.sub("", one).strip().lower()) for one in event.attendees)
        return tuple(sorted(found or set(filter(None, invited))))


class Reading(NamedTuple):
    """Content of a calendar."""

    roster: Roster
    unknown: tuple[Occurrence, ...]
    """Events that name nobody."""


def read_calendar(text: str, zone: str, names: Names, now: float) -> Reading:
    """Return the shifts of a calendar around unix second `now`. Blocking: another process reads it.

    Raises CalendarError for a calendar that is too large, too complicated, or none.
    """
    start, end = now - BEHIND_S, now + AHEAD_S
    found = events_of(text, zone, start, end)
    named = [(one, names.of(one)) for one in found]
    shifts = tuple(Shift(one.starts_at, one.ends_at, people) for one, people in named if people)
    return Reading(Roster(shifts, end), tuple(one for one, people in named if not people))


def events_of(text: str, zone: str, start: float, end: float) -> list[Occurrence]:
    """Return the events that overlap a span of unix seconds. Blocking. Raises CalendarError."""
    if len(text.encode()) > MAX_BYTES:
        raise CalendarError(f"it is larger than {MAX_BYTES >> 20} MiB")
    request = json.dumps({"text": text, "zone": zone, "start": start, "end": end})
    command = [sys.executable, "-m", _MODULE]
    try:
        child = subprocess.run(command, input=request.encode(), capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise CalendarError(_TOO_LONG) from None
    except OSError as error:
        raise CalendarError(f"no process can be started to read it: {error.strerror}") from None
    if child.returncode < 0:
        raise CalendarError(_TOO_LONG)
    if child.returncode:
        raise CalendarError("it cannot be read")
    answer = json.loads(child.stdout)
    if "refused" in answer:
        raise CalendarError(answer["refused"])
    return [_occurrence(one) for one in answer["events"]]


def _occurrence(event: Mapping[str, object]) -> Occurrence:
    start, end, summary, attendees = (event[field] for field in ("start", "end", "summary", "attendees"))
    assert isinstance(start, float) and isinstance(end, float) and isinstance(attendees, list)
    return Occurrence(start, end, str(summary), tuple(map(str, attendees)))


def names_of(people: Iterable[tuple[str, str, Sequence[str]]]) -> Names:
    """Return the names of people, each given by name, e-mail address or "", and other names in calendars."""
    by_name: dict[str, str] = {}
    by_email: dict[str, str] = {}
    for name, email, others in people:
        by_name |= {one.lower(): name for one in (name, *others)}
        by_email |= {email.lower(): name} if email else {}
    return Names(by_name, by_email)
