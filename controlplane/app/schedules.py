"""The timetables of the scheduled jobs, from fleet.yaml."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.clock.calendar import Timetable
from controlplane.config.backup.section import DRILL, VERIFY
from controlplane.config.model import Fleet
from controlplane.config.schedules import ScheduleSection

HOUSEKEEPING = "housekeeping"
USAGE_REPORT = "usage-report"
BACKUP = "backup-"
"""Begins the names under which the times of backup jobs are stored."""


def timetables(fleet: Fleet) -> dict[str, Timetable]:
    """Return the timetable of each configured job but backups, by name."""
    found: dict[str, ScheduleSection] = {HOUSEKEEPING: fleet.housekeeping.schedule}
    if fleet.usage_report is not None:
        found[USAGE_REPORT] = fleet.usage_report.schedule
    return _made(fleet, found, "")


def backup_timetables(fleet: Fleet) -> dict[str, Timetable]:
    """Return the timetable of each backup job, of the verification and of each drill, by the name of its runs."""
    if fleet.backup is None:
        return {}
    found: dict[str, ScheduleSection] = {job.name: job.schedule for job in fleet.backup.jobs}
    if fleet.backup.verify is not None:
        found[VERIFY] = fleet.backup.verify.schedule
    if fleet.backup.drill is not None:
        found.update({f"{DRILL}{job.name}": fleet.backup.drill.schedule for job in fleet.backup.drilled})
    return _made(fleet, found, BACKUP)


def _made(fleet: Fleet, found: Mapping[str, ScheduleSection], kind: str) -> dict[str, Timetable]:
    seeds = {name: f"{fleet.fleet.name}/{kind}{name}" for name in found}
    return {name: Timetable(section.calendar(seeds[name]), section.catch_up) for name, section in found.items()}
