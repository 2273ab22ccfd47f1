"""The words and the environment of the verbs that carry out a job. Pure."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controlplane.config.backup.section import (
    DRILL,
    VERIFY,
    BackupDrillSection,
    BackupJobSection,
    BackupVerifySection,
    KeepSection,
)

PROGRAM: Final = (sys.executable, "-m", "controlplane")
WITHHELD: Final = ("CP_TOKEN", "CP_URL", "CP_CONTEXT")
"""Variables of the control plane's own clients, which no backup needs."""


@dataclass(frozen=True)
class Place:
    """The repository, and the control plane whose jobs these are."""

    repository: str
    key_file: Path
    config: Path
    data_dir: Path


@dataclass(frozen=True)
class Work:
    """The work of one run: the verb, and the prune after it."""

    job: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    """The verb that runs after a good run; empty: none."""


def job_work(job: BackupJobSection, place: Place, kept: Sequence[str] = ()) -> Work:
    """Return the work of a job. `kept` are paths whose newest whole snapshots the prune keeps."""
    prune = _prune(job.keep, job.about, kept) if job.keep else ()
    if job.control_plane:
        words = ["control-plane", f"--config={place.config}", f"--data-dir={place.data_dir}"]
        words += ["--with-metrics"] if job.with_metrics else []
        return Work(job.name, ("backup", *words, "--output=json"), prune)
    assert job.folder is not None
    words = ["create", str(job.folder), f"--name={job.about}", *([f"--version={job.version}"] if job.version else [])]
    for option, values in (("part", job.parts), ("include", job.include), ("exclude", job.exclude)):
        words += [f"--{option}={value}" for value in values]
    return Work(job.name, ("backup", *words, f"--tag=job={job.name}", "--output=json"), prune)


def verify_work(verify: BackupVerifySection) -> Work:
    """Return the work of a verification."""
    sample = [f"--sample={verify.sample}"] if verify.sample < 100 else []  # the verb reads all packs without one
    return Work(VERIFY, ("backup", "verify", *sample, "--output=json"))


def drill_work(drill: BackupDrillSection, job: BackupJobSection) -> Work:
    """Return the work of a drill: the newest snapshot of the job is restored, tried and deleted again."""
    name = f"{job.about}@{job.version}" if job.version else job.about
    words = ["test-restore", name, str(drill.scratch)]
    if drill.engine is not None and not job.control_plane:
        seconds = math.ceil(drill.engine.load_timeout)
        words += [f"--to-triton={drill.engine.triton}", f"--load-timeout={seconds}"]
    return Work(f"{DRILL}{job.name}", ("backup", *words, "--output=json"))


def environment_of(place: Place, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: the control plane's own, which holds the credentials of object stores.

    The repository and the key file are named here, so that no secret is ever among the words of a command.
    """
    own = {name: value for name, value in base.items() if name not in WITHHELD}
    return {**own, "CP_BACKUP_REPOSITORY": place.repository, "CP_BACKUP_KEY_FILE": str(place.key_file)}


def _prune(keep: KeepSection, subject: str, kept: Sequence[str]) -> tuple[str, ...]:
    counts = [f"--keep-{period}={count}" for period, count in keep if count]
    return ("backup", "prune", *counts, *(f"--keep-path={path}" for path in kept), f"--subject={subject}", "--yes")
