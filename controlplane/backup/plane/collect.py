"""Puts all that a control plane's backup holds into a folder: the database first, then its configuration."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from alerts.packs import PREFIX, matching_files
from controlplane.backup.errors import BackupError
from controlplane.backup.folder_lock import locked
from controlplane.backup.plane.manifest import CONFIG, MANIFEST, SAMPLES, SQLITE_FILE, Manifest
from controlplane.backup.plane.postgres_copy import PATIENCE, export, revision_of
from controlplane.backup.plane.sqlite_copy import copy_sqlite
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.storage.copying import copy_folder
from controlplane.metrics.storage.errors import StorageError
from controlplane.store.database import Database

STAGING: Final = ".controlplane-backup-"
"""Beginning of the name of a folder that is being backed up. It holds the database in the clear."""
LEFT_AFTER_S: Final = 60.0
"""Seconds that a new folder has until it is locked."""


@contextmanager
def staged(base: Path) -> Iterator[Path]:
    """Yield a new folder in `base` that only its owner can read, and delete it after the block.

    A folder that a killed run left there is deleted first: it is the one that nobody has locked. Raises BackupError.
    """
    for old in base.glob(f"{STAGING}*"):
        with suppress(OSError), locked(old):
            if time.time() - old.stat().st_mtime > LEFT_AFTER_S:
                shutil.rmtree(old)
    try:
        folder = Path(mkdtemp(prefix=STAGING, dir=base))
    except OSError as error:
        raise BackupError(f"no folder for the copy can be made in {base}: {error.strerror}") from None
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder)


def collect_samples(data: Path, folder: Path) -> tuple[str, ...]:
    """Copy the samples of a data folder into `folder`. Return sentences about what is missing.

    Raises BackupError when there are none, or they cannot be copied.
    """
    try:
        copied = copy_folder(data / SAMPLES, folder / SAMPLES)
    except StorageError as error:
        raise BackupError(str(error)) from error
    lost = ", ".join(copied.missing)
    return (f"samples are missing: the journal names files that are not there: {lost}",) if lost else ()


def collect(url: str, loaded: LoadedFleet, folder: Path, made_at: float) -> Manifest:
    """Copy the database at `url` and the configuration into an empty folder. Return the manifest, which is there too.

    Raises BackupError, and Unavailable when PostgreSQL does not answer.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        revision = _sqlite(Path(str(parsed.database)), folder / SQLITE_FILE)
        manifest = Manifest("sqlite", revision, made_at)
    else:
        db = Database(url, PATIENCE)
        try:
            manifest = export(db, folder, made_at)
        finally:
            db.close()
    whole = Manifest(**{**vars(manifest), "config": _config(loaded, folder)})
    (folder / MANIFEST).write_bytes(whole.to_bytes())
    return whole


def _sqlite(source: Path, target: Path) -> str:
    copy_sqlite(source, target)
    engine = create_engine(f"sqlite:///{target}")
    try:
        with engine.connect() as connection:
            return revision_of(connection, str(source))
    finally:
        engine.dispose()


def _config(loaded: LoadedFleet, folder: Path) -> dict[str, str]:
    """Copy fleet.yaml and the rule files that it names. Return where each was, by its path in the backup."""
    base = loaded.path.absolute().parent
    sources = [source for source in loaded.fleet.rules if not source.startswith(PREFIX)]
    rules = {file for source in sources for file in matching_files(source, base) if not file.is_dir()}
    found = {}
    for file in [loaded.path.absolute(), *sorted(rules)]:
        inside = file.relative_to(base) if file.is_relative_to(base) else Path("elsewhere", *file.parts[1:])
        target = folder / CONFIG / inside
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        except OSError as error:
            raise BackupError(f"{file}, which fleet.yaml needs, cannot be backed up: {error.strerror}") from None
        target.chmod(0o600)
        found[f"{CONFIG}/{inside.as_posix()}"] = str(file)
    return found
