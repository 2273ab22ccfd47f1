"""Metrics of backups, `controlplane_backup_*`. Every replica exposes the same values, from the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from controlplane.api.services import Services
from controlplane.fleet.backups import BackupJobView
from controlplane.store.backups.runs import BackupOutcome

Read = Callable[[BackupJobView], float | None]


def _unix(at: str | None) -> float | None:
    return None if at is None else datetime.fromisoformat(at).timestamp()


GAUGES: Final[tuple[tuple[str, str, Read], ...]] = (
    ("last_success_timestamp_seconds", "End of a job's newest run that succeeded.", lambda view: _unix(view.good_at)),
    (
        "waiting_since_timestamp_seconds",
        "For a job without a good run: when it was first seen.",
        lambda view: _unix(view.waiting_since),
    ),
    ("max_age_seconds", "Age after which a job's newest good run is too old.", lambda view: view.max_age_seconds),
    (
        "failed",
        "1 while a job's last run failed. An interrupted run is made up for, and is no failure.",
        lambda view: None if view.last is None else float(view.last.outcome == BackupOutcome.FAILED),
    ),
    ("duration_seconds", "Duration of a job's last run.", lambda view: view.last.seconds if view.last else None),
    ("bytes", "Bytes of a job's last snapshot.", lambda view: view.last.bytes if view.last else None),
    (
        "new_bytes",
        "Bytes that a job's last snapshot added to the repository.",
        lambda view: view.last.new_bytes if view.last else None,
    ),
    (
        "running",
        "1 while a run of a job runs.",
        lambda view: float(view.open is not None and view.open.state == "running"),
    ),
)


def backup_metrics(services: Services) -> Iterator[Metric]:
    """Yield the metrics of all jobs. What is not known yet has no sample. Raises Unavailable."""
    desk = services.backups()
    views = desk.views() if desk is not None else ()
    for name, help_text, read in GAUGES:
        family = GaugeMetricFamily(f"controlplane_backup_{name}", help_text, labels=("backup",))
        for view in views:
            if (value := read(view)) is not None:
                family.add_metric((view.job,), value)
        yield family
    room = desk.room() if desk is not None else None
    for name, help_text, value in (
        ("free", "Bytes free on the repository's file system.", room.free if room else None),
        ("size", "Size of the repository's file system.", room.size if room else None),
    ):
        family = GaugeMetricFamily(f"controlplane_backup_repository_{name}_bytes", help_text)
        if value is not None:
            family.add_metric((), value)
        yield family
