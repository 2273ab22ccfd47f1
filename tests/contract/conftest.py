"""One suite, two databases: `database` is a fresh SQLite file, then an empty database of a real PostgreSQL server."""

from __future__ import annotations

import itertools
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text, update
from sqlmodel import SQLModel, col

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.store.database import Database
from controlplane.store.tables.lease import LeaseRow
from tests.fakes.rollouts.strategy_world import empty_database as new_file
from tests.patience import PROCESS_S

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))]


class PostgresServer:
    """A throw-away cluster in a folder of its own, reached by a unix socket there: no port to race for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()
        # PostgreSQL refuses to run as root, so then it runs as the user that its package made.
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(folder, account.pw_uid, account.pw_gid)
        init = ["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--no-locale"]
        subprocess.run(
            [_binary("initdb"), *init, f"--pgdata={folder}/data"],
            check=True,
            capture_output=True,
            cwd=folder,
            **self._user,
        )
        settings = [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "autovacuum=off",
            "listen_addresses=",
            f"unix_socket_directories={folder}",
            "shared_buffers=32MB",
        ]
        flags = [part for setting in settings for part in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [_binary("postgres"), "-D", f"{folder}/data", *flags], stdout=log, stderr=log, cwd=folder, **self._user
            )
        self._wait()
        self.execute("CREATE DATABASE with_schema")
        schema = Database(self.url("with_schema"))
        SQLModel.metadata.create_all(schema.engine)
        schema.close()

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement)

    def fresh(self) -> str:
        """Create an empty database and return its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def stop(self) -> None:
        self.process.terminate() if self.process.poll() is None else None
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            # SIGTERM waits for clients to leave; SIGQUIT does not.
            self.process.send_signal(3)
            self.process.wait(timeout=PROCESS_S)

    def _wait(self) -> None:
        deadline = time.monotonic() + PROCESS_S
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.02)


def _binary(name: str) -> str:
    def version(path: Path) -> float:
        return float(re.sub(r"[^\d.]", "", path.parent.parent.name) or 0)

    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=version)
    return str(packaged[-1]) if packaged else str(shutil.which(name))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    # Not pytest's own tmp folder: its parents are closed to other users, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="cp-pg-"))
    server = PostgresServer(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


class PgBouncer:
    """A pooler in transaction mode before a PostgreSQL, with two server connections for everybody."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.folder = folder
        (folder / "users.txt").write_text('"postgres" ""\n')
        settings = {
            "listen_port": "6432",  # the name of the socket's file: nobody listens on a port
            "unix_socket_dir": str(folder),
            "auth_type": "trust",
            "auth_file": f"{folder}/users.txt",
            "pool_mode": "transaction",
            "default_pool_size": "2",
            "min_pool_size": "2",
            "max_client_conn": "200",
            "server_reset_query": "DISCARD ALL",
        }
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        databases = f"[databases]\n* = host={server.folder} port=5432 user=postgres\n"
        (folder / "pgbouncer.ini").write_text(f"{databases}[pgbouncer]\n{lines}")
        owner: dict[str, Any] = {}
        if os.geteuid() == 0:  # it refuses to run as root, too
            account = pwd.getpwnam("postgres")
            owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(folder, account.pw_uid, account.pw_gid)
        command = [shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", f"{folder}/pgbouncer.ini"]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **owner)
        self._wait()

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}&port=6432"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(timeout=PROCESS_S)

    def _wait(self) -> None:
        deadline = time.monotonic() + PROCESS_S
        while True:
            try:
                with psycopg.connect(host=str(self.folder), port=6432, user="postgres", dbname="with_schema"):
                    return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.02)


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    folder = Path(tempfile.mkdtemp(prefix="cp-pgb-"))
    pooler = PgBouncer(folder, postgres_server)
    yield pooler
    pooler.stop()
    shutil.rmtree(folder)


_WITH_ROWS = " UNION ".join(
    f"SELECT quote_ident('{name}') WHERE EXISTS (SELECT FROM \"{name}\")" for name in SQLModel.metadata.tables
)
_WITH_IDENTITIES = """
SELECT quote_ident(owner.relname)
FROM pg_sequences used
JOIN pg_depend depends ON depends.objid = format('%I.%I', used.schemaname, used.sequencename)::regclass
JOIN pg_class owner ON owner.oid = depends.refobjid AND owner.relkind = 'r'
WHERE used.last_value IS NOT NULL
"""


def emptied(db: Database) -> Database:
    """Return a PostgreSQL database with no rows in its tables."""
    # Far faster than a new database for each test. Identities restart, so a test cannot tell.
    with db.transaction() as session:
        used = session.execute(text(f"{_WITH_ROWS} UNION {_WITH_IDENTITIES}")).scalars().all()
        if used:
            session.execute(text(f"TRUNCATE {', '.join(used)} RESTART IDENTITY CASCADE"))
    return db


@pytest.fixture
def pooled(pgbouncer: PgBouncer) -> Iterator[Database]:
    """A database with every table and no rows, behind PgBouncer in transaction mode."""
    db = emptied(Database(pgbouncer.url("with_schema")))
    yield db
    db.close()


@pytest.fixture
def pooled_empty(pgbouncer: PgBouncer, postgres_server: PostgresServer) -> Iterator[Database]:
    """A database of its own, without any table, behind PgBouncer."""
    db = Database(pgbouncer.url(postgres_server.fresh()))
    yield db
    db.close()


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with every table and no rows, to be copied."""
    return new_file(tmp_path_factory.mktemp("tables") / "tables.db")


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path, sqlite_tables: Path) -> Iterator[Database]:
    """A database with every table and no rows."""
    if request.param == "sqlite":
        db = Database(f"sqlite:///{shutil.copy(sqlite_tables, tmp_path / 'controlplane.db')}")
    else:
        db = emptied(Database(request.getfixturevalue("postgres_server").url("with_schema")))
    yield db
    db.close()


@pytest.fixture(params=BOTH)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of its own, without any table."""
    if request.param == "sqlite":
        db = Database(f"sqlite:///{tmp_path}/empty.db")
    else:
        server = request.getfixturevalue("postgres_server")
        db = Database(server.url(server.fresh()))
    yield db
    db.close()


@pytest.fixture
def replica(database: Database) -> Iterator[Database]:
    """The same database as another process would open it."""
    db = Database(database.engine.url.render_as_string(hide_password=False))
    yield db
    db.close()


@pytest.fixture
def run_out(database: Database) -> Callable[[str], None]:
    """Return name -> None, which lets a lease's time pass: leases are judged on the database's clock."""

    def let_pass(name: str) -> None:
        with database.transaction() as session:
            session.execute(update(LeaseRow).where(col(LeaseRow.name) == name).values(expires_at=0.0))

    return let_pass
