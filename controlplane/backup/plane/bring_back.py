"""Restores a control plane from its backup: into an empty folder, or into an empty database of PostgreSQL.

Either way the database is brought to the schema of this release and put on hold before anybody can start on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from controlplane.backup.errors import BackupError, Damaged
from controlplane.backup.format.snapshot import Entry, EntryType, Snapshot, read_tree
from controlplane.backup.plane.manifest import FACT, MANIFEST, SQLITE_FILE, Manifest, read_manifest
from controlplane.backup.plane.postgres_copy import PATIENCE, import_, revision_of, translated
from controlplane.backup.plane.sqlite_copy import check_sqlite
from controlplane.backup.reading.restore import write_tree
from controlplane.backup.repository import Repository
from controlplane.backup.tally import Tally, usual_lanes
from controlplane.store.backups.restored import put_on_hold
from controlplane.store.database import Database
from controlplane.store.migrate import upgrade_to


class Kept:
    """A control plane's backup in a repository."""

    def __init__(self, repository: Repository, snapshot: Snapshot) -> None:
        """Raises BackupError when the snapshot is no control plane's, Damaged and NewerFormat."""
        if FACT not in snapshot.facts:
            raise BackupError(f"{snapshot.id} of {snapshot.subject} is not a backup of a control plane")
        self._repository, self.snapshot = repository, snapshot
        self.entries: Sequence[Entry] = tuple(read_tree(f"snapshot {snapshot.id}", repository.tree(snapshot)))
        self._files: Mapping[str, Entry] = {e.path: e for e in self.entries if e.type is EntryType.FILE}
        self.manifest: Manifest = read_manifest(b"".join(self.content(MANIFEST)))

    def content(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file, chunk by chunk. Raises Damaged."""
        if path not in self._files:
            raise Damaged(f"snapshot {self.snapshot.id}", f"it lacks {path}")
        for identity in self._files[path].chunks:
            yield self._repository.chunk(identity)


def restore_folder(repository: Repository, kept: Kept, folder: Path, tally: Tally, now: float) -> None:
    """Write a data folder with the SQLite database, and the configuration in `config/`. `folder` must not exist.

    Raises BackupError when the database is PostgreSQL's or has a schema that this release does not know, Damaged,
    NoSpace and Unavailable.
    """
    if kept.manifest.database != "sqlite":
        raise BackupError(f"{kept.snapshot.id} has a database of PostgreSQL: name the URL of an empty one")
    write_tree(repository, kept.entries, folder, lanes=usual_lanes(), tally=tally)
    check_sqlite(folder / SQLITE_FILE, folder / SQLITE_FILE)
    db = Database(f"sqlite:///{folder / SQLITE_FILE}", PATIENCE)
    try:
        with db.transaction() as session:
            revision_of(session.connection(), f"the database of {kept.snapshot.id}")
            upgrade_to(session.connection())
            put_on_hold(session, kept.snapshot.id, kept.manifest.made_at, now)
    finally:
        db.close()


def restore_postgres(kept: Kept, url: str, now: float) -> None:
    """Fill an empty database of PostgreSQL, in one transaction.

    Raises BackupError when the database of the backup is SQLite's or the one at `url` is not empty, Damaged,
    ConfigError and Unavailable.
    """
    if kept.manifest.database != "postgresql":
        raise BackupError(f"{kept.snapshot.id} has a database of SQLite: name a folder that does not exist yet")
    db = Database(url, PATIENCE)
    if db.is_sqlite:
        raise BackupError(f"{db.place} is SQLite, and {kept.snapshot.id} has a database of PostgreSQL")
    try:
        with translated(db.place, "could not be filled, and is as it was"), db.transaction() as session:
            import_(session.connection(), db.place, kept.manifest, kept.content)
            upgrade_to(session.connection())
            put_on_hold(session, kept.snapshot.id, kept.manifest.made_at, now)
    finally:
        db.close()
