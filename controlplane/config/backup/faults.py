"""Faults of the section `backup` beside the rest of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controlplane.config.backup.checklists import unknown_backups
from controlplane.config.backup.drills import drills_in_the_fleet
from controlplane.config.backup.section import BackupSection
from controlplane.config.checking import Fault
from controlplane.config.models import ModelSection
from controlplane.config.rollout.section import Gates


def backup_faults(section: BackupSection | None, shared: Gates, models: Sequence[ModelSection]) -> Iterator[Fault]:
    """Yield a fault for each item of a checklist without its job, and for drills that would touch a model's servers.

    `shared` are the gates of all models.
    """
    yield from unknown_backups(section, shared, models)
    yield from drills_in_the_fleet(section, models)
