"""The places of the fleet's versions in the folder, or below the prefix of a bucket, of a backup job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from controlplane.config.backup.section import BackupJobSection
from controlplane.config.models import ModelSection
from controlplane.config.traffic.base import triton_folder


def version_paths(job: BackupJobSection, models: Sequence[ModelSection]) -> tuple[str, ...]:
    """Return the paths below the job's folder or prefix that may hold versions of Triton models, sorted.

    A rollout can serve, and go back to, each version that fleet.yaml declares. Where a model repository is not known to
    be on this machine, the job's folder is taken for one. So is a prefix of a bucket, and each of the job's parts.
    """
    found: set[str] = set()
    for model in models:
        if model.traffic.driver != "triton":
            continue
        name = model.traffic.model or model.name
        folders = [backend.repository for backend in model.traffic.backends if backend.repository is not None]
        for version in filter(None, map(triton_folder, model.versions)):
            if isinstance(job.folder, str):
                found.update((folder / version).as_posix() for folder in bucket_folders(job, job.folder, name))
                continue
            if job.folder is None:
                continue
            for repository in folders or [job.folder]:
                place = repository / name / version
                if place != job.folder and place.is_relative_to(job.folder):
                    found.add(place.relative_to(job.folder).as_posix())
    return tuple(sorted(found))


def bucket_folders(job: BackupJobSection, address: str, name: str) -> Iterator[PurePosixPath]:
    """Yield the folders below the prefix of a bucket that may be those of the Triton model `name`.

    A prefix, or a part of it, is taken for a model repository. One that ends with the model's name may be its folder.
    """
    for part in job.parts or ("",):
        base = PurePosixPath(part.strip("/"))
        yield base / name
        if (base.name or address.rstrip("/").rpartition("/")[2]) == name:
            yield base
