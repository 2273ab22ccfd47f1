"""A trial of a control plane's snapshot: its database is restored, checked and counted, and its samples are opened.

Nothing starts on it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from controlplane.backup.errors import Damaged
from controlplane.backup.plane.bring_back import Kept, restore_folder
from controlplane.backup.plane.manifest import SAMPLES, SQLITE_FILE
from controlplane.backup.reading.restore import write_tree
from controlplane.backup.repository import Repository
from controlplane.backup.tally import Tally, usual_lanes
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.errors import StorageError
from controlplane.metrics.storage.folder import Folder
from controlplane.metrics.storage.recovery import newest_journal

FOREVER_S: Final = 1e9
"""Retention with which samples are opened, 30 years: a trial drops none."""


@dataclass(frozen=True)
class Counted:
    """Content of a restored control plane."""

    tables: int
    rows: int
    series: int | None = None
    """Stored series. None: the snapshot holds no samples."""


def try_plane(repository: Repository, kept: Kept, folder: Path, tally: Tally, now: float) -> Counted:
    """Restore a control plane into `folder`, which must not exist, and count its rows.

    Samples are opened as a control plane opens them when it starts, and their series are counted.
    A database of SQLite is checked (`PRAGMA integrity_check`) and brought to this release's schema. Of PostgreSQL's the
    rows of each table are counted against the manifest; no server is needed. Raises BackupError, Damaged and NoSpace.
    """
    if kept.manifest.database == "sqlite":
        restore_folder(repository, kept, folder, tally, now)
        return replace(_rows_of(folder / SQLITE_FILE), series=_series_of(kept, folder))
    write_tree(repository, kept.entries, folder, lanes=usual_lanes(), tally=tally)
    for table in kept.manifest.tables:
        found = _lines(folder / table.path)
        if found != table.rows:
            raise Damaged(f"table {table.name} of {kept.snapshot.id}", f"it has {found} rows, not {table.rows}")
    return Counted(
        len(kept.manifest.tables), sum(table.rows for table in kept.manifest.tables), _series_of(kept, folder)
    )


def _series_of(kept: Kept, folder: Path) -> int | None:
    """Return the number of stored series in the restored samples; None: the snapshot holds none."""
    if not any(entry.path == SAMPLES for entry in kept.entries):
        return None
    place = f"the samples of {kept.snapshot.id}"
    try:
        if newest_journal(folder / SAMPLES) is None:
            raise Damaged(place, "their journal is missing")
        store = SeriesStore.in_folder(folder / SAMPLES, FOREVER_S, None, FOREVER_S)
    except (StorageError, OSError) as error:
        raise Damaged(place, str(error)) from error
    assert isinstance(store.space, Folder)
    series = store.stats().series
    store.space.close()
    return series


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
