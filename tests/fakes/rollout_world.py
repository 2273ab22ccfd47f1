"""A fleet of fake Tritons with the real driver, engine, service and database, on a virtual clock."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from sqlmodel import col, select

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.config.models import ModelSection
from controlplane.rollout.announce import Announcer
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.handlers.situation import NOTHING
from controlplane.rollout.model import Check, Evidence, Rollout
from controlplane.rollout.service import RolloutService
from controlplane.rollout.verification import UNTRIED, Verification
from controlplane.store.database import Database
from controlplane.store.migrate import migrate
from controlplane.store.tables.outbox import OutboxRow
from controlplane.traffic.driver import Question
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.triton.driver import TritonDriver
from tests.fakes.migrated import write_migrated
from tests.fakes.triton import FakeTriton

START = 1_000_000.0


BODY = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["hi"]}]}


def asking(requests: int = 3, failures: int = 0, timeout_s: float = 30.0, **check: Any) -> Verification:
    """Return a verification that sends BODY to `infer`."""
    question = Question("infer", BODY, 200, timeout_s)
    return Verification(Check((question,), requests, failures, origin="`verify:` in fleet.yaml", **check))


class VirtualClock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> float:
        return self.time


class World:
    """`async with World(tmp_path) as world`: model `model` on `backends` fake servers, v1 stable."""

    def __init__(
        self,
        folder: Path,
        backends: int = 1,
        verification: Verification = UNTRIED,
        *,
        another: bool = False,
        stored: str = "",
        **options: Any,
    ) -> None:
        """Create the fleet. `another` adds a model of that name on its own server.

        `stored` is SQL from tests/fixtures/databases: the database of another release.
        """
        self._stored = stored
        self._folder, self.verification = folder, verification
        self.evidence = NOTHING
        self._others = [FakeTriton(on_disk=(1, 2, 3))] if another else []
        self.servers = [FakeTriton(on_disk=(1, 2, 3), **options) for _ in range(backends)]
        self.clock = VirtualClock()
        self.observe_only = False

    @property
    def triton(self) -> FakeTriton:
        return self.servers[0]

    async def __aenter__(self) -> Self:
        for server in (*self.servers, *self._others):
            await server.__aenter__()
        self.section = _section("model", self.servers)
        self._sections = {"model": self.section}
        if self._others:
            self._sections["another"] = _section("another", self._others, model="model")
        if self._stored:
            restore(self._folder / "cp.db", self._stored, self.servers[0].url)
            self.db = Database(f"sqlite:///{self._folder}/cp.db")
            migrate(self.db)
        else:
            self.db = Database(write_migrated(self._folder / "cp.db"))
        self._open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for server in (*self.servers, *self._others):
            server.finish_loads()
        await self._close()
        for server in (*self.servers, *self._others):
            await server.__aexit__()
        self.db.close()

    def _open(self) -> None:
        models = self._sections
        drivers = {name: TritonDriver(section, open_session(), timeout_s=2.0) for name, section in models.items()}
        self.driver, self._drivers = drivers["model"], drivers
        self.engine = RolloutEngine(self.db, models, drivers, patience_s=0, look=self._look)
        self.service = RolloutService(self.db, models, drivers, self.clock, observe_only=self.observe_only)
        announcer = Announcer("ops", "http://console")
        self.service.update(models, drivers, {"model": self.verification}, announcer)
        self.engine.update(models, drivers, announcer)

    async def _look(self, rollout: Rollout, since: float, now: float) -> Evidence:
        return self.evidence

    async def crash(self) -> None:
        """Lose all state that is not in the database, and start again."""
        await self._close()
        self.db.close()
        self.db = Database(f"sqlite:///{self._folder}/cp.db")
        self._open()

    async def _close(self) -> None:
        await self.engine.close()
        for driver in self._drivers.values():
            await driver.close()

    async def tick(self, seconds: float = 1.0, *, settle: bool = True) -> str:
        """Let `seconds` pass and tick; `settle` waits for the engines' replies. Return `phase: sentence`."""
        self.clock.time += seconds
        await self.engine.tick(self.clock.now())
        if settle:
            await self.settle()
        return await self.line()

    async def settle(self) -> None:
        """Wait until every call and every question under way has been answered. The next tick reads the answers."""
        if tasks := self.engine.under_way():
            await asyncio.wait(tasks)

    async def line(self) -> str:
        latest = await self.latest()
        return f"{latest.phase}: {latest.sentence}".replace(self.servers[0].url, "A").replace(self.servers[-1].url, "B")

    def told(self) -> list[str]:
        """The notices in the outbox, in order: severity and title."""
        with self.db.reading() as session:
            rows = session.exec(select(OutboxRow).order_by(col(OutboxRow.id))).all()
            return [f"{row.payload['notice']['severity']}: {row.payload['notice']['title']}" for row in rows]

    async def latest(self) -> Rollout:
        views = await self.service.list("model", 1)
        return views[0].rollout

    async def phases(self) -> list[str]:
        """Return the phases of the latest rollout, from its history."""
        view = await self.service.show((await self.latest()).id)
        phases = [event.phase for event in view.events]
        return [p for i, p in enumerate(phases) if i == 0 or phases[i - 1] != p]

    async def finish(self, limit: int = 60) -> Rollout:
        """Tick until the latest rollout has finished."""
        for _ in range(limit):
            await self.tick()
            latest = await self.latest()
            if latest.finished:
                return latest
        raise AssertionError(f"not finished after {limit} ticks: {await self.line()}")

    async def lift(self, version: str = "v2") -> None:
        """Lift the quarantine of a version that was rolled back."""
        await self.service.lift("model", version, actor="ann", reason="it was mended")

    async def promote(self, version: str = "v2", model: str = "model") -> Rollout:
        return await self.service.start(model, version, actor="ann")


def restore(file: Path, stored: str, url: str) -> None:
    """Create a database from SQL, with its engine at `url`."""
    connection = sqlite3.connect(file)
    connection.executescript(stored.replace("http://127.0.0.1:1", url))
    connection.close()


def _section(name: str, servers: Sequence[FakeTriton], **traffic: str) -> ModelSection:
    return ModelSection.model_validate(
        {
            "name": name,
            "stable": "v1",
            "versions": {"v1": {}, "v2": {}, "v3": {}, "v9": {}},
            "traffic": {
                "driver": "triton",
                "backends": [{"url": s.url} for s in servers],
                "load_timeout": "60s",
                "drain_timeout": "30s",
                **traffic,
            },
        }
    )
