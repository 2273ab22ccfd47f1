"""Counts of one log: its events, its lines, and the faults that keep it from being read now."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import Metric

from collectors.logs.masking import masked
from collectors.logs.patterns import LogCatalogue
from collectors.logs.settings import LogSettings
from collectors.logs.shipping.outlet import Outlet
from collectors.logs.sink import Fault
from collectors.samples import labels_of

MAX_SHOWN = 100
"""Lines that are kept to be shown, of all logs together."""
STALLED_S = 60.0
"""Seconds after the last turn of a reader from which its log counts as not read."""
QUIET_S = 600.0
"""Seconds without a line of an event after which the next one begins a new fault. Chosen: the window of the rules."""
FIRST_S = 3600.0
"""Seconds after the last line of an event for which the first one is shown. Chosen: alerts have long ended."""
FIRST_CHARS = 200
"""Most characters of a first line, which is a label's value."""
_SKIPPED = ("binary", "long")
_KINDS = ("ended", "internal", "no-file", "not-a-file", "too-many", "unreadable")
_log = logging.getLogger(__name__)


class Shown:
    """The last lines that told an event, masked, of all logs: time, log, log_engine, events, place, line."""

    def __init__(self, most: int = MAX_SHOWN) -> None:
        self._lock = threading.Lock()
        self._lines: deque[dict[str, Any]] = deque(maxlen=most)

    def add(self, line: dict[str, Any]) -> None:
        """Keep a line, in place of the oldest where there is no room."""
        with self._lock:
            self._lines.append(line)

    def newest_first(self) -> list[dict[str, Any]]:
        """Return the lines, the newest first."""
        with self._lock:
            return list(reversed(self._lines))


@dataclass
class _Counts:
    """Counts of one log. Only held under the lock."""

    events: dict[str, int]
    last: dict[str, float] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    """The first line of each event's last fault, masked."""
    lines: int = 0
    skipped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_SKIPPED, 0))
    errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))
    files: int = 0
    faults: tuple[Fault, ...] = ()
    turn_at: float = 0.0


class Tally:
    """Counts one log. The reader's thread calls it as a Sink; any thread may read it. No call waits for a disk."""

    def __init__(
        self,
        settings: LogSettings,
        catalogue: LogCatalogue,
        shown: Shown,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        outlet: Outlet | None = None,
    ) -> None:
        """Keep lines that tell an event in `shown`, which all logs share, and hand lines to `outlet`."""
        self.settings = settings
        self._catalogue, self._outlet = catalogue, outlet
        own = {"log": settings.name, "log_engine": settings.engine}
        self._told = labels_of({"node": socket.gethostname(), **dict(settings.labels), **own})
        self._patterns = catalogue.engines[settings.engine]
        self._shown = shown
        self._now, self._monotonic = now, monotonic
        self._lock = threading.Lock()
        # Every event begins at 0: without that, the first one would be no increase.
        self._counts = _Counts(events={event: 0 for event, _ in self._patterns.each}, turn_at=monotonic())

    def line(self, place: str, text: str, written_ns: int = 0) -> None:
        """Count a line and the events that it tells, and hand it on where it is wanted.

        Counts and what is shown go by the time of the reading: rules look at the last minutes.
        """
        events = self._patterns.events_in(text)
        now = self._now()
        if self._outlet and self._outlet.wants(events):
            self._outlet.take(now, text, place, tuple(events), self._worst(events), self._told, written_ns)
        first = masked(text, FIRST_CHARS) if events else ""
        with self._lock:
            self._counts.lines += 1
            if not events:
                return
            for event in events:
                self._counts.events[event] += 1
                if not 0 <= now - self._counts.last.get(event, float("-inf")) <= QUIET_S:
                    self._counts.first[event] = first
                self._counts.last[event] = now
        self._shown.add(
            {
                "time": now,
                "log": self.settings.name,
                "log_engine": self.settings.engine,
                "events": list(events),
                "place": place,
                "line": masked(text),
            }
        )

    def _worst(self, events: Sequence[str]) -> str:
        """Return the severity of the worst event, "" without one."""
        severities = {self._catalogue.events[event].severity for event in events}
        return next((one for one in ("critical", "warning") if one in severities), "")

    def skipped(self, reason: str, count: int = 1) -> None:
        """Count lines that were left out or cut."""
        with self._lock:
            self._counts.skipped[reason] = self._counts.skipped.get(reason, 0) + count

    def turned(self, files: int, faults: Sequence[Fault] = ()) -> None:
        """Note the end of a reader's turn: what it follows, and what it could not read. A new fault is logged once."""
        with self._lock:
            before = set(self._counts.faults)
            new = [fault for fault in faults if fault not in before]
            for fault in new:
                self._counts.errors[fault.kind] = self._counts.errors.get(fault.kind, 0) + 1
            self._counts.files, self._counts.faults = files, tuple(faults)
            self._counts.turn_at = self._monotonic()
        for fault in new:
            _log.warning("log %s: %s", self.settings.name, fault.sentence)

    def faults(self) -> tuple[Fault, ...]:
        """Return what keeps the log from being read now."""
        with self._lock:
            stalled_s = self._monotonic() - self._counts.turn_at
            found = self._counts.faults
        if stalled_s > STALLED_S:
            return (*found, Fault("stalled", f"the reader has waited for {stalled_s:.0f} s; look at the disk"))
        return found

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield name, labels and value of every sample of the log."""
        down = bool(self.faults())
        own = {"log": self.settings.name}
        told = {**own, "log_engine": self.settings.engine, **dict(self.settings.labels)}
        now = self._now()
        with self._lock:
            counts = self._counts
            yield "llm_log_up", told, 0.0 if down else 1.0
            yield "log_exporter_lines_total", own, counts.lines
            yield "log_exporter_files", own, counts.files
            yield from (
                ("log_exporter_lines_skipped_total", {**own, "reason": r}, n) for r, n in counts.skipped.items()
            )
            yield from (("log_exporter_errors_total", {**own, "kind": k}, n) for k, n in counts.errors.items())
            for event, number in counts.events.items():
                yield "llm_log_events_total", {**told, "event": event}, number
                if event in counts.last:
                    yield "llm_log_last_event_timestamp_seconds", {**told, "event": event}, counts.last[event]
                    if self.settings.evidence and now - counts.last[event] <= FIRST_S:
                        yield "llm_log_line_info", {**told, "event": event, "line": counts.first[event]}, 1.0


_FAMILIES = {
    "llm_log_events_total": ("counter", "Lines of an engine's log that tell an event."),
    "llm_log_last_event_timestamp_seconds": ("gauge", "Time at which the last line that tells the event was read."),
    "llm_log_line_info": ("gauge", "The first line of an event's last fault, masked, as label line."),
    "llm_log_up": ("gauge", "1 while the log can be read whole, 0 while something keeps it from being read."),
    "log_exporter_lines_total": ("counter", "Lines read."),
    "log_exporter_lines_skipped_total": ("counter", "Lines left out (binary) or cut (long)."),
    "log_exporter_files": ("gauge", "Files or commands that are followed."),
    "log_exporter_errors_total": ("counter", "Faults that kept a log, or a part of it, from being read, by kind."),
}


def families(tallies: Sequence[Tally]) -> Iterator[Metric]:
    """Yield the metrics of all logs."""
    made = {
        name: Metric(name.removesuffix("_total") if kind == "counter" else name, words, kind)
        for name, (kind, words) in _FAMILIES.items()
    }
    for tally in tallies:
        for name, labels, value in tally.samples():
            made[name].add_sample(name, labels, value)
    yield from made.values()
