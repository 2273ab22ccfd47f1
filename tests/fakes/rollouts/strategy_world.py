"""A fleet in memory with the real engine, service and database, on a virtual clock. Its people and workers are kind."""

from __future__ import annotations

import asyncio
import copy
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.config.models import ModelSection
from controlplane.rollout.announce import Announcer
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.handlers.situation import NOTHING
from controlplane.rollout.model import Evidence, Rollout
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.running.turns import MOST
from controlplane.rollout.service import RolloutService
from controlplane.rollout.verification import Verification
from controlplane.rollout.wishes import Wait, WaitKind
from controlplane.store.database import Database
from controlplane.traffic.driver import Capabilities
from tests.fakes.rollout_world import VirtualClock, asking
from tests.fakes.rollouts.memory_driver import SPLITS, MemoryDriver


class KindWorker:
    """A worker for every kind of work. It passes, unless the test says otherwise, and logs what it did."""

    def __init__(self) -> None:
        self.done: list[tuple[WorkKind, str, int, int]] = []
        """Kind, name, step and number of each work, in order."""
        self.outcomes: dict[tuple[WorkKind, str], Finding] = {}
        self.hangs: set[WorkKind] = set()
        self.before: list[Finding | None] = []

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """Return the finding of the test for this work, else PASS."""
        self.done.append((work.kind, work.name, work.step, work.number))
        self.before.append(before)
        if work.kind in self.hangs:
            await asyncio.Event().wait()
        passed = Finding(Outcome.PASS, (f"{work.kind} is fine",), carry=f"{work.number}")
        return self.outcomes.get((work.kind, work.name), passed)


def empty_database(file: Path) -> Path:
    """Create a database file with the tables and no rows."""
    db = Database(f"sqlite:///{file}")
    SQLModel.metadata.create_all(db.engine)
    db.close()
    return file


class Snapshot(NamedTuple):
    """All that outlives a control plane that dies at one moment, as a copy."""

    database: Path
    drivers: Mapping[str, MemoryDriver]
    worker: KindWorker
    time: float


class StrategyWorld:
    """`async with StrategyWorld(tmp_path) as world`: model `m` with stable version v1."""

    def __init__(
        self,
        folder: Path,
        *,
        capabilities: Capabilities = SPLITS,
        backends: int = 1,
        rollout: Mapping[str, Any] | None = None,
        verification: Verification | None = None,
        models: int = 1,
        empty: Path | None = None,
        most_steps: int = MOST,
    ) -> None:
        """`rollout` is the model's section of that name in fleet.yaml. `most_steps` is that of the engine.

        `empty` is a database file with the tables and no rows, to begin with a copy of it.
        """
        self._empty, self._most_steps = empty, most_steps
        self._folder, self.verification = folder, verification or asking(1)
        names = ["m", *(f"m{number}" for number in range(1, models))]
        self.drivers = {name: MemoryDriver(name, capabilities, backends) for name in names}
        self.sections = {name: _section(name, 10 * n, backends, rollout or {}) for n, name in enumerate(names)}
        self.worker, self.clock, self.evidence = KindWorker(), VirtualClock(), NOTHING
        self.hold: Wait | None = None
        self.helps = True
        """Whether people approve and resume what waits for them."""

    @property
    def driver(self) -> MemoryDriver:
        """The driver of model `m`."""
        return self.drivers["m"]

    def snapshot(self, file: Path) -> Snapshot:
        """Return what would be left if the control plane died now. Its database goes to `file`."""
        with closing(sqlite3.connect(self._folder / "cp.db")) as held, closing(sqlite3.connect(file)) as copied:
            held.backup(copied)
        return Snapshot(file, *copy.deepcopy((self.drivers, self.worker)), self.clock.time)

    def resume(self, snapshot: Snapshot) -> Self:
        """Begin, when this world is entered, with a control plane that starts after one that died."""
        self._empty = snapshot.database
        self.drivers, self.worker = copy.deepcopy((dict(snapshot.drivers), snapshot.worker))
        self.clock.time = snapshot.time
        return self

    async def __aenter__(self) -> Self:
        if self._empty is not None:
            shutil.copy(self._empty, self._folder / "cp.db")
        self.db = Database(f"sqlite:///{self._folder}/cp.db")
        if self._empty is None:
            SQLModel.metadata.create_all(self.db.engine)
        self._open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.engine.close()
        self.db.close()

    def _open(self) -> None:
        workers = dict.fromkeys(WorkKind, self.worker)
        self.engine = RolloutEngine(
            self.db,
            self.sections,
            self.drivers,
            patience_s=0,
            look=self._look,
            workers=workers,
            holds=self._holds,
            most_steps=self._most_steps,
        )
        self.service = RolloutService(self.db, self.sections, self.drivers, self.clock)
        announcer = Announcer("ops", "http://console")
        self.service.update(self.sections, self.drivers, dict.fromkeys(self.sections, self.verification), announcer)
        self.engine.update(self.sections, self.drivers, announcer)

    async def _look(self, rollout: Rollout, since: float, now: float) -> Evidence:
        return self.evidence

    def _holds(self, rollout: Rollout, now: float) -> Wait | None:
        return self.hold

    async def crash(self) -> None:
        """Lose all state that is not in the database, and start again."""
        await self.engine.close()
        self.db.close()
        self.db = Database(f"sqlite:///{self._folder}/cp.db")
        self._open()

    async def promote(self, strategy: str = "", model: str = "m", **options: Any) -> Rollout:
        """Start a promotion to v2. `options` are a part of the model's section `rollout:`."""
        overrides = Overrides(section=options) if options else Overrides()
        return await self.service.start(model, "v2", strategy, overrides=overrides, actor="ann", role="admin")

    async def tick(self, seconds: float = 1.0, *, settle: bool = True) -> str:
        """Let people help, let `seconds` pass, and tick. Return `phase: sentence`."""
        if self.helps:
            await self.help(await self.latest())
        await self.advance(seconds)
        if settle:
            await self.settle()
        latest = await self.latest()
        return f"{latest.phase}: {latest.sentence}"

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, and let the engine tick."""
        self.clock.time += seconds
        await self.engine.tick(self.clock.now())

    async def settle(self) -> None:
        """Wait until all that is under way has been answered. The next tick reads the answers."""
        hanging = self.worker.hangs
        tasks = [task for task in self.engine.under_way() if not any(kind in task.get_name() for kind in hanging)]
        if tasks:
            await asyncio.wait(tasks)

    async def help(self, latest: Rollout) -> None:
        """Approve or resume a rollout that waits for people."""
        if latest.finished or latest.wait is None:
            return
        if latest.wait.kind is WaitKind.APPROVAL:
            for person in ("bob", "eve"):
                await self.service.approve(latest.id, actor=person, role="admin")
        elif latest.wait.kind is WaitKind.OPERATOR:
            await self.service.resume(latest.id, actor="bob", role="admin")

    async def latest(self, model: str = "m") -> Rollout:
        """Return the newest rollout."""
        return (await self.service.list(model, 1))[0].rollout

    async def finish(self, limit: int = 200, each: Callable[[str], None] = lambda line: None) -> Rollout:
        """Tick until the rollout has finished."""
        for _ in range(limit):
            each(await self.tick())
            latest = await self.latest()
            if latest.finished:
                return latest
        raise AssertionError(f"not finished after {limit} ticks: {latest.phase}: {latest.sentence}")


def _section(name: str, first: int, backends: int, rollout: Mapping[str, Any]) -> ModelSection:
    return ModelSection.model_validate(
        {
            "name": name,
            "stable": "v1",
            "versions": {"v1": {}, "v2": {}, "v3": {}},
            "traffic": {
                "driver": "triton",
                "backends": [{"url": f"http://127.0.0.1:{first + number + 1}"} for number in range(backends)],
                "load_timeout": "60s",
                "drain_timeout": "30s",
            },
            "rollout": dict(rollout),
        }
    )
