"""Freeze windows: times in which no promotion starts or gets more traffic. Rollbacks are never frozen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from controlplane.clock.calendar import LONGEST_GAP_S, Calendar
from controlplane.config.rollout.freeze import FreezeSection

MAX_JOINED = 50
"""Number of windows, one after another, that are joined to one freeze. Chosen: it bounds the search for an end."""


@dataclass(frozen=True)
class FreezeWindow:
    """One freeze window of fleet.yaml. Either `calendar` and `for_s` are set, or `start` and `end`."""

    name: str
    timezone: str
    models: tuple[str, ...] = ()
    """Empty: it holds for every model."""
    calendar: Calendar | None = None
    for_s: float = 0.0
    """Seconds by the clock on the wall."""
    start: float = 0.0
    """Unix seconds."""
    end: float = 0.0
    """Unix seconds; the window is over then."""


@dataclass(frozen=True)
class Freeze:
    """A freeze that holds now."""

    name: str
    until: float
    """Unix seconds at which promotions are possible again."""
    timezone: str

    def __str__(self) -> str:
        """Return the freeze in words: `freeze window weekend holds until 2026-11-30 08:00 Europe/Berlin`."""
        return f"freeze window {self.name} holds until {self.end}"

    @property
    def end(self) -> str:
        """The end by the clock on the wall: `2026-11-30 08:00 Europe/Berlin`."""
        shown = datetime.fromtimestamp(self.until, ZoneInfo(self.timezone)).strftime("%Y-%m-%d %H:%M")
        return f"{shown} {self.timezone}"


def windows(sections: Sequence[FreezeSection]) -> tuple[FreezeWindow, ...]:
    """Return the windows of fleet.yaml."""
    return tuple(_window(section) for section in sections)


class Freezes:
    """The freeze windows of fleet.yaml. The state of a window at one instant is found once, for any number of models.

    A tick asks for each running rollout, and the calendar takes half a millisecond.
    """

    def __init__(self, given: Sequence[FreezeWindow] = ()) -> None:
        self.windows = tuple(given)
        self._at = 0.0
        self._ends: dict[tuple[int, float], float | None] = {}

    def of(self, model: str) -> tuple[FreezeWindow, ...]:
        """Return the windows that hold for a model."""
        return tuple(window for window in self.windows if not window.models or model in window.models)

    def frozen(self, model: str, at: float) -> Freeze | None:
        """Return the freeze of a model's promotions at unix second `at`, or None.

        Windows that follow each other without a break are one freeze, so `until` is a time at which none holds.
        """
        if at != self._at:
            self._at, self._ends = at, {}
        mine = [number for number, window in enumerate(self.windows) if not window.models or model in window.models]
        first: FreezeWindow | None = None
        until = at
        for _ in range(MAX_JOINED):
            ends = [(end, number) for number in mine if (end := self._end(number, until)) is not None]
            if not ends:
                break
            until, last = max(ends)
            first = first or self.windows[last]
        return None if first is None else Freeze(first.name, until, first.timezone)

    def _end(self, number: int, at: float) -> float | None:
        key = (number, at)
        if key not in self._ends:
            self._ends[key] = _end(self.windows[number], at)
        return self._ends[key]


def _window(section: FreezeSection) -> FreezeWindow:
    common = (section.name, section.timezone, section.models)
    if section.cron is not None:
        assert section.for_ is not None  # the section is checked
        return FreezeWindow(*common, Calendar(section.cron, section.timezone), section.for_)
    assert section.from_ is not None and section.to is not None
    start, end = (_instants(shown, section.zone) for shown in (section.from_, section.to))
    return FreezeWindow(*common, start=min(start), end=max(end))


def _end(window: FreezeWindow, at: float) -> float | None:
    """Return the end of the window at unix second `at`. None: it does not hold then."""
    if window.calendar is None:
        return window.end if window.start <= at < window.end else None
    return max((end for end in _ends(window, window.calendar, at) if end > at), default=None)


def _ends(window: FreezeWindow, calendar: Calendar, at: float) -> Iterator[float]:
    """Yield the ends of the windows that began up to `at` and may still hold."""
    zone = ZoneInfo(window.timezone)
    # Where clocks are set back, a window lasts longer than its duration on the wall.
    for start in takewhile(lambda start: start <= at, calendar.times(at - window.for_s - LONGEST_GAP_S)):
        shown = datetime.fromtimestamp(start, zone).replace(tzinfo=None, fold=0)
        yield max(_instants(shown + timedelta(seconds=window.for_s), zone), default=start)


def _instants(shown: datetime, zone: ZoneInfo) -> tuple[float, float]:
    """Return the two instants of a time that clocks show: they differ where it comes twice, or is skipped."""
    first, second = (shown.replace(tzinfo=zone, fold=fold).astimezone(UTC).timestamp() for fold in (0, 1))
    return first, second
