"""The snapshots of the backup repository as people see them, and the models that no backup job names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from controlplane.backup.jobs.listing import Listing
from controlplane.config.backup.section import BackupJobSection
from controlplane.config.model import Fleet
from controlplane.config.models import ModelSection
from controlplane.fleet.view import View, instant, rfc3339


class SnapshotView(View):
    """The head of one snapshot."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    subject: str
    """Name of the model, or `control-plane`."""
    version: str
    """Empty: it names none."""
    stored_at: str
    """Time by the repository's clock."""
    files: int
    bytes: int
    new_bytes: int
    """Bytes that it added to the repository."""
    host: str
    """Machine that made it."""
    by: str
    source: str
    tags: Mapping[str, str]


class SnapshotList(View):
    """The repository's snapshots as they were read last, and when that was."""

    items: tuple[SnapshotView, ...] = ()
    """The newest ones, the newest first."""
    more: bool = False
    """Whether the repository has more."""
    read_at: str | None = None
    """When they were read; null: not yet."""
    reading_since: str | None = None
    """When the reading that runs now began; null: none runs."""
    fault: str | None = None
    """Why the last reading failed; `items` are then those of `read_at`."""
    failed_at: str | None = None
    notes: tuple[str, ...] = ()
    """Snapshots that cannot be read, and machines whose clock differs."""


def snapshot_list(listing: Listing | None) -> SnapshotList:
    """Return a listing as people see it. A row that is no snapshot's head becomes a note."""
    if listing is None:
        return SnapshotList()
    found, notes = [], list(listing.notes)
    for row in listing.snapshots:
        try:
            found.append(SnapshotView.model_validate(row))
        except ValidationError:
            notes.append(f"left out: the head of snapshot {str(row.get('id', ''))[:60]!r} has another form")
    return SnapshotList(
        items=tuple(found),
        more=listing.more,
        read_at=rfc3339(listing.read_at),
        reading_since=rfc3339(listing.reading_since),
        fault=listing.fault or None,
        failed_at=instant(listing.tried_at) if listing.fault and listing.tried_at is not None else None,
        notes=tuple(notes),
    )


def unnamed_models(fleet: Fleet) -> Iterator[str]:
    """Yield the models that no backup job names.

    A job names a model by its own name, by its subject, by a folder that holds the model's local Triton repository or
    its `files:`, or lies in one of them, and where the checklist of the model's rollouts wants a backup by the job. It
    names it, too, by a bucket that may be the model's repository: the prefix or a part of it ends with the model's
    name, or, without parts, nothing says that a Triton model is in a folder of a machine.
    """
    jobs = () if fleet.backup is None else fleet.backup.jobs
    for model in fleet.models:
        own = fleet.rollouts if model.rollout is None else model.rollout
        wanted = {item.backup for item in (*fleet.rollouts.checklist, *own.checklist)}
        if not any(_names(job, model) or job.name in wanted for job in jobs if not job.control_plane):
            yield model.name


def _names(job: BackupJobSection, model: ModelSection) -> bool:
    if model.name in (job.name, job.about):
        return True
    places = list(_places(model))
    if isinstance(job.folder, str):
        ends = {part.strip("/").rpartition("/")[2] for part in job.parts or (job.folder,)}
        served = {model.name, *(model.served_model(version) for version in model.versions)}
        return bool(ends & served) or (model.traffic.driver == "triton" and not job.parts and not places)
    return job.folder is not None and any(_holds(job, job.folder, place) for place in places)


def _places(model: ModelSection) -> Iterator[Path]:
    """Yield the folders of the model in local Triton repositories, and the places of its versions' files."""
    for version in model.versions:
        yield from model.file_places(version)
    for _, backend in model.backends():
        if backend.repository is not None:
            yield from (Path(backend.repository) / model.served_model(version) for version in model.versions)


def _holds(job: BackupJobSection, folder: Path, place: Path) -> bool:
    """Return whether a job's folder holds a model's folder, or a part of it."""
    if not place.is_relative_to(folder):
        return folder.is_relative_to(place)
    return not job.parts or any(place.is_relative_to(folder / part) for part in job.parts)
