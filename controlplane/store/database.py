"""The database: one engine, short transactions, the same code on SQLite (WAL) and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session, create_engine

from controlplane.errors import ConfigError, Conflict, NotStorable, Unavailable
from controlplane.store.stored import Unread

_READING = "controlplane_reading"


class Patience(NamedTuple):
    """How many connections one Database may have, and how long it waits, in seconds."""

    connections: int = 10
    """Kept open once they were needed."""
    more: int = 30
    """Opened beyond these while all are in use."""
    connection_s: int = 30
    """Until a connection is free."""
    connect_s: int = 10
    """Until a new connection to PostgreSQL stands, and until sent bytes are acknowledged."""
    lock_s: int = 10
    """For another transaction's lock: SQLite's busy timeout, PostgreSQL's lock_timeout."""
    idle_s: int = 30
    """PostgreSQL ends a transaction whose process stopped in the middle of it: it would otherwise hold its lease's row,
    and no other process could take the lease over."""
    statement_s: int = 0
    """PostgreSQL ends a statement that takes longer; 0: never."""
    answer_s: int = 15
    """Until PostgreSQL answers a statement (it may wait for a lock); then the connection is given up. 0: for ever."""


class Database:
    """A pooled engine. Thread-safe; synchronous, so callers on an event loop go through a thread."""

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        """Open lazily: no connection is made here. `url` is sqlite:///… or postgresql+psycopg://…

        Raises ConfigError for a URL of another kind, and for an in-memory SQLite (each thread would see its own).
        """
        backend = _backend(url)
        waits = self._patience = patience or Patience()
        self.is_sqlite = backend == "sqlite"
        self.unread = Unread()
        """Rows that could not be read lately."""
        options: dict[str, Any] = {
            "pool_pre_ping": not self.is_sqlite,
            "pool_size": waits.connections,
            "max_overflow": waits.more,
            "pool_timeout": waits.connection_s,
        }
        if self.is_sqlite:
            options["connect_args"] = {"check_same_thread": False, "timeout": waits.lock_s}
        else:
            options["connect_args"] = {
                "connect_timeout": waits.connect_s,
                # A host that is gone without a word must not hold a thread for TCP's quarter of an hour.
                "tcp_user_timeout": waits.connect_s * 1000,
                # PgBouncer gives the next transaction another server process, which does not know the statement.
                "prepare_threshold": None,
            }
        self.engine: Engine = create_engine(url, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", self._sqlite_pragmas)
            event.listen(self.engine, "begin", _sqlite_begin)
            self._readers = self.engine.execution_options(**{_READING: True})
        else:
            event.listen(self.engine, "begin", self._postgres_settings)
            if waits.answer_s:
                from controlplane.store.answering import connector  # psycopg is there where PostgreSQL is used

                event.listen(self.engine, "do_connect", connector(waits.answer_s))
            # A snapshot, as a SQLite reader has: two queries of one reading() never see two states.
            self._readers = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def apart(self, patience: Patience) -> Database:
        """Return the same database through connections of its own, to be closed by the caller.

        Who must be heard in time uses it: transactions of others may hold every connection of this one.
        """
        other = Database(self.engine.url.render_as_string(hide_password=False), patience)
        other.unread = self.unread  # rows are those of the database, whoever read them
        return other

    def lies_in(self, folder: Path) -> bool:
        """Tell whether it is a file in this folder, so that whoever holds the folder's lock is alone with it."""
        return self.is_sqlite and Path(str(self.engine.url.database)).resolve().parent == folder.resolve()

    @property
    def place(self) -> str:
        """The URL without its password, for messages."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session whose work commits on leaving, or rolls back on an exception.

        On SQLite the write lock is taken at the start (BEGIN IMMEDIATE): two writers queue, instead of one of them
        failing half way. Raises Unavailable when the database cannot be reached or stays locked, Conflict when a
        constraint refuses the work, and NotStorable for a text that it cannot hold; nothing was written then.
        """
        with self._translated(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session that sees one snapshot, and never waits for a writer nor makes one wait.

        A write in it fails on either database. Raises Unavailable as `transaction` does.
        """
        with self._translated(), Session(self._readers, expire_on_commit=False) as session, session.begin():
            yield session

    def now(self, session: Session) -> float:
        """Return the database's own clock in unix seconds: the one that leases are judged by."""
        return database_now(session)

    def close(self) -> None:
        """Close pooled connections."""
        self.engine.dispose()

    def _sqlite_pragmas(self, connection: Any, _record: Any) -> None:
        # The driver must not open transactions by itself: _sqlite_begin does, so that they start as writers.
        connection.isolation_level = None
        busy = f"busy_timeout={self._patience.lock_s * 1000}"
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", busy):
            connection.execute(f"PRAGMA {pragma}")

    def _postgres_settings(self, connection: Connection) -> None:
        # For each transaction anew: PgBouncer gives a session's settings to whoever gets the server process next. Not
        # the `options` start-up parameter either: PgBouncer refuses it.
        waits = self._patience
        local = {
            "lock_timeout": waits.lock_s,
            "idle_in_transaction_session_timeout": waits.idle_s,
            "statement_timeout": waits.statement_s,
        }
        # One statement, whatever the number of settings; 0 is PostgreSQL's own default of statement_timeout.
        wanted = ", ".join(f"set_config('{name}', '{seconds}s', true)" for name, seconds in local.items() if seconds)
        connection.exec_driver_sql(f"SELECT {wanted}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DataError, UnicodeError) as error:
            raise _not_storable(error) from error
        except IntegrityError as error:
            raise Conflict(f"database {self.place} refused the change: {error.orig}") from error
        except (OperationalError, InterfaceError) as error:
            raise Unavailable(f"database {self.place}: {error.orig}") from error
        except DatabaseError as error:
            # SQLite says so of a file that is damaged or no database; subclasses left here are faults of ours.
            if type(error) is not DatabaseError:
                raise
            raise Unavailable(
                f"database {self.place}: {error.orig}; the file is damaged: stop the control plane, move the file "
                "away, and put a backup in its place"
            ) from error
        except PoolTimeout as error:
            raise Unavailable(f"database {self.place}: every connection is in use; try again") from error


@contextmanager
def part(session: Session) -> Iterator[None]:
    """Run a part of a transaction that may fail alone. Raises NotStorable: this was not written, the rest can go on."""
    try:
        with session.begin_nested():
            yield
    except (DataError, UnicodeError) as error:
        raise _not_storable(error) from error


def _not_storable(error: DataError | UnicodeError) -> NotStorable:
    # The driver's words, without the statement and its values.
    return NotStorable(f"the database cannot hold it: {error.orig if isinstance(error, DataError) else error}")


def database_now(session: Session) -> float:
    """Return the clock of the session's database in unix seconds (it moves on within a transaction)."""
    query = (
        "SELECT (julianday('now') - 2440587.5) * 86400.0"
        if session.get_bind().dialect.name == "sqlite"
        else "SELECT extract(epoch FROM clock_timestamp())"
    )
    return float(session.connection().execute(text(query)).scalar_one())


def _backend(url: str) -> str:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            "expected sqlite:///<file> or postgresql+psycopg://<user>@<host>/<name>", field="database"
        ) from error
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError(f"{backend} is not supported: use sqlite:///… or postgresql+psycopg://…", field="database")
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError("an in-memory SQLite would differ from thread to thread: name a file", field="database")
    return backend


def _sqlite_begin(connection: Connection) -> None:
    # query_only before BEGIN: a pooled connection carries the last user's setting.
    reading = bool(connection.get_execution_options().get(_READING))
    connection.exec_driver_sql(f"PRAGMA query_only={int(reading)}")
    connection.exec_driver_sql("BEGIN DEFERRED" if reading else "BEGIN IMMEDIATE")
