"""The database: one engine, short transactions, the same code on SQLite (WAL) and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Executable, Row, TextClause, TextualSelect, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session, create_engine

from controlplane.errors import ConfigError, Conflict, NotStorable, Unavailable
from controlplane.store.documents import dumps, loads
from controlplane.store.stored import Unread

_READING = "controlplane_reading"
_NOW = {
    "sqlite": text("SELECT (julianday('now') - 2440587.5) * 86400.0"),
    "postgresql": text("SELECT extract(epoch FROM clock_timestamp())"),
}
_AT_ONCE = 500
_TOO_LONG = "54000"
"""PostgreSQL's program_limit_exceeded: a text is too long for an index. Source: its documentation, appendix A."""
_REFUSALS = frozenset({"25006", "42501"})
"""PostgreSQL's read_only_sql_transaction (after a failover to a standby) and insufficient_privilege. psycopg has no own
class for them. Source: PostgreSQL's documentation, appendix A."""


class Patience(NamedTuple):
    """Limits of one Database: numbers of connections, and timeouts in seconds. Chosen."""

    connections: int = 10
    """Connections that stay open after they were needed."""
    more: int = 30
    """Additional connections while all others are in use."""
    connection_s: int = 30
    """Timeout for a free connection."""
    connect_s: int = 10
    """Timeout for a new connection to PostgreSQL, and for the acknowledgement of sent bytes."""
    lock_s: int = 10
    """Timeout for a lock of another transaction: SQLite's busy timeout, PostgreSQL's lock_timeout."""
    idle_s: int = 30
    """PostgreSQL ends a transaction that is idle for longer. A stopped process would otherwise hold the row of its
    lease, and no other process could take the lease over."""
    statement_s: int = 0
    """PostgreSQL ends a statement that takes longer. 0: no limit."""
    answer_s: int = 15
    """Timeout for PostgreSQL's answer to a statement, which may wait for a lock. Then the connection is given up.
    0: no limit."""


def place_of(url: URL) -> str:
    """Return a database's URL for messages: without the password, wherever in the URL it is."""
    masked = {name: "***" for name in url.query if "pass" in name.lower()}
    return url.update_query_dict(masked).render_as_string(hide_password=True)


class Database:
    """A pooled engine. Thread-safe; synchronous, so callers on an event loop go through a thread."""

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        """Create the engine without a connection. `url` is sqlite:///… or postgresql+psycopg://…

        Raises ConfigError for a URL of another kind, and for an in-memory SQLite (each thread would see its own).
        """
        backend = _backend(url)
        waits = self._patience = patience or Patience()
        self.is_sqlite = backend == "sqlite"
        self.unread = Unread()
        """Rows that could not be read recently."""
        options: dict[str, Any] = {
            "pool_pre_ping": not self.is_sqlite,
            "pool_size": waits.connections,
            "max_overflow": waits.more,
            "pool_timeout": waits.connection_s,
            "json_serializer": dumps,
            "json_deserializer": loads,
        }
        if self.is_sqlite:
            options["connect_args"] = {"check_same_thread": False, "timeout": waits.lock_s}
        else:
            options["connect_args"] = {
                "connect_timeout": waits.connect_s,
                # A host that is gone without closing must not hold a thread for TCP's default of about 15 minutes.
                "tcp_user_timeout": waits.connect_s * 1000,
                # A server with encoding SQL_ASCII would send bytes instead of text.
                "client_encoding": "utf8",
                # Behind PgBouncer the next transaction may run on another server, which has no such statement.
                "prepare_threshold": None,
            }
        try:
            self.engine: Engine = create_engine(url, **options)
        except ModuleNotFoundError as error:
            cure = "install the package with its extra: pip install '.[postgres]'"
            raise ConfigError(
                f"PostgreSQL needs {error.name}, which is not installed; {cure}", field="database"
            ) from error
        if self.is_sqlite:
            event.listen(self.engine, "connect", self._sqlite_pragmas)
            event.listen(self.engine, "begin", _sqlite_begin)
            self._readers = self.engine.execution_options(**{_READING: True})
        else:
            event.listen(self.engine, "begin", self._postgres_settings)
            if waits.answer_s:
                from controlplane.store.answering import connector  # psycopg is there where PostgreSQL is used

                event.listen(self.engine, "do_connect", connector(waits.answer_s))
            # A snapshot, as on SQLite: two queries of one reading() never see two states.
            self._readers = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def apart(self, patience: Patience) -> Database:
        """Return the same database with its own connections. The caller closes it.

        It is for work with a deadline: other transactions may hold every connection of this Database.
        """
        other = Database(self.engine.url.render_as_string(hide_password=False), patience)
        other.unread = self.unread  # both read the same rows
        return other

    def lies_in(self, folder: Path) -> bool:
        """Return whether the database is a file in this folder: the holder of the folder's lock is its only user."""
        return self.is_sqlite and Path(str(self.engine.url.database)).resolve().parent == folder.resolve()

    @property
    def place(self) -> str:
        """The URL without its password, for messages."""
        return place_of(self.engine.url)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session. Its work commits at the end, or rolls back on an exception.

        SQLite locks for writing at the start (BEGIN IMMEDIATE): of two writers one waits, and none fails half way.
        Raises Unavailable when the database cannot be reached or stays locked, Conflict when a constraint refuses the
        work, and NotStorable for a text that the database cannot hold. Nothing was written then.
        """
        with self._translated(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a read-only session on one snapshot. It never waits for a writer, and no writer waits for it.

        A write fails on either database. Raises Unavailable as `transaction` does.
        """
        with self._translated(), Session(self._readers, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction, as `transaction` does, but without the ORM.

        It is for statements that run every few seconds on an idle fleet: a session costs more than they do.
        """
        with self._translated(), self.engine.begin() as connection:
            yield connection

    def first(self, query: TextClause | TextualSelect, **values: object) -> Row[Any] | None:
        """Return the first row of a query, or None without one. It is `reading` without the ORM; see `changing`."""
        with self._translated(), self._readers.begin() as connection:
            return connection.execute(query, values).first()

    def rows(self, query: Executable) -> Sequence[Row[Any]]:
        """Return the rows of a query without the ORM; see `first`."""
        with self._translated(), self._readers.begin() as connection:
            return connection.execute(query).all()

    def now(self, session: Session) -> float:
        """Return the database's clock in unix seconds. Leases expire by it."""
        return database_now(session)

    def close(self) -> None:
        """Close pooled connections."""
        self.engine.dispose()

    def _sqlite_pragmas(self, connection: Any, _record: Any) -> None:
        # The driver must not open transactions: _sqlite_begin opens them, so that writers lock at the start.
        connection.isolation_level = None
        busy = f"busy_timeout={self._patience.lock_s * 1000}"
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", busy):
            connection.execute(f"PRAGMA {pragma}")

    def _postgres_settings(self, connection: Connection) -> None:
        # Set in each transaction: behind PgBouncer a session's settings would reach the next client of the server
        # process. The start-up parameter `options` is no alternative: PgBouncer refuses it.
        waits = self._patience
        local = {
            "lock_timeout": waits.lock_s,
            "idle_in_transaction_session_timeout": waits.idle_s,
            "statement_timeout": waits.statement_s,
        }
        # One statement for all settings. A setting of 0 is left out: 0 is PostgreSQL's default of statement_timeout.
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
            if _is_too_long(error):
                raise _not_storable(error) from error
            raise Unavailable(f"database {self.place}: {error.orig}") from error
        except DatabaseError as error:
            if getattr(error.orig, "sqlstate", None) in _REFUSALS:
                raise Unavailable(f"database {self.place}: {error.orig}") from error
            # SQLite raises exactly this class for a damaged file. A subclass here is a fault of this program.
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
    """Run a part of a transaction that may fail alone.

    Raises NotStorable when this part was not written. The transaction can go on.
    """
    try:
        with session.begin_nested():
            yield
    except (DataError, UnicodeError) as error:
        raise _not_storable(error) from error
    except OperationalError as error:
        if _is_too_long(error):
            raise _not_storable(error) from error
        raise


def slices(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Return keys in portions that fit into one query: SQLite limits the parameters of a statement."""
    for first in range(0, len(keys), _AT_ONCE):
        yield keys[first : first + _AT_ONCE]


def _is_too_long(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == _TOO_LONG


def _not_storable(error: DBAPIError | UnicodeError) -> NotStorable:
    # The driver's message alone: the statement and its values may hold private data.
    return NotStorable(f"the database cannot hold it: {error.orig if isinstance(error, DBAPIError) else error}")


def database_now(session: Session) -> float:
    """Return the clock of the session's database in unix seconds (it moves on within a transaction)."""
    return connection_now(session.connection())


def connection_now(connection: Connection) -> float:
    """Return the clock of the connection's database in unix seconds (it moves on within a transaction)."""
    return float(connection.execute(_NOW[connection.dialect.name]).scalar_one())


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
    # Set query_only before each BEGIN: a pooled connection keeps the setting of its last user.
    reading = bool(connection.get_execution_options().get(_READING))
    connection.exec_driver_sql(f"PRAGMA query_only={int(reading)}")
    connection.exec_driver_sql("BEGIN DEFERRED" if reading else "BEGIN IMMEDIATE")
