"""The places of the fleet's versions in the folder of a backup job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from controlplane.config.backup.section import BackupJobSection
from controlplane.config.models import ModelSection
from controlplane.config.traffic.base import triton_folder


def version_paths(job: BackupJobSection, models: Sequence[ModelSection]) -> tuple[str, ...]:
    """Return the paths below the job's folder that may hold versions of Triton models, sorted.

    A rollout can serve, and go back to, each version that fleet.yaml declares. Where a model repository is not known to
    be on this machine, the job's folder is taken for one.
    """
    if not isinstance(job.folder, Path):
        return ()
    found: set[str] = set()
    for model in models:
        if model.traffic.driver != "triton":
            continue
        name = model.traffic.model or model.name
        folders = [backend.repository for backend in model.traffic.backends if backend.repository is not None]
        for version in filter(None, map(triton_folder, model.versions)):
            for repository in folders or [job.folder]:
                place = repository / name / version
                if place != job.folder and place.is_relative_to(job.folder):
                    found.add(place.relative_to(job.folder).as_posix())
    return tuple(sorted(found))
