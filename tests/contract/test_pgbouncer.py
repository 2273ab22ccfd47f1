"""Behind a real PgBouncer in transaction mode: every transaction may run in another session of PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import text

from controlplane.errors import Unavailable
from controlplane.store.audit import AuditStore, audit
from controlplane.store.database import Database, Patience
from controlplane.store.lease import LEASE_PATIENCE, LeaseStore
from controlplane.store.migrate import differences, migrate
from tests.fakes.replicas import World

pytestmark = pytest.mark.needs("pgbouncer")

SETTINGS = ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout")


def settings_of(db: Database, *, write: bool) -> list[str]:
    with db.transaction() if write else db.reading() as session:
        return [str(session.execute(text(f"SHOW {name}")).scalar_one()) for name in SETTINGS]


def test_every_transaction_has_its_own_users_settings(pooled: Database) -> None:
    leases, stranger = pooled.apart(LEASE_PATIENCE), pooled.apart(Patience(lock_s=7, idle_s=8, statement_s=9))
    wanted = {pooled: ["10s", "30s", "0"], leases: ["4s", "10s", "4s"], stranger: ["7s", "8s", "9s"]}
    try:
        for number in range(12):
            for db, settings in wanted.items():
                assert settings_of(db, write=bool(number % 2)) == settings
    finally:
        leases.close()
        stranger.close()


def test_nothing_that_a_transaction_set_is_left_to_a_stranger(pooled: Database, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("pgbouncer").folder
    stranger = psycopg.connect(host=str(folder), port=6432, user="postgres", dbname="with_schema", autocommit=True)
    with stranger:
        for number in range(12):
            settings_of(pooled, write=bool(number % 2))
            found = [stranger.execute(f"SHOW {name}").fetchone() for name in SETTINGS]
            assert found == [("0",), ("0",), ("0",)]


def test_the_same_statement_runs_again_and_again_in_whichever_session(pooled: Database) -> None:
    def write(number: int) -> None:
        with pooled.transaction() as session:
            audit(session, "ops", str(number), "model/chat", "", 1.0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(64)))
    assert {entry.action for entry in AuditStore(pooled).recent(100)} == {str(number) for number in range(64)}


def test_a_statement_that_takes_too_long_for_a_lease_is_ended(pooled: Database) -> None:
    hasty = pooled.apart(LEASE_PATIENCE._replace(statement_s=1))
    with pytest.raises(Unavailable, match="statement timeout"), hasty.transaction() as session:
        session.execute(text("SELECT pg_sleep(60)"))
    hasty.close()


def test_a_lease_is_renewed_while_every_other_connection_is_busy(pooled: Database) -> None:
    narrow = pooled.apart(Patience(connections=1, more=0, connection_s=1))
    apart = narrow.apart(LEASE_PATIENCE)
    leases = LeaseStore(apart)
    lease = leases.acquire("rules", "a", 60)
    assert lease is not None
    with narrow.transaction() as session:
        narrow.now(session)
        with pytest.raises(Unavailable, match="every connection is in use"):
            LeaseStore(narrow).renew(lease, 60)
        leases.renew(lease, 60)
    apart.close()
    narrow.close()


def test_migrations_run(pooled_empty: Database) -> None:
    migrate(pooled_empty)
    assert differences(pooled_empty) == []


async def test_two_replicas_agree_and_fail_over(pooled: Database) -> None:
    world = World(pooled)
    one, two = await world.start("one"), await world.start("two")
    await world.run(20, 91)
    for expr in ("temp:max", "ALERTS", "ALERTS_FOR_STATE"):
        assert await one.value(expr) == await two.value(expr) != []
    one.runs = False
    await world.run(40, 91)
    assert (world.holder(), world.told()) == ("two", ["firing"])
    await world.close()
