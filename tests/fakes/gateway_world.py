"""Models behind gateways: fake engines, the real driver, store, engine and service of rollouts, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from controlplane.app.gateways import StoredGateways
from controlplane.config.model import Fleet
from controlplane.fleet.desired import DesiredSource
from controlplane.gateway.desired.document import ModelSpec
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.files import VersionFiles
from controlplane.rollout.findings import WorkKind
from controlplane.rollout.handlers.situation import NOTHING
from controlplane.rollout.model import Evidence, Rollout
from controlplane.rollout.planning.planner import Planner
from controlplane.rollout.service import RolloutService
from controlplane.rollout.verification import UNTRIED, Verification
from controlplane.rollout.workers import Worker
from controlplane.store.assignments import AssignmentStore
from controlplane.store.database import Database
from controlplane.store.gateways import GatewayStore, ModelReport, Report
from controlplane.store.rollout_log import RolloutLog
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.gateway.driver import GatewayDriver
from tests.fakes.migrated import write_migrated
from tests.fakes.openai_server import OpenAiServer
from tests.fakes.rollout_world import VirtualClock
from tests.fakes.triton import FakeTriton


class SimGateway:
    """One gateway: it applies the desired state when it looks, splits requests by weight, and reports."""

    def __init__(self, db: Database, source: DesiredSource, name: str) -> None:
        self._store, self._source, self.name = GatewayStore(db), source, name
        self.follows = True
        """Whether it applies new states."""
        self.reports = True
        self.incarnation = "i-1"
        self.open: dict[str, int] = {}
        self._model: ModelSpec | None = None
        self._requests: dict[str, int] = {}

    def step(self, requests: int) -> None:
        """Look for a new state, serve requests and report."""
        if self.follows:
            (model,) = self._source.make().models
            if self._model is None or model.generation != self._model.generation:
                self._requests = {}
            self._model = model
        assert self._model is not None
        for version in self._model.versions:
            got = requests * version.weight // 1000
            if got:
                self._requests[version.name] = self._requests.get(version.name, 0) + got
        if self.reports:
            self.report()

    def report(self, *, leaving: bool = False) -> None:
        """Store a report."""
        assert self._model is not None
        chat = ModelReport(self._model.generation, dict(self._requests), dict(self.open))
        report = Report(self.name, self.incarnation, "1", "127.0.0.1:1", 1, True, "r", {"chat": chat})
        self._store.report(report, leaving=leaving)

    def restart(self) -> None:
        """Start anew from the state on its disk: counts begin at zero."""
        self.incarnation, self._requests = f"{self.incarnation}+", {}


class GatewayWorld:
    """`async with GatewayWorld(tmp_path) as world`: model `chat`, v1 stable, v2 and v3 at hand.

    Each version has a server with OpenAI's API; with `triton`, one Triton serves all of them.
    """

    def __init__(
        self,
        folder: Path,
        gateways: int = 1,
        verification: Verification = UNTRIED,
        *,
        triton: bool = False,
        requests: int = 200,
        rollout: dict[str, Any] | None = None,
        shared: dict[str, Any] | None = None,
        workers: Callable[[GatewayWorld], Mapping[WorkKind, Worker]] = lambda world: {},
        files: Callable[[GatewayWorld], VersionFiles | None] = lambda world: None,
        places: str | None = None,
    ) -> None:
        """`requests` is the number that each gateway serves in a tick.

        `rollout` is the model's section of that name, `shared` the fleet's `rollouts:`, and `workers` makes the workers
        of their works. `places` is the model's `files:`, and `files` reads them.
        """
        self._make_files, self._places = files, places
        self._rollout, self._shared, self._workers = rollout, shared or {}, workers
        self._folder, self._count, self.verification = folder, gateways, verification
        self.engines = {version: OpenAiServer("llama") for version in ("v1", "v2", "v3")}
        self.triton = FakeTriton(on_disk=(1, 2, 3)) if triton else None
        self.clock, self.requests, self.evidence = VirtualClock(), requests, NOTHING

    async def __aenter__(self) -> Self:
        for engine in self.engines.values():
            await engine.__aenter__()
        if self.triton:
            await self.triton.__aenter__()
        self.fleet = Fleet.model_validate({"fleet": {"name": "a"}, "models": [self._model()], "rollouts": self._shared})
        self.section = self.fleet.models[0]
        self.db = Database(write_migrated(self._folder / "cp.db"))
        self._open()
        source = DesiredSource(self.db, lambda: self.fleet)
        self.gateways = [SimGateway(self.db, source, f"g{n + 1}") for n in range(self._count)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.triton:
            self.triton.finish_loads()
        await self._close()
        for engine in self.engines.values():
            await engine.__aexit__()
        if self.triton:
            await self.triton.__aexit__()
        self.db.close()

    async def crash(self) -> None:
        """Lose all state that is not in the database, and start again."""
        await self._close()
        self._open()

    async def tick(self, seconds: float = 1.0) -> str:
        """Let the gateways work, let `seconds` pass and tick. Return `phase: sentence` of the newest rollout."""
        for gateway in self.gateways:
            gateway.step(self.requests)
        self.clock.time += seconds
        await self.engine.tick(self.clock.now())
        if tasks := self.engine.under_way():
            await asyncio.wait(tasks)
        return await self.line()

    async def timeline(self, most: int = 60, seconds: float = 1.0) -> list[str]:
        """Tick until the rollout ends, and return the lines that differ."""
        lines: list[str] = []
        for _ in range(most):
            line = await self.tick(seconds)
            lines += [line] if not lines or lines[-1] != line else []
            if (await self.latest()).finished:
                return lines
        raise AssertionError("\n".join(lines))

    async def line(self) -> str:
        found = await self.service.list(limit=1)
        return f"{found[0].rollout.phase}: {found[0].rollout.sentence}" if found else "no rollout"

    async def latest(self) -> Rollout:
        (newest,) = await self.service.list(limit=1)
        return newest.rollout

    async def history(self) -> list[str]:
        shown = await self.service.show((await self.latest()).id)
        return [f"{event.phase}: {event.sentence}" for event in shown.events]

    async def start(self, version: str = "v2", strategy: str = "blue-green", **request: Any) -> Rollout:
        """Let the gateways report, so that they are live, and start a rollout. `request` is passed to the service."""
        for gateway in self.gateways:
            gateway.step(0)
        return await self.service.start("chat", version, strategy, **{"actor": "ann", **request})

    def weights(self) -> dict[str, int]:
        """The assigned thousandths; {} before the first assignment."""
        assignment = AssignmentStore(self.db).get("chat")
        return dict(assignment.weights) if assignment else {}

    def copies(self) -> dict[str, int]:
        """The assigned thousandths of copies."""
        assignment = AssignmentStore(self.db).get("chat")
        return dict(assignment.mirror) if assignment else {}

    def stable(self) -> str:
        record = RolloutLog(self.db).model("chat")
        assert record is not None
        return record.stable

    def drift(self) -> str:
        record = RolloutLog(self.db).model("chat")
        return record.drift if record else ""

    def _model(self) -> dict[str, Any]:
        if self.triton:
            traffic: dict[str, Any] = {"driver": "gateway", "model": "model", "backends": [{"url": self.triton.url}]}
            versions: dict[str, Any] = {"v1": {}, "v2": {}, "v3": {}}
        else:
            traffic = {"driver": "gateway", "model": "llama"}
            versions = {v: {"backends": [{"url": e.url, "engine": "vllm"}]} for v, e in self.engines.items()}
        traffic |= {"load_timeout": "60s", "drain_timeout": "30s"}
        model: dict[str, Any] = {"name": "chat", "stable": "v1", "traffic": traffic, "versions": versions}
        model |= {} if self._places is None else {"files": self._places}
        return model if self._rollout is None else {**model, "rollout": self._rollout}

    def _open(self) -> None:
        models = {"chat": self.section}
        stored = StoredGateways(self.db, lambda: self.fleet, self.clock)
        self.driver = GatewayDriver(self.section, open_session(), stored, timeout_s=2.0)
        self.planner = Planner(RolloutLog(self.db), self.clock, files=self._make_files(self))
        workers = self._workers(self)
        self.engine = RolloutEngine(
            self.db,
            models,
            {"chat": self.driver},
            patience_s=0,
            look=self._look,
            workers=workers,
            holds=self.planner.hold,
        )
        kinds = workers.keys() or frozenset(WorkKind)
        self.service = RolloutService(
            self.db, models, {"chat": self.driver}, self.clock, workers=kinds, planner=self.planner
        )
        shared = self.fleet.rollouts
        self.service.update(models, {"chat": self.driver}, {"chat": self.verification}, shared=shared)

    async def _look(self, rollout: Rollout, since: float, now: float) -> Evidence:
        return self.evidence

    async def _close(self) -> None:
        await self.engine.close()
        await self.driver.close()
