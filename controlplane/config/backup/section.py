"""The section `backup`: the repository, the jobs that fill it, and the times at which it is verified and drilled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from controlplane.config.backup.buckets import CLOUDS, FolderOrBucket, bucket, folder_of, lower_scheme, overlapping
from controlplane.config.checking import Fault, check
from controlplane.config.schedules import Schedule
from controlplane.config.vocabulary import FilePath, HttpUrl, Interval, Model, Name, Text
from controlplane.config.wording import not_one_of

VERIFY: Final = "verify"
"""Name of the runs that verify the repository. No job may have it."""
DRILL: Final = "drill-"
"""Begins the names of the runs that try the newest snapshot of a job. No job may have such a name."""
LONGEST_DRILLED: Final = 63 - len(DRILL)
"""Characters of the name of a job with drills: the name of their runs is a name, too."""
DRILL_MAX_AGE_S: Final = 8 * 86400.0
"""Default of a drill's `max_age`. Chosen: a week, and a day for the drill itself."""
PLANE_SUBJECT: Final = "control-plane"
"""Subject of the snapshots of a control plane. The verb `backup control-plane` chooses it."""
METRICS_SUBJECT: Final = "control-plane-with-metrics"
"""Subject of those that hold the stored samples, too. One of their own: the numbers to keep hold for a subject, and an
hourly job without samples must not delete the daily snapshots with samples."""
MAX_AGE_S: Final = 26 * 3600.0
"""Default of `max_age`. Chosen: a day, and two hours for the run itself. No multiple of an interval can be the default,
because the times of a cron expression need not have one interval."""
SCHEMES: Final = ("file", *CLOUDS)

Count = Annotated[int, Field(ge=0, le=10_000, strict=True)]


def _repository(value: str) -> str:
    """Return the address, its scheme in lower case. Raises ValueError for credentials, and for what is no address."""
    parts = urlsplit(value)
    if value.startswith("/"):
        return value
    if parts.scheme not in SCHEMES:
        raise ValueError("expected file:///path, an absolute path, s3://bucket/prefix, gs://… or az://…")
    if parts.scheme != "file":
        return bucket(value)
    if parts.netloc not in ("", "localhost"):
        raise ValueError("names a host: write file:///path with three slashes")
    return lower_scheme(value)


class KeepSection(Model):
    """Numbers of snapshots to keep, as `backup prune` takes them. The newest of each version always stays."""

    last: Count = 0
    hourly: Count = 0
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0

    @check
    def _keeps_something(self) -> Iterator[Fault]:
        if not any((self.last, self.hourly, self.daily, self.weekly, self.monthly)):
            yield Fault((), "keeps nothing: set one of last:, hourly:, daily:, weekly:, monthly:")


class BackupJobSection(Model):
    """One backup that is made again and again."""

    name: Name
    folder: FolderOrBucket | None = None
    """Folder of this machine, or the address of a prefix of a bucket."""
    control_plane: bool = False
    """Whether the control plane itself is backed up: its database and configuration."""
    with_metrics: bool = False
    """Whether a backup of the control plane holds the stored samples too."""
    subject: Text | None = None
    """Subject of the snapshots. Default: the job's name."""
    version: Text | None = None
    parts: tuple[Text, ...] = ()
    include: tuple[Text, ...] = ()
    exclude: tuple[Text, ...] = ()
    schedule: Schedule
    keep: KeepSection | None = None
    """Snapshots of the subject that stay after a good run. Default: all of them."""
    max_age: Interval = MAX_AGE_S
    """Age of the newest good backup, in seconds, after which it is too old."""

    @property
    def about(self) -> str:
        """Subject of the job's snapshots."""
        if self.control_plane:
            return METRICS_SUBJECT if self.with_metrics else PLANE_SUBJECT
        return self.subject or self.name

    @check
    def _has_one_source(self) -> Iterator[Fault]:
        if (self.folder is not None) == self.control_plane:
            yield Fault((), "needs one of folder: PATH, control_plane: true")

    @check
    def _plane_has_no_choices(self) -> Iterator[Fault]:
        for field in ("subject", "version", "parts", "include", "exclude"):
            if self.control_plane and getattr(self, field):
                yield Fault((field,), "is for folder:; a backup of the control plane is always whole")

    @check
    def _metrics_are_the_planes(self) -> Iterator[Fault]:
        if self.with_metrics and not self.control_plane:
            yield Fault(("with_metrics",), "is for control_plane: true")

    @check
    def _name_is_free(self) -> Iterator[Fault]:
        if self.name == VERIFY:
            yield Fault(("name",), f"{VERIFY} names the runs of backup.verify; choose another name")
        if self.name.startswith(DRILL):
            yield Fault(("name",), f"names that begin with {DRILL} are those of drills; choose another name")

    @check
    def _subject_has_no_version(self) -> Iterator[Fault]:
        if self.subject is not None and (not self.subject or "@" in self.subject):
            yield Fault(("subject",), "is empty or holds @, which separates the version; set version: for it")

    @check
    def _subject_is_a_model(self) -> Iterator[Fault]:
        if not self.control_plane and self.about in (PLANE_SUBJECT, METRICS_SUBJECT):
            yield Fault(("subject",), f"{self.about} is a subject of control_plane: true; set another subject:")


class BackupVerifySection(Model):
    """When packs of the repository are read again and checked."""

    schedule: Schedule
    sample: float = Field(default=5.0, gt=0, le=100)
    """Percent of the packs of a run, those first that were not read for longest."""


class DrillEngineSection(Model):
    """The engine that loads what a drill has restored. It is the drills' own, and serves nobody."""

    triton: HttpUrl
    """Its repository of models is the scratch folder."""
    load_timeout: Annotated[Interval, Field(ge=1, le=3000)] = 600.0
    """Seconds that each model has to load. A run without progress is stopped after an hour."""


class BackupDrillSection(Model):
    """When the newest snapshots are restored into a scratch folder, tried and deleted again."""

    schedule: Schedule
    scratch: FilePath
    jobs: tuple[Name, ...] = ()
    """Jobs whose snapshots are tried. Default: all."""
    engine: DrillEngineSection | None = None
    max_age: Interval = DRILL_MAX_AGE_S
    """Age of a job's newest good drill, in seconds, after which a drill is overdue."""


class BackupSection(Model):
    """Backups that the control plane makes by the calendar."""

    repository: Annotated[Text, AfterValidator(_repository)]
    key_file: FilePath
    jobs: tuple[BackupJobSection, ...] = ()
    verify: BackupVerifySection | None = None
    drill: BackupDrillSection | None = None

    @property
    def drilled(self) -> tuple[BackupJobSection, ...]:
        """Jobs whose snapshots are tried by drills."""
        if self.drill is None:
            return ()
        return tuple(job for job in self.jobs if not self.drill.jobs or job.name in self.drill.jobs)

    @check
    def _drills_have_jobs(self) -> Iterator[Fault]:
        if self.drill is None:
            return
        names = [job.name for job in self.jobs if job.reads("name")]
        for number, name in enumerate(self.drill.jobs if self.drill.reads("jobs") else ()):
            if name not in names:
                yield Fault(("drill", "jobs", number), not_one_of(name, "backup.jobs", names))
        for number, job in enumerate(self.jobs):
            if job.reads("name") and len(job.name) > LONGEST_DRILLED and job in self.drilled:
                yield Fault(("jobs", number, "name"), f"has over {LONGEST_DRILLED} characters, too many for a drill")
        if not names:
            yield Fault(("drill",), "tries snapshots of jobs: add jobs:")

    @check
    def _drills_have_a_folder_of_their_own(self) -> Iterator[Fault]:
        if self.drill is None or not self.drill.reads("scratch"):
            return
        scratch = self.drill.scratch
        places: list[tuple[Path, str]] = [
            (job.folder, f"the folder of the job {job.name}")
            for job in self.jobs
            if job.reads("name", "folder") and isinstance(job.folder, Path)
        ]
        if (repository := folder_of(self.repository)) is not None:
            places.append((repository, "the repository"))
        for place, what in places:
            if place.is_relative_to(scratch) or scratch.is_relative_to(place):
                yield Fault(("drill", "scratch"), f"and {what} contain each other: a drill needs a folder of its own")

    @check
    def _jobs_differ(self) -> Iterator[Fault]:
        first: dict[str, int] = {}
        for number, job in enumerate(self.jobs):
            if job.reads("name") and first.setdefault(job.name, number) != number:
                yield Fault(("jobs", number, "name"), f"{job.name!r} is taken by jobs[{first[job.name]}]")

    @check
    def _repository_is_apart(self) -> Iterator[Fault]:
        for number, job in enumerate(self.jobs):
            if job.reads("folder") and isinstance(job.folder, str) and overlapping(job.folder, self.repository):
                yield Fault(("jobs", number, "folder"), "must not contain backup.repository, nor be inside it")

    @check
    def _does_something(self) -> Iterator[Fault]:
        if not self.jobs and self.verify is None:
            yield Fault((), "does nothing: add jobs: or verify:")
