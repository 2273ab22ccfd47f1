"""A copy of a SQLite database that other processes write to, as it was at one instant."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from controlplane.backup.errors import BackupError, Damaged

BUSY_S: Final = 30.0
"""Seconds to wait for a lock of another process."""


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy the database of the file `source` to the new file `target`, and check every page of the copy.

    All pages are copied in one step, from one read transaction. Smaller steps begin anew after each write of another
    process: measured, 80 writes in a second kept a copy of 41 MB from ever ending. Raises BackupError and Damaged.
    """
    if not source.is_file():
        raise BackupError(f"there is no database at {source}: name the control plane's folder with --data-dir")
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True, timeout=BUSY_S)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            reading.backup(writing, pages=-1)
            # One file: the source's mode, WAL, would leave two more beside it.
            writing.execute("PRAGMA journal_mode=DELETE")
        check_sqlite(target, source)
    except sqlite3.DatabaseError as error:
        raise BackupError(f"the database {source} cannot be copied: {error}") from error


def check_sqlite(file: Path, named: Path) -> None:
    """Raise Damaged, naming `named`, when a page of the database in `file` is not what SQLite wrote."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    if found != ["ok"]:
        raise Damaged(f"the database {named}", "; ".join(found[:5]))
