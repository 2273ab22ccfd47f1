"""A trial of a control plane's snapshot: its database is restored, checked and counted, and nothing starts on it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from controlplane.backup.errors import Damaged
from controlplane.backup.plane.bring_back import Kept, restore_folder
from controlplane.backup.plane.manifest import SQLITE_FILE
from controlplane.backup.reading.restore import write_tree
from controlplane.backup.repository import Repository
from controlplane.backup.tally import Tally, usual_lanes


@dataclass(frozen=True)
class Counted:
    """Content of a restored database."""

    tables: int
    rows: int


def try_plane(repository: Repository, kept: Kept, folder: Path, tally: Tally, now: float) -> Counted:
    """Restore a control plane into `folder`, which must not exist, and count its rows.

    A database of SQLite is checked (`PRAGMA integrity_check`) and brought to this release's schema. Of PostgreSQL's the
    rows of each table are counted against the manifest; no server is needed. Raises BackupError, Damaged and NoSpace.
    """
    if kept.manifest.database == "sqlite":
        restore_folder(repository, kept, folder, tally, now)
        return _rows_of(folder / SQLITE_FILE)
    write_tree(repository, kept.entries, folder, lanes=usual_lanes(), tally=tally)
    for table in kept.manifest.tables:
        found = _lines(folder / table.path)
        if found != table.rows:
            raise Damaged(f"table {table.name} of {kept.snapshot.id}", f"it has {found} rows, not {table.rows}")
    return Counted(len(kept.manifest.tables), sum(table.rows for table in kept.manifest.tables))


def _rows_of(file: Path) -> Counted:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            names = [str(row[0]) for row in connection.execute(query)]
            # The names come from the database itself.
            rows = [connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names]  # noqa: S608
    except sqlite3.DatabaseError as error:
        raise Damaged(f"the database {file.name}", str(error)) from error
    return Counted(len(names), sum(rows))


def _lines(file: Path) -> int:
    """Return the lines of a file, which may be large."""
    with file.open("rb") as opened:
        return sum(part.count(b"\n") for part in iter(lambda: opened.read(1 << 20), b""))
