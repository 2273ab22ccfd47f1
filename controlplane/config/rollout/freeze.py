"""Freeze windows in fleet.yaml: times in which no promotion starts or gets more traffic."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field

from controlplane.clock.calendar import Calendar
from controlplane.config.checking import Fault, check
from controlplane.config.schedules import Timezone
from controlplane.config.vocabulary import Interval, Model, Name, Text

STARTS = 60
"""Number of starts of a cron expression that are checked for overlaps. Chosen: two months of a daily window."""


def _moment(value: Any) -> datetime:
    """Return a day, or a time without an offset, as the time that clocks show."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value) if len(value) > len("2026-12-24") else date.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            raise ValueError("expected a time without an offset; timezone: names its zone")
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    raise ValueError("expected a day such as 2026-12-24, or a time such as 2026-12-24 12:00")


def _end(value: Any) -> datetime:
    # A day is meant whole: `to: 2027-01-06` ends when the 7th begins.
    found = _moment(value)
    whole_day = (isinstance(value, str) and len(value) <= len("2026-12-24")) or type(value) is date
    return found + timedelta(days=1) if whole_day else found


class FreezeSection(Model):
    """One freeze window: a cron expression and a duration, or two days."""

    name: Name
    cron: Text | None = None
    """Times at which the window begins."""
    for_: Annotated[Interval, Field(le=31 * 86400)] | None = Field(default=None, alias="for")
    """Duration by the clock on the wall: `22:00 for 8h` ends at 06:00 also where clocks are set in that night."""
    from_: Annotated[datetime, BeforeValidator(_moment)] | None = Field(default=None, alias="from")
    to: Annotated[datetime, BeforeValidator(_end)] | None = None
    """End of the window. A day belongs to the window."""
    timezone: Timezone = "UTC"
    models: tuple[Name, ...] = ()
    """Default: every model."""

    @check
    def _has_one_form(self) -> Iterator[Fault]:
        repeated, dated = {self.cron, self.for_} - {None}, {self.from_, self.to} - {None}
        if len(repeated) != 2 and not dated:
            yield Fault((), "needs cron: and for:, or from: and to:")
        elif repeated and dated:
            yield Fault((), "cron: and for: cannot be given together with from: and to:")
        elif dated and len(dated) != 2 and not (self.from_ and self.to):
            yield Fault((), "needs both from: and to:")

    @check
    def _cron_is_an_expression(self) -> Iterator[Fault]:
        if self.cron is None:
            return
        try:
            calendar = Calendar(self.cron)
        except ValueError as error:
            yield Fault(("cron",), str(error))
            return
        starts = islice(calendar.times(datetime(2024, 1, 1, tzinfo=UTC).timestamp()), STARTS)
        if self.for_ is not None and any(later - start < self.for_ for start, later in pairwise(starts)):
            yield Fault(("for",), f"lasts longer than until the next start of {self.cron!r}; nothing could be promoted")

    @check
    def _ends_after_its_start(self) -> Iterator[Fault]:
        if self.from_ is not None and self.to is not None and self.to <= self.from_:
            yield Fault(("to",), "must be later than from")

    @property
    def zone(self) -> ZoneInfo:
        """Time zone of the window."""
        return ZoneInfo(self.timezone)
