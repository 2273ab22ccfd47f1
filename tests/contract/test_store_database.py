"""Transactions: all or nothing, snapshots for readers, foreign errors in our own words."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from controlplane.errors import ConfigError, Conflict, Unavailable
from controlplane.store.audit import AuditStore, audit
from controlplane.store.database import Database
from controlplane.store.migrate import migrate
from controlplane.store.tables.lease import LeaseRow
from tests.contract.conftest import PostgresServer


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError, match="half way"), database.transaction() as session:
        audit(session, "ops", "rollout.start", "model/chat", "v1 to v2", 1.0)
        session.flush()
        raise RuntimeError("half way")

    assert AuditStore(database).recent(10) == []


def test_a_reader_neither_waits_for_a_writer_nor_sees_its_half_done_work(database: Database) -> None:
    with database.transaction() as session:
        audit(session, "ops", "a", "model/chat", "", 1.0)
        session.flush()
        assert AuditStore(database).recent(10) == []
    assert len(AuditStore(database).recent(10)) == 1


def test_a_reader_keeps_one_snapshot(database: Database) -> None:
    count = text("SELECT count(*) FROM audit")
    with database.reading() as reader:
        assert reader.execute(count).scalar_one() == 0
        with database.transaction() as session:
            audit(session, "ops", "a", "model/chat", "", 1.0)
        assert reader.execute(count).scalar_one() == 0


def test_a_reader_cannot_write_and_leaves_the_connection_writable(database: Database) -> None:
    for _ in range(3):
        with pytest.raises((Unavailable, DBAPIError)), database.reading() as session:
            audit(session, "ops", "a", "model/chat", "", 1.0)
        with database.transaction() as session:
            audit(session, "ops", "a", "model/chat", "", 1.0)

    assert len(AuditStore(database).recent(10)) == 3


def test_a_look_cannot_write_and_a_change_without_a_session_is_a_transaction(database: Database) -> None:
    free, held = (text(f"SELECT name FROM lease WHERE holder {how} ''") for how in ("=", "<>"))
    fresh = text("INSERT INTO lease (name, holder, epoch, expires_at) VALUES (:name, :holder, 1, 0)")
    assert database.first(free) is None
    with pytest.raises((Unavailable, DBAPIError)):
        database.first(fresh, name="a", holder="")
    with pytest.raises(RuntimeError), database.changing() as connection:
        connection.execute(fresh, {"name": "a", "holder": ""})
        raise RuntimeError
    with pytest.raises(Conflict), database.changing() as connection:
        connection.execute(fresh, [{"name": "a", "holder": ""}] * 2)
    with database.changing() as connection:
        connection.execute(fresh, {"name": "b", "holder": "p1"})

    assert database.first(free) is None
    assert database.first(held) == ("b",)


def test_a_broken_constraint_is_a_conflict(database: Database) -> None:
    for attempt in range(2):
        if attempt:
            with pytest.raises(Conflict, match="refused the change"), database.transaction() as session:
                session.add(LeaseRow(name="rules", holder="b", epoch=1, expires_at=0))
        else:
            with database.transaction() as session:
                session.add(LeaseRow(name="rules", holder="a", epoch=1, expires_at=0))


def test_writers_queue_instead_of_failing(database: Database) -> None:
    def write(number: int) -> None:
        with database.transaction() as session:
            audit(session, "ops", str(number), "model/chat", "", 1.0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(64)))

    assert {e.action for e in AuditStore(database).recent(100)} == {str(n) for n in range(64)}


def test_the_clock_is_the_databases_own_and_moves_on(database: Database) -> None:
    with database.transaction() as session:
        first = database.now(session)
        second = database.now(session)

    assert 1.7e9 < first <= second < 1e11


@pytest.mark.needs("postgres")
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_postgres_transaction_of_a_stopped_process_does_not_keep_its_locks(database: Database) -> None:
    with database.reading() as session:
        assert session.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "30s"
        assert session.execute(text("SHOW lock_timeout")).scalar_one() == "10s"


@pytest.mark.parametrize(
    "part", ["cp:SECRET@127.0.0.1:1/cp", "cp@127.0.0.1:1/cp?password=SECRET", "127.0.0.1:1/cp?sslpassword=SECRET"]
)
def test_the_place_of_a_database_names_no_password(part: str) -> None:
    place = Database(f"postgresql+psycopg://{part}").place
    assert "SECRET" not in place
    assert "127.0.0.1:1/cp" in place


def test_an_unreachable_database_is_unavailable_and_names_no_password(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/no/such/folder/x.db", f"postgresql+psycopg://cp:hunter2@/x?host={tmp_path}"):
        db = Database(url)
        with pytest.raises(Unavailable) as raised, db.transaction() as session:
            db.now(session)
        assert "hunter2" not in str(raised.value)
        assert str(tmp_path) in str(raised.value)
        db.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "name a file"),
        ("mysql://db/x", "mysql is not supported"),
        ("fleet.db", "expected sqlite:///<file>"),
    ],
)
def test_other_urls_are_refused_with_the_cure(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Database(url)


@pytest.mark.parametrize("damage", [b"\x17" * 4096, b"SQLite format 3\0" + b"\xff" * 4080])
def test_a_damaged_file_is_said_in_words(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "controlplane.db"
    path.write_bytes(damage)
    db = Database(f"sqlite:///{path}")
    try:
        with pytest.raises(Unavailable, match=r"controlplane\.db: .*(put a backup in its place|malformed)"):
            migrate(db)
    finally:
        db.close()


@pytest.mark.needs("postgres")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("ALTER DATABASE {name} SET default_transaction_read_only = on", "in a read-only transaction"),
        ("ALTER DATABASE {name} SET role = pg_monitor", "permission denied"),
    ],
)
def test_a_database_that_refuses_writes_is_unavailable(
    postgres_server: PostgresServer, change: str, sentence: str
) -> None:
    name = postgres_server.fresh()
    database = Database(postgres_server.url(name))
    migrate(database)
    postgres_server.execute(change.format(name=name))
    database.close()  # the next connections are as after a failover
    with pytest.raises(Unavailable, match=sentence), database.transaction() as session:
        audit(session, "ops", "a", "model/chat", "", 1.0)
    database.close()


@pytest.mark.needs("postgres")
def test_a_database_without_an_encoding_stores_text_as_utf8(postgres_server: PostgresServer) -> None:
    postgres_server.execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    database = Database(postgres_server.url("ascii"))
    migrate(database)
    with database.transaction() as session:
        audit(session, "运维", "a", "model/chat", "", 1.0)
    assert AuditStore(database).recent(1)[0].actor == "运维"
    database.close()


def test_a_missing_driver_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError) as refused:
        Database("postgresql+psycopg://cp@127.0.0.1/cp")
    assert str(refused.value) == (
        "database: PostgreSQL needs psycopg, which is not installed; install the package with its extra: "
        "pip install '.[postgres]'"
    )
