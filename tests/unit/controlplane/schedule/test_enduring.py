"""A loop that goes on under its last lease while the database does not say who holds it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest

from controlplane.errors import LeaseLost, Unavailable
from controlplane.schedule import EnduringLoop
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore
from tests.patience import HANG_S


class Leases(LeaseStore):
    """Leases of a database that can be away, or not answer."""

    def __init__(self, db: Database, clock: Callable[[], float]) -> None:
        super().__init__(db, clock)
        self.away = False
        self.answers = threading.Event()
        self.answers.set()
        self.asked = 0

    def renew(self, lease: Lease, ttl_s: float) -> None:
        self._ask()
        super().renew(lease, ttl_s)

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        self._ask()
        return super().acquire(name, holder, ttl_s)

    def _ask(self) -> None:
        self.asked += 1
        assert self.answers.wait(60)
        if self.away:
            raise Unavailable("the database is away")


class Ticks:
    def __init__(self, database: Database, clock: Any, holder: str = "a") -> None:
        self.seconds = 0.0
        self.leases = Leases(database, lambda: self.seconds)
        self.epochs: list[int] = []
        self.lost = False
        self.followed = 0
        self.loop = EnduringLoop("rules", 1, self.leases, holder, 15, self._tick, clock, follow=self._follow)

    async def _follow(self) -> None:
        self.followed += 1

    async def _tick(self, lease: Lease) -> None:
        self.epochs.append(lease.epoch)
        if self.lost:
            raise LeaseLost("another process took it over")


async def test_it_goes_on_while_the_database_is_away_and_says_so_once(
    database: Database, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = Ticks(database, clock)
    await ticks.loop.run_once()
    ticks.leases.away = True
    for _ in range(3):
        await ticks.loop.run_once()
    assert ticks.epochs == [1, 1, 1, 1]
    assert (ticks.loop.stats.holding, ticks.loop.stats.last_error) == (True, None)
    assert ticks.loop.holds_lease
    ticks.seconds += 15
    assert not ticks.loop.holds_lease, "past its deadline another process may hold the lease"
    ticks.leases.away = False
    await ticks.loop.run_once()
    assert ticks.loop.holds_lease
    said = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert said == ["loop rules: its lease cannot be renewed, and it goes on without: the database is away"]
    assert ticks.epochs == [1] * 5


async def test_it_does_not_begin_without_the_database(database: Database, clock: Any) -> None:
    ticks = Ticks(database, clock)
    ticks.leases.away = True
    await ticks.loop.run_once()
    assert (ticks.epochs, ticks.followed) == ([], 1), "it observes"
    assert ticks.loop.stats.last_error == "Unavailable: the database is away"


async def test_a_database_that_never_answered_keeps_nobody_from_following(database: Database, clock: Any) -> None:
    ticks = Ticks(database, clock)
    ticks.leases.answers.clear()
    for _ in range(2):
        await ticks.loop.run_once()
    assert (ticks.epochs, ticks.followed, ticks.leases.asked) == ([], 2, 1)
    ticks.leases.answers.set()
    while not ticks.epochs:
        await ticks.loop.run_once()
    assert ticks.epochs == [1]


async def test_who_follows_says_once_that_the_database_is_away_however_slowly_it_says_so(
    database: Database, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = Ticks(database, clock)
    caplog.set_level("INFO", "controlplane.schedule")
    ticks.leases.away = True
    await ticks.loop.run_once()
    for asked in range(2, 4):
        ticks.leases.answers.clear()
        await ticks.loop.run_once()
        assert ticks.leases.asked == asked, "the answer is late"
        ticks.leases.answers.set()
        await ticks.loop.run_once()
    assert caplog.messages == ["loop rules: Unavailable: the database is away"]
    assert ticks.followed == ticks.loop.stats.failures
    ticks.leases.away = False
    await ticks.loop.run_once()
    assert caplog.messages[1:] == [
        "loop rules: a holds its lease (epoch 1)",
        "loop rules: its lease can be asked for again",
        "loop rules works again",
    ]


async def test_a_database_that_does_not_answer_holds_no_turn_up(database: Database, clock: Any) -> None:
    ticks = Ticks(database, clock)
    await ticks.loop.run_once()
    ticks.leases.answers.clear()
    for _ in range(3):
        await ticks.loop.run_once()
    assert ticks.epochs == [1, 1, 1, 1]
    assert ticks.leases.asked == 2, "one question at a time"
    ticks.leases.answers.set()
    await ticks.loop.run_once()
    assert ticks.epochs == [1] * 5


async def test_a_lease_that_ran_out_meanwhile_is_a_new_tenure(
    database: Database, clock: Any, run_out: Callable[[], None]
) -> None:
    ticks = Ticks(database, clock)
    await ticks.loop.run_once()
    ticks.leases.away = True
    await ticks.loop.run_once()
    ticks.leases.away = False
    run_out()
    await ticks.loop.run_once()
    assert ticks.epochs == [1, 1, 2]


async def test_it_stops_when_the_database_says_that_another_took_over(
    database: Database, clock: Any, run_out: Callable[[], None]
) -> None:
    ticks, other = Ticks(database, clock), Ticks(database, clock, "b")
    await ticks.loop.run_once()
    ticks.leases.away = True
    await ticks.loop.run_once()
    run_out()
    await other.loop.run_once()
    ticks.leases.away = False
    await ticks.loop.run_once()
    assert (ticks.epochs, other.epochs) == ([1, 1], [2])
    assert (ticks.loop.stats.holding, ticks.loop.stats.skipped, ticks.followed) == (False, 1, 1)


async def test_a_tick_that_finds_its_lease_lost_gives_it_up(database: Database, clock: Any) -> None:
    ticks = Ticks(database, clock)
    ticks.lost = True
    await ticks.loop.run_once()
    assert not ticks.loop.stats.holding


async def test_closing_waits_for_no_answer_and_frees_the_lease(database: Database, clock: Any) -> None:
    ticks = Ticks(database, clock)
    await ticks.loop.run_once()
    ticks.leases.answers.clear()
    await ticks.loop.run_once()
    closing = asyncio.create_task(ticks.loop.close())
    await asyncio.wait({closing}, timeout=HANG_S)
    assert closing.done()
    ticks.leases.answers.set()
    assert [status.holder for status in LeaseStore(database).list()] == [""]


async def test_a_real_lock_on_a_real_file_holds_no_turn_up(database: Database, clock: Any) -> None:
    ticks = Ticks(database, clock)
    await ticks.loop.run_once()
    other = sqlite3.connect(str(database.engine.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        await ticks.loop.run_once()
    assert ticks.epochs == [1, 1, 1, 1]
    other.execute("ROLLBACK")
    other.close()
    await ticks.loop.run_once()
    assert ticks.epochs == [1] * 5
