"""Items of checklists that want a backup: each names a job of the section `backup`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controlplane.config.backup.section import BackupSection
from controlplane.config.checking import Fault, Loc
from controlplane.config.models import ModelSection
from controlplane.config.rollout.section import Gates
from controlplane.config.wording import not_one_of


def unknown_backups(section: BackupSection | None, shared: Gates, models: Sequence[ModelSection]) -> Iterator[Fault]:
    """Yield a fault for each item whose backup is no job of the section. `shared` are the gates of all models."""
    jobs = [job.name for job in section.jobs if job.reads("name")] if section is not None else []
    found: list[tuple[Loc, Gates | None]] = [(("rollouts",), shared)]
    found += [(("models", at, "rollout"), model.rollout) for at, model in enumerate(models) if model.reads("rollout")]
    for loc, gates in found:
        for number, item in enumerate(gates.checklist if gates is not None and gates.reads("checklist") else ()):
            if item.reads("backup") and item.backup is not None and item.backup not in jobs:
                place = (*loc, "checklist", number, "backup")
                yield Fault(place, not_one_of(item.backup, "backup.jobs", jobs))
