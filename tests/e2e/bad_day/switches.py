"""The rollouts of the day, carried out by the product's own engine on a clock of the past. Looks read the samples."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.config.loader import LoadedFleet
from controlplane.config.models import ModelSection
from controlplane.metrics.query.queries import Queries
from controlplane.rollout.announce import Announcer
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.findings import WorkKind
from controlplane.rollout.model import Phase, Rollout
from controlplane.rollout.running.watching import Watch
from controlplane.rollout.service import RolloutService
from controlplane.rollout.verification import UNTRIED
from controlplane.rollout.wishes import WaitKind
from controlplane.rollout.work.look import LookWorker
from controlplane.store.assignments import AssignmentStore
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStore
from controlplane.store.rollout_rows.records import ModelMark
from controlplane.traffic.gateway.driver import GATEWAY
from tests.e2e.bad_day.story import CANARY_S, LIVE_CANARY_S, PAUSED_S
from tests.fakes.rollout_world import VirtualClock
from tests.fakes.rollouts.memory_driver import SPLITS, SWAPS, Backend, MemoryDriver

TICK_S = 20.0
HOUR_S = 3600.0
CONSOLE = "https://console.example.org"


STILL_RUN = ("translate", "chat")


class _Always(Watch):
    """Holds that somebody has watched all the time: the ticks of the past are far apart."""

    def caught_up(
        self, rollouts: Mapping[str, Rollout], marks: Mapping[str, ModelMark], now: float
    ) -> dict[str, Rollout]:
        """Return the rollouts as they are."""
        super().caught_up(rollouts, marks, now)
        return dict(rollouts)


class Past:
    """The rollouts of one model at a time of the past. Models whose rollouts still run must be moved on with it."""

    def __init__(
        self,
        db: Database,
        moved: Sequence[tuple[ModelSection, MemoryDriver]],
        model: str,
        queries: Queries,
        at: float,
    ) -> None:
        """`at`: unix seconds at which it begins."""
        self.clock = VirtualClock()
        self.clock.time, self.model = at, model
        sections = {section.name: section for section, _ in moved}
        drivers = {section.name: driver for section, driver in moved}
        self.driver = drivers[model]
        workers = {WorkKind.LOOK: LookWorker(queries, self.clock.now)}
        self.engine = RolloutEngine(db, sections, drivers, patience_s=0, workers=workers)
        self.engine._watch = _Always()
        self.service = RolloutService(db, sections, drivers, self.clock)
        announcer = Announcer("ops", CONSOLE)
        self.service.update(sections, drivers, dict.fromkeys(sections, UNTRIED), announcer)
        self.engine.update(sections, drivers, announcer)

    async def promote(self, version: str, by: str) -> None:
        """Start a promotion."""
        await self.engine.tick(self.clock.now())
        await self.service.start(self.model, version, actor=by)

    async def until(self, over: Callable[[Rollout], bool], limit_s: float = 7200.0) -> Rollout:
        """Let time pass until a rollout is as wanted. Raises AssertionError after `limit_s`."""
        end = self.clock.time + limit_s
        while True:
            self.clock.time += TICK_S
            await self.engine.tick(self.clock.now())
            if tasks := self.engine.under_way():
                await asyncio.wait(tasks)
            latest = await self.latest()
            if over(latest):
                return latest
            assert self.clock.time < end, f"{self.model} is still {latest.phase}: {latest.sentence}"

    async def latest(self) -> Rollout:
        """Return the newest rollout."""
        return (await self.service.list(self.model, 1))[0].rollout

    async def close(self) -> None:
        """End what is under way."""
        await self.engine.close()


@dataclass(frozen=True)
class Switches:
    """Everything that the rollouts need."""

    db: Database
    loaded: LoadedFleet
    queries: Queries
    now: float
    running: dict[str, tuple[ModelSection, MemoryDriver]] = field(default_factory=dict)
    """Models whose rollouts still run, with their drivers."""

    async def carry_out(self) -> None:
        """Carry the rollouts of the day out, and record their messages as sent."""
        names = {model.name for model in self.loaded.fleet.models}
        for name, play in {
            "embed": self._succeeds_then_fails,
            "vision": self._is_aborted,
            "code": self._is_rolled_back,
            "translate": self._is_paused,
            "chat": self._still_runs,
        }.items():
            if name in names:
                await play()
        await asyncio.to_thread(self._send)

    def _past(self, model: str, before_s: float, stable: str = "") -> Past:
        """Return the past of a model that begins with the version `stable`, by default that of fleet.yaml."""
        section = next(section for section in self.loaded.fleet.models if section.name == model)
        if stable:
            section = section.model_copy(update={"stable": stable})
        self.running[model] = section, _driver(section)
        past = Past(self.db, list(self.running.values()), model, self.queries, self.now + before_s)
        if model not in STILL_RUN:
            del self.running[model]
        return past

    def _assign(self, model: str, weights: Mapping[str, int], before_s: float, by: str) -> None:
        AssignmentStore(self.db).assign(model, weights, None, by, self.now + before_s)

    async def _succeeds_then_fails(self) -> None:
        past = self._past("embed", -20 * HOUR_S, "v1")
        await past.promote("v2", "ana")
        await past.until(lambda rollout: rollout.finished)
        past.clock.time = self.now - 3 * HOUR_S
        await past.promote("v3", "ci-deployer")
        past.driver.loading = {"v3"}
        await past.until(lambda rollout: rollout.phase is Phase.ROLLING_BACK or rollout.finished)
        past.driver.loading = set()
        await past.until(lambda rollout: rollout.finished)
        await past.close()

    async def _is_aborted(self) -> None:
        past = self._past("vision", -15 * HOUR_S)
        await past.promote("v2", "ben")
        past.driver.loading = {"v2"}
        await past.until(lambda rollout: past.clock.time > self.now - 15 * HOUR_S + 180.0)
        past.driver.loading = set()
        latest = await past.latest()
        await past.service.abort(latest.id, actor="ben", reason="wrong checkpoint, the tokenizer is that of v1")
        await past.until(lambda rollout: rollout.finished)
        await past.close()

    async def _is_rolled_back(self) -> None:
        past = self._past("code", CANARY_S[0])
        await past.promote("v6", "ana")
        await past.until(lambda rollout: rollout.finished)
        await past.close()
        self._assign("code", {"v5": 1000}, CANARY_S[1], "rollout of v6, rolled back")

    async def _is_paused(self) -> None:
        past = self._past("translate", PAUSED_S)
        await past.promote("v3", "cleo")
        rollout = await past.until(
            lambda r: r.wait is not None and r.wait.kind in (WaitKind.OPERATOR, WaitKind.APPROVAL)
        )
        await past.close()
        self._assign("translate", {"v2": 750, "v3": 250}, PAUSED_S + 60.0, f"rollout {rollout.id}")

    async def _still_runs(self) -> None:
        past = self._past("chat", LIVE_CANARY_S)
        await past.promote("v4", "ana")
        rollout = await past.until(lambda _: past.clock.time >= self.now - TICK_S)
        await past.close()
        self._assign("chat", {"v3": 900, "v4": 100}, LIVE_CANARY_S + 60.0, f"rollout {rollout.id}")

    def _send(self) -> None:
        outbox = OutboxStore(self.db)
        while entries := outbox.claim("past", self.now, 60.0, 100):
            for entry in entries:
                outbox.done(entry, {"place": ""}, entry.created_at + 0.4)


def _driver(section: ModelSection) -> MemoryDriver:
    """Return a driver whose backends have the names of the real driver's."""
    splits = not section.traffic.backends
    driver = MemoryDriver(section.name, SPLITS if splits else SWAPS, stable=section.stable)
    names = [GATEWAY] if splits else [backend.url for backend in section.traffic.backends]
    driver.servers = {name: Backend({section.stable: 1.0}, {section.stable}) for name in names}
    return driver
