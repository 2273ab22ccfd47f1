"""Sections of the jobs that run by the calendar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from controlplane.clock.calendar import Calendar, shift_of
from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import Duration, Model, Text

Jitter = Annotated[Duration, Field(le=86400)]
"""Maximum delay of a run, in seconds."""


def _timezone(value: str) -> str:
    Calendar("@daily", value)
    return value


Timezone = Annotated[Text, AfterValidator(_timezone)]
"""A name of the time zone database, such as `Europe/Berlin`."""


class ScheduleSection(Model):
    """Times at which a job runs."""

    cron: Text
    timezone: Timezone = "UTC"
    jitter: Jitter = 0.0
    """Maximum delay of the runs. All runs have the same delay, derived from the fleet's name."""
    catch_up: Annotated[Duration, Field(ge=60, le=7 * 86400)] = 86400.0
    """Seconds after its time in which a missed run is made up. A run is missed when no process runs at its time."""

    @check
    def _cron_is_an_expression(self) -> Iterator[Fault]:
        try:
            Calendar(self.cron)
        except ValueError as error:
            yield Fault(("cron",), str(error))

    def calendar(self, seed: str) -> Calendar:
        """Return the calendar of the runs. `seed` determines the delay within the jitter."""
        return Calendar(self.cron, self.timezone, shift_s=shift_of(seed, self.jitter))


def _from_text(value: Any) -> Any:
    return {"cron": value} if isinstance(value, str) else value


Schedule = Annotated[ScheduleSection, BeforeValidator(_from_text)]
"""A schedule: the section, or its cron expression alone."""


class HousekeepingSchedule(ScheduleSection):
    """When housekeeping runs. A field that is left out keeps its own default."""

    cron: Text = "30 3 * * *"
    jitter: Jitter = 3600.0


NIGHTLY = HousekeepingSchedule.model_construct()
"""Default schedule, made without validation: a check loads APScheduler, which most verbs do not need."""


class HousekeepingSection(Model):
    """Deletion of old rows from the database."""

    schedule: Annotated[HousekeepingSchedule, BeforeValidator(_from_text)] = NIGHTLY


class UsageReportSection(Model):
    """A report of requests, GPU hours and costs of each model."""

    schedule: Schedule
    receiver: Text | None = None
    """Default: the receiver of `route`."""
