"""A fleet of fake Tritons with the real driver, engine, service and database, on a virtual clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.config.model import ModelSection
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.model import Rollout
from controlplane.rollout.service import RolloutService
from controlplane.store.database import Database
from controlplane.traffic.triton import TritonDriver
from controlplane.traffic.triton_api import open_session
from tests.fakes.triton import FakeTriton

START = 1_000_000.0


class VirtualClock:
    """Time that moves only when a test moves it."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> float:
        return self.time


class World:
    """`async with World(tmp_path) as world`: model `model` on `backends` fake servers, v1 stable."""

    def __init__(self, folder: Path, backends: int = 1, **options: Any) -> None:
        self._folder = folder
        self.servers = [FakeTriton(on_disk=(1, 2, 3), **options) for _ in range(backends)]
        self.clock = VirtualClock()
        self.observe_only = False

    @property
    def triton(self) -> FakeTriton:
        return self.servers[0]

    async def __aenter__(self) -> Self:
        for server in self.servers:
            await server.__aenter__()
        self.section = ModelSection.model_validate(
            {
                "name": "model",
                "stable": "v1",
                "versions": {"v1": {}, "v2": {}, "v3": {}, "v9": {}},
                "traffic": {
                    "driver": "triton",
                    "backends": [{"url": s.url} for s in self.servers],
                    "load_timeout": "60s",
                    "drain_timeout": "30s",
                },
            }
        )
        self.db = Database(f"sqlite:///{self._folder}/cp.db")
        SQLModel.metadata.create_all(self.db.engine)
        self._open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for server in self.servers:
            server.finish_loads()
        await self.engine.close()
        await self.driver.close()
        for server in self.servers:
            await server.__aexit__()
        self.db.close()

    def _open(self) -> None:
        models = {"model": self.section}
        self.driver = TritonDriver(self.section, open_session(), timeout_s=2.0)
        drivers = {"model": self.driver}
        self.engine = RolloutEngine(self.db, models, drivers, patience_s=0)
        self.service = RolloutService(self.db, models, drivers, self.clock, observe_only=self.observe_only)

    async def crash(self) -> None:
        """Lose everything that is not in the database, and start again."""
        await self.engine.close()
        await self.driver.close()
        self.db.close()
        self.db = Database(f"sqlite:///{self._folder}/cp.db")
        self._open()

    async def tick(self, seconds: float = 1.0, *, settle: bool = True) -> str:
        """Let `seconds` pass and tick; `settle` waits for the engines' replies. Return `phase: sentence`."""
        self.clock.time += seconds
        await self.engine.tick(self.clock.now())
        if settle:
            await self.engine.settle()
        return await self.line()

    async def line(self) -> str:
        latest = await self.latest()
        return f"{latest.phase}: {latest.sentence}".replace(self.servers[0].url, "A").replace(self.servers[-1].url, "B")

    async def latest(self) -> Rollout:
        views = await self.service.list("model", 1)
        return views[0].rollout

    async def phases(self) -> list[str]:
        """The phases that the latest rollout went through, from its history."""
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

    async def promote(self, version: str = "v2") -> Rollout:
        return await self.service.start("model", version, actor="ann")
