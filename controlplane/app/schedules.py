"""The timetables of the scheduled jobs, from fleet.yaml."""

from __future__ import annotations

from controlplane.clock.calendar import Timetable
from controlplane.config.model import Fleet
from controlplane.config.schedules import ScheduleSection

HOUSEKEEPING = "housekeeping"
USAGE_REPORT = "usage-report"


def timetables(fleet: Fleet) -> dict[str, Timetable]:
    """Return the timetable of each configured job, by name."""
    found: dict[str, ScheduleSection] = {HOUSEKEEPING: fleet.housekeeping.schedule}
    if fleet.usage_report is not None:
        found[USAGE_REPORT] = fleet.usage_report.schedule
    seeds = {name: f"{fleet.fleet.name}/{name}" for name in found}
    return {name: Timetable(section.calendar(seeds[name]), section.catch_up) for name, section in found.items()}
