"""A consistent export of a PostgreSQL database, and its import into an empty one.

It is our own, since pg_dump refuses a newer server, and writes random words into its output, so that two dumps never
share a chunk. One REPEATABLE READ READ ONLY transaction reads all tables. Rows are in the order of their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.backup.errors import BackupError, Damaged
from controlplane.backup.plane.manifest import TABLES, Manifest, Table
from controlplane.store.database import Database, Patience
from controlplane.store.migrate import is_known, stored_revision, upgrade_to

PATIENCE: Final = Patience(connections=1, more=0, idle_s=0, answer_s=0)
"""Limits of the connection: a large table may take long."""


def export(db: Database, folder: Path, made_at: float) -> Manifest:
    """Write each table into a file below `folder`, and return the manifest. Raises BackupError and Unavailable."""
    (folder / TABLES).mkdir()
    with translated(db.place, "cannot be copied"), db.reading() as session:
        connection = session.connection()
        revision = revision_of(connection, db.place)
        there = set(inspect(connection).get_table_names())
        tables, sequences = [], {}
        for name in (str(table.name) for table in SQLModel.metadata.sorted_tables):
            if name not in there:
                continue  # a later migration makes it
            columns = tuple(str(column["name"]) for column in inspect(connection).get_columns(name))
            tables.append(_copy_out(connection, name, columns, folder))
            if (sequence := _sequence(connection, name)) is not None:
                # PostgreSQL quotes the name where it needs quotes.
                state = f"SELECT last_value, is_called FROM {sequence}"  # noqa: S608
                last, called = connection.execute(text(state)).one()
                sequences[name] = int(last) if called else 0
        return Manifest("postgresql", revision, made_at, tuple(tables), sequences)


@contextmanager
def translated(place: str, fault: str) -> Iterator[None]:
    """Translate errors of the driver, which bypass SQLAlchemy, to BackupError: `place` `fault`, and the reason."""
    import psycopg  # an optional dependency; who has a URL of PostgreSQL has it

    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        raise BackupError(f"{place} {fault}: {str(error).strip().partition(chr(10))[0]}") from error


def revision_of(connection: Connection, place: str) -> str:
    """Return the revision of the schema. Raises BackupError when there is none, or one that this release lacks."""
    revision = stored_revision(connection)
    if revision is None:
        raise BackupError(f"{place} is not a control plane's database: it has no schema of one")
    if not is_known(connection, revision):
        raise BackupError(f"{place} has the schema {revision}, which this release does not know: use the newer release")
    return revision


def import_(connection: Connection, place: str, manifest: Manifest, content: Callable[[str], Iterable[bytes]]) -> None:
    """Make the tables in the caller's transaction and fill them. `content` yields the bytes of a file of the backup.

    Raises BackupError when the database is not empty or does not know the schema, and Damaged.
    """
    if there := inspect(connection).get_table_names():
        raise BackupError(f"{place} is not empty: it has {', '.join(sorted(there)[:5])}. Name an empty database.")
    if not is_known(connection, manifest.revision):
        raise BackupError(
            f"the backup has the schema {manifest.revision}, which this release does not know: use the newer release"
        )
    upgrade_to(connection, manifest.revision)
    for table in manifest.tables:
        _copy_in(connection, table, content(table.path))
    for name, last in manifest.sequences.items():
        state = {"name": _sequence(connection, name), "last": max(last, 1), "called": last > 0}
        connection.execute(text("SELECT setval(:name, :last, :called)"), state)


def _copy_out(connection: Connection, name: str, columns: tuple[str, ...], folder: Path) -> Table:
    cursor = _driver(connection).cursor()
    order = _names(_keys(connection, name))
    rows = f"SELECT {_names(columns)} FROM {_names([name])} ORDER BY {order}"  # noqa: S608 - quoted names
    with (folder / f"{TABLES}/{name}.copy").open("xb") as file, cursor.copy(f"COPY ({rows}) TO STDOUT") as copy:
        for part in copy:
            file.write(part)
    return Table(name, columns, cursor.rowcount)


def _copy_in(connection: Connection, table: Table, content: Iterable[bytes]) -> None:
    cursor = _driver(connection).cursor()
    with cursor.copy(f"COPY {_names([table.name])} ({_names(table.columns)}) FROM STDIN") as copy:
        for part in content:
            copy.write(part)
    if cursor.rowcount != table.rows:
        raise Damaged(table.path, f"it has {cursor.rowcount} rows, and the manifest says {table.rows}")


def _keys(connection: Connection, table: str) -> list[str]:
    return list(inspect(connection).get_pk_constraint(table)["constrained_columns"])


def _sequence(connection: Connection, table: str) -> str | None:
    """Return the quoted name of the sequence that numbers a table's rows, or None."""
    keys = _keys(connection, table)
    if len(keys) != 1:
        return None
    query = text("SELECT pg_get_serial_sequence(:table, :key)")
    found = connection.execute(query, {"table": _names([table]), "key": keys[0]}).scalar_one()
    return None if found is None else str(found)


def _names(names: Iterable[str]) -> str:
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)


def _driver(connection: Connection) -> Any:
    """Return psycopg's connection."""
    return connection.connection.driver_connection
