"""The database: one engine, short transactions, the same code on SQLite (WAL) and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, create_engine

from controlplane.errors import Unavailable


class Database:
    """A pooled engine. Thread-safe; synchronous, so callers on an event loop go through a thread."""

    def __init__(self, url: str) -> None:
        """Open lazily: no connection is made here. `url` is sqlite:///… or postgresql+psycopg://…"""
        self.is_sqlite = url.startswith("sqlite")
        options: dict[str, Any] = {"pool_pre_ping": not self.is_sqlite}
        if self.is_sqlite:
            options["connect_args"] = {"check_same_thread": False, "timeout": 10}
        self.engine: Engine = create_engine(url, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _sqlite_pragmas)
            event.listen(self.engine, "begin", _sqlite_begin)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session whose work commits on leaving, or rolls back on an exception.

        On SQLite the write lock is taken at the start (BEGIN IMMEDIATE): two writers queue, instead of one of them
        failing half way. Raises Unavailable when the database cannot be reached.
        """
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        except OperationalError as error:
            raise Unavailable(
                f"database {self.engine.url.render_as_string(hide_password=True)}: {error.orig}"
            ) from error

    def now(self, session: Session) -> float:
        """Return the database's own clock in unix seconds: the one that leases are judged by."""
        query = (
            "SELECT (julianday('now') - 2440587.5) * 86400.0"
            if self.is_sqlite
            else "SELECT extract(epoch FROM clock_timestamp())"
        )
        return float(session.connection().execute(text(query)).scalar_one())

    def close(self) -> None:
        """Close pooled connections."""
        self.engine.dispose()


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    # The driver must not open transactions by itself: _sqlite_begin does, so that they start as writers.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
