"""A PostgreSQL that takes connections and statements, and answers nothing."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from alerts.dispatch import Picture
from alerts.interfaces import AlertInstance, AlertState
from collectors.samples import labels_of
from controlplane.errors import Unavailable
from controlplane.schedule.factory import TTL_S
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.backlog import Backlog, EnduringAlertLog, write_back
from controlplane.store.database import Database, Patience
from controlplane.store.lease import LEASE_PATIENCE
from controlplane.store.migrate import migrate
from tests.contract.conftest import PostgresServer
from tests.fakes.silent_postgres import SilentPostgres, silent_postgres
from tests.patience import HANG_S

pytestmark = pytest.mark.needs("postgres")
PATIENCE = Patience(connections=2, more=0, connect_s=2, answer_s=3)
"""Long enough for what a busy server answers."""


class Clock:
    def now(self) -> float:
        return 1000.0


@pytest.fixture
def relay(postgres_server: PostgresServer) -> Iterator[SilentPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="cp-silent-"))  # a socket's path must be short
    with silent_postgres(folder, postgres_server.folder) as made:
        yield made
    shutil.rmtree(folder)


@pytest.fixture
def silenced(relay: SilentPostgres, postgres_server: PostgresServer) -> Iterator[Database]:
    """A database whose connections stand already when it falls silent."""
    db = Database(relay.url(postgres_server.fresh()), PATIENCE)
    migrate(db)
    SqlAlertLog(db).record("r", (), ())
    yield db
    relay.talks.set()
    db.close()


def ask(db: Database) -> int:
    with db.transaction() as session:
        return int(session.connection().execute(text("SELECT 7")).scalar_one())


async def in_time(db: Database) -> str:
    """Return what a question is answered with."""
    async with asyncio.timeout(HANG_S):
        try:
            return str(await asyncio.to_thread(ask, db))
        except Unavailable as error:
            return str(error)


async def test_a_question_is_given_up_and_the_next_ones_are_answered(silenced: Database, relay: SilentPostgres) -> None:
    assert await in_time(silenced) == "7"
    relay.talks.clear()
    # The connection that stood is given up, and none is made in its place.
    assert [(await in_time(silenced)).split(": ")[-1] for _ in range(2)] == ["connection timeout expired"] * 2
    relay.talks.set()
    assert [await in_time(silenced) for _ in range(4)] == ["7"] * 4


async def test_a_server_that_works_long_is_not_given_up_where_nobody_set_a_limit(relay: SilentPostgres) -> None:
    db = Database(relay.url("postgres"), PATIENCE._replace(answer_s=0))
    with db.transaction() as session:
        assert session.connection().execute(text("SELECT pg_sleep(3.5)")).rowcount == 1
    limited = Database(relay.url("postgres"), PATIENCE)
    with pytest.raises(Unavailable, match="did not answer within 3 s"), limited.transaction() as session:
        session.connection().execute(text("SELECT pg_sleep(60)"))
    assert ask(limited) == 7
    db.close()
    limited.close()


async def test_alert_states_go_on_in_memory_and_are_written_once(silenced: Database, relay: SilentPostgres) -> None:
    hot = AlertInstance("r", labels_of({"alertname": "Hot"}), (), AlertState.PENDING, 91.0, 990.0)
    backlog, stored = Backlog(Clock()), SqlAlertLog(silenced)
    backlog.read(Picture(), (), 1000.0)
    alerts = EnduringAlertLog(stored, backlog)
    relay.talks.clear()
    async with asyncio.timeout(HANG_S):
        await asyncio.to_thread(alerts.record, "r", (hot,), ())
    assert backlog.paused
    assert alerts.load("r") == (hot,)
    relay.talks.set()
    async with asyncio.timeout(HANG_S):
        while not await asyncio.to_thread(write_back, silenced, backlog, lambda: None, "me"):
            pass
    assert list(stored.load("r")) == [hot]


def test_a_lease_is_asked_for_again_before_it_runs_out() -> None:
    assert 0 < LEASE_PATIENCE.answer_s <= TTL_S / 3
    assert Patience().answer_s > 0
    assert Patience().answer_s > Patience().lock_s, "a wait for a lock ends with PostgreSQL's own words"
