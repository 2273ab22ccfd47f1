"""The dashboard of the backups that the control plane makes, by its own metrics. All replicas expose equal values."""

from __future__ import annotations

from typing import Any

from dashboards.board import FLEET, Section, dashboard, values_of
from dashboards.panels import GREEN, RED, YELLOW, Bars, Limit, Lines, Number, Query, Rows
from dashboards.settings import Settings

_SELECT = f'backup=~"$backup", {FLEET}'
_LEGEND = "{{backup}}"


def _max(metric: str) -> str:
    return f"max by (backup) (controlplane_backup_{metric}{{{_SELECT}}})"


_SINCE = f"({_max('last_success_timestamp_seconds')} or {_max('waiting_since_timestamp_seconds')})"
"""End of the newest good run; of a job without one: when it was first seen."""
_SNAPSHOTS = f'max by (backup) (controlplane_backup_bytes{{{_SELECT}, backup!~"verify|drill-.+"}})'
"""Bytes of the last snapshots. Verifications and drills make none: theirs are what they read."""
_AGE = f"time() - {_SINCE}"
_SHARE = f"({_AGE}) / {_max('max_age_seconds')}"
"""Age of the newest good run as a share of the greatest that the job allows."""


def backups(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-backups",
        title="Backups",
        description="Jobs of `backup:` in fleet.yaml: their age, their last run, and what they add to the repository.",
        variables={"backup": values_of("controlplane_backup_running", "backup")},
        sections=[_now(), _runs(settings)],
        page="/backups",
    )


def _now() -> Section:
    return "Now", [*_numbers(), *_jobs()]


def _numbers() -> list[Number]:
    return [
        Number(
            title="Jobs too old",
            description="Jobs without a good run for longer than their max_age. BackupTooOld fires for each.",
            queries=[Query(f"count({_SHARE} > 1) or vector(0)")],
            unit="none",
            limits=[Limit(1)],
        ),
        Number(
            title="Jobs failed",
            description="Jobs whose last run failed. BackupFailed fires for each. An interrupted run is no failure.",
            queries=[Query(f"count({_max('failed')} > 0) or vector(0)")],
            unit="none",
            limits=[Limit(1)],
        ),
        Number(
            title="Runs now",
            description="Jobs with a run under way. Jobs of one repository run one after another, so this is 0 or 1.",
            queries=[Query(f"sum({_max('running')}) or vector(0)")],
            unit="none",
        ),
        Number(
            title="Nearest to too old",
            description="Age of the newest good run of the job that is nearest to its max_age, as a share of it.",
            queries=[Query(f"max({_SHARE})")],
            unit="percentunit",
            minimum=0,
            limits=[Limit(0.8, YELLOW), Limit(1)],
            width=6,
            height=5,
        ),
        Number(
            title="Last snapshots",
            description="Bytes of the last snapshots of all jobs, as files. The repository stores shared chunks once.",
            queries=[Query(f"sum({_SNAPSHOTS})")],
            unit="bytes",
            width=6,
            height=5,
        ),
    ]


def _jobs() -> list[Bars | Rows]:
    return [
        Bars(
            title="Age of the newest good run",
            description="As a share of the job's max_age: at 100 % the job is too old.",
            queries=[Query(_SHARE, _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=[Limit(0.8, YELLOW), Limit(1)],
            width=12,
        ),
        Rows(
            title="Alerts",
            description="Alerts of the pack builtin:backups that are pending or firing.",
            queries=[Query(f'ALERTS{{alertname=~"Backup.+", alertstate=~"pending|firing", {_SELECT}}}', instant=True)],
            unit="none",
            columns=["alertname", "alertstate", "severity", "backup"],
            width=12,
        ),
    ]


def _runs(settings: Settings) -> Section:
    return "Runs", [
        Lines(
            title="Age of the newest good run",
            description="It falls with each good run. A job that never succeeded counts from when it was first seen.",
            queries=[Query(_AGE, _LEGEND)],
            unit="s",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Duration of the last run",
            description="A duration that grows while the bytes do not shows a slow disk or repository.",
            queries=[Query(_max("duration_seconds"), _LEGEND)],
            unit="s",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Bytes of the last snapshot",
            description="Bytes of the files. For the verification: the bytes that it read.",
            queries=[Query(_max("bytes"), _LEGEND)],
            unit="bytes",
            minimum=0,
            width=6,
        ),
        Lines(
            title="New bytes of the last snapshot",
            description="Bytes that it added to the repository, after shared chunks were left out.",
            queries=[Query(_max("new_bytes"), _LEGEND)],
            unit="bytes",
            minimum=0,
            width=6,
        ),
        Lines(
            title="Room in the repository",
            description="Free share of the file system of the repository. The line is the limit of "
            "BackupRepositoryNearlyFull. Object stores have none.",
            queries=[Query(f"{_max('repository_free_bytes')} / ({_max('repository_size_bytes')} > 0)", _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
            lowest=RED,
            limits=[Limit(settings.limit("backup_room"), GREEN)],
            width=6,
        ),
        Lines(
            title="Running",
            description="1 while a run of the job is under way.",
            queries=[Query(_max("running"), _LEGEND)],
            unit="none",
            minimum=0,
            maximum=1,
            width=6,
        ),
    ]
