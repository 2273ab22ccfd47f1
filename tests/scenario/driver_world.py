"""One model on a real target of a driver, with the real engine, service and database, and clients that never stop."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from controlplane.config.models import ModelSection
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.findings import Finding, Outcome, WorkKind
from controlplane.rollout.handlers.situation import NOTHING
from controlplane.rollout.model import Check, Evidence, Rollout, StepKind
from controlplane.rollout.service import RolloutService
from controlplane.rollout.verification import Verification
from controlplane.rollout.work.hooks import HookWorker
from controlplane.rollout.workers import Worker
from controlplane.store.database import Database
from controlplane.store.migrate import migrate
from controlplane.traffic.driver import Answer, Driver, Placement, Preparation, Question, TrafficObservation
from controlplane.traffic.kubernetes.proxy import Kubernetes
from controlplane.traffic.proxies.driver import ProxyDriver
from tests.contract.drivers.cases import Case
from tests.contract.drivers.exchange import Cut
from tests.contract.drivers.pace import Pace
from tests.fakes.rollout_world import VirtualClock
from tests.fakes.rollouts.strategy_world import KindWorker
from tests.patience import HANG_S, until

QUESTION = Question("chat/completions", {"messages": []})
ASKED = Verification(Check((QUESTION,), 2, 0, origin="`verify:` in fleet.yaml"), 3.0)
SHORT, LONG = (2, 6), (15, 2)
"""Tokens of a stream, and clients that ask for such streams. The long ones last over several steps of a rollout: a tick
is a token."""
TICK_S = 2.5
"""Seconds of the virtual clock between two ticks: half of the shortest waits of these tests, so each is met open."""
SAMPLE = 400
"""Requests by which a share is counted, as in the contract tests of drivers."""


class Crowd:
    """Clients that ask one request after another. Every answer must be whole."""

    def __init__(self, ask: Callable[[int], Awaitable[str]], pace: Pace | None = None) -> None:
        self._ask, self._pace = ask, pace or Pace(SHORT[0])
        self.asked = 0
        self.answered: list[tuple[int, str]] = []
        """Number of each short request, and the version that answered it."""
        self.faults: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._going = True
        for tokens, clients in (SHORT, LONG):
            self._tasks += [asyncio.create_task(self._client(tokens)) for _ in range(clients)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._going = False
        self._pace.end()
        async with asyncio.timeout(HANG_S):
            await asyncio.gather(*self._tasks)

    async def _client(self, tokens: int) -> None:
        while self._going:
            number, self.asked = self.asked, self.asked + 1
            try:
                version = await self._ask(tokens)
            except Cut as error:
                self.faults.append(str(error))
                continue
            if tokens == SHORT[0]:
                self.answered.append((number, version))

    async def next(self, count: int) -> Counter[str]:
        """Return how many of so many further requests each version answers."""
        first, seen = self.asked, len(self.answered)

        def fresh() -> Sequence[str]:
            return [version for number, version in self.answered[seen:] if number >= first]

        with self._pace.hurry():
            await until(lambda: len(fresh()) >= count or self.faults)
        return Counter(fresh()[:count])


class Logged:
    """A driver whose orders are logged."""

    def __init__(self, driver: Driver, log: list[tuple[str, dict[str, float], bool]], pace: Pace) -> None:
        self._driver, self._log, self.capabilities, self._pace = driver, log, driver.capabilities, pace

    def can_keep(self, serve: str, keep: str) -> bool:
        return self._driver.can_keep(serve, keep)

    async def observe(self) -> TrafficObservation:
        return await self._driver.observe()

    async def prepare(self, version: str) -> Preparation:
        return await self._driver.prepare(version)

    async def place(self, backend: str, placement: Placement) -> None:
        self._log.append(("place", placement.weights, bool(placement.keep)))
        with self._pace.hurry():
            await self._driver.place(backend, placement)

    async def ask(self, backend: str, version: str, question: Question) -> Answer:
        return await self._driver.ask(backend, version, question)

    async def commit(self, placement: Placement) -> Sequence[str]:
        self._log.append(("commit", placement.weights, bool(placement.keep)))
        with self._pace.hurry():
            return await self._driver.commit(placement)

    async def close(self) -> None:
        await self._driver.close()


class DriverWorld:
    """`async with DriverWorld(case, tmp_path, {…}) as world`: model `chat`, v1 stable, v2 ready, clients asking."""

    def __init__(self, case: Case, folder: Path, rollout: Mapping[str, Any], empty: Path | None = None) -> None:
        """`rollout` is the model's section of that name in fleet.yaml.

        `empty` is a database file with the tables and no rows, to begin with a copy of it.
        """
        assert case.ask is not None
        fields = case.section.model_dump(mode="json", exclude_unset=True)
        self._section = ModelSection.model_validate({**fields, "rollout": dict(rollout)})
        self._case, self._folder, self._empty = case, folder, empty
        self._pace = Pace(SHORT[0])
        self.clock, self.evidence, self.crowd = VirtualClock(), NOTHING, Crowd(self._ask, self._pace)
        self.looks = KindWorker()
        """The looks at the candidate. They pass unless a test says otherwise."""
        self.orders: list[tuple[str, dict[str, float], bool]] = []
        """Verb, weights, and whether the other version stays, of each order of any driver."""

    async def __aenter__(self) -> Self:
        if self._empty is not None:
            shutil.copy(self._empty, self._folder / "cp.db")
        self._open()
        if self._empty is None:
            migrate(self.db)
        if self._case.versions is not None:
            self._case.versions.stream(self._pace)
        await self.crowd.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.crowd.__aexit__()
        await self._close()

    def _open(self) -> None:
        self.db = Database(f"sqlite:///{self._folder}/cp.db")
        self.driver = Logged(self._on_the_clock(self._case.again()), self.orders, self._pace)
        models, drivers = {"chat": self._section}, {"chat": self.driver}
        workers: dict[WorkKind, Worker] = {WorkKind.HOOK: HookWorker(), WorkKind.LOOK: self.looks}
        self.engine = RolloutEngine(self.db, models, drivers, patience_s=0, look=self._look, workers=workers)
        self.service = RolloutService(
            self.db, models, drivers, self.clock, verifications={"chat": ASKED}, workers=workers.keys()
        )

    async def _ask(self, tokens: int) -> str:
        assert self._case.ask is not None
        version = await self._case.ask(tokens)
        if self._case.versions is None:
            await self._pace.wait(SHORT[0])  # its target does not stream
        return version

    def _on_the_clock(self, driver: Driver) -> Driver:
        """Let a driver that reads counters every few seconds take these seconds from the virtual clock."""
        proxy = driver._proxy if isinstance(driver, ProxyDriver) else None
        if isinstance(proxy, Kubernetes):
            proxy._pods._monotonic = lambda: self.clock.time
        return driver

    async def _close(self) -> None:
        await self.engine.close()
        await self.driver.close()
        self.db.close()

    async def _look(self, rollout: Rollout, since: float, now: float) -> Evidence:
        return self.evidence

    async def crash(self) -> None:
        """Lose all that is not in the database or at the target, and start again."""
        await self._close()
        self._open()

    def breach(self) -> None:
        """Let every further look and every number speak against the candidate."""
        self.looks.outcomes[WorkKind.LOOK, ""] = Finding(Outcome.FAIL, ("v2 is worse",))
        self.evidence = Evidence(requests=50.0, failed=50.0, source="gateway")

    async def tick(self) -> Rollout:
        """Let TICK_S of the virtual clock pass, tick, wait for all replies, and return the rollout."""
        self.clock.time += TICK_S
        self._pace.beat()
        await self.engine.tick(self.clock.now())
        await self.settle()
        return await self.latest()

    async def settle(self) -> None:
        """Wait until everything that is under way has been answered. The next tick reads the answers."""
        if tasks := self.engine.under_way():
            await asyncio.wait(tasks)

    async def latest(self) -> Rollout:
        (newest,) = await self.service.list(limit=1)
        return newest.rollout

    async def until(self, reached: Callable[[Rollout], bool]) -> Rollout:
        """Tick until the rollout is as wished. Raises AssertionError with its story where it ends before."""
        async with asyncio.timeout(2 * HANG_S):
            while True:
                latest = await self.tick()
                if latest.finished or reached(latest):
                    assert reached(latest), await self.story()
                    return latest
                await asyncio.sleep(0.01)

    async def at(self, share: float, kind: StepKind | None = None) -> None:
        """Tick until the target gives v2 this share, and the rollout is at a step of this kind."""
        latest = await self.tick()
        while (kind is not None and latest.plan.steps[latest.step].kind is not kind) or not await self._has(share):
            latest = await self.until(lambda latest: not latest.finished)

    async def finish(self) -> Rollout:
        """Tick until the rollout has ended."""
        return await self.until(lambda latest: latest.finished)

    async def story(self) -> str:
        """Return the rollout's history."""
        shown = await self.service.show((await self.latest()).id)
        return "\n".join(f"{event.phase}: {event.sentence}" for event in shown.events)

    async def _has(self, share: float) -> bool:
        seen = (await self.driver.observe()).backend(self._case.backend)
        return not seen.pending and abs(seen.weights.get("v2", 0.0) - share) < 0.0005

    async def reset(self) -> None:
        """Bring the target back to v1, as it was at first."""
        await self._case.place("v1")
        await self._case.until(lambda seen: seen.serving == "v1" and not seen.pending)

    async def only(self, version: str) -> None:
        """Check that the next requests are all answered by one version."""
        assert await self.crowd.next(100) == {version: 100}
