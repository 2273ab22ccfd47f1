"""The rollouts part without a rollout: how often it looks, and what wakes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from controlplane.app.parts.rolling import LOOK_S, OBSERVE_S, ROLLOUT_S, Rolling
from controlplane.metrics.query.queries import Queries
from controlplane.rollout.files import VersionFiles
from controlplane.schedule import LoopFactory
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.records import RolloutRecord
from controlplane.store.schedules import ScheduleStore
from controlplane.traffic.gateway.driver import Gateways


@dataclass
class Clock:
    time: float = 1000.0

    def now(self) -> float:
        return self.time


@dataclass
class Rig:
    """The part on a virtual clock. It counts the looks at the engines and the calls of `news`."""

    db: Database
    clock: Clock = field(default_factory=Clock)
    looked_at: list[float] = field(default_factory=list)
    news: int = 0

    def __post_init__(self) -> None:
        self.part = Rolling(
            self.db,
            cast(Queries, None),  # no candidate is verified
            self.clock,
            observe_only=False,
            gateways=cast(Gateways, None),  # no model is behind the gateway
            files=cast(VersionFiles, None),  # no version names its files
            news=self._news,
            monotonic=lambda: self.clock.time,
        )
        observe = self.part.engine.tick

        async def tick(now: float) -> None:
            self.looked_at.append(now)
            await observe(now)

        self.part.engine.tick = tick  # type: ignore[method-assign]
        make = LoopFactory(LeaseStore(self.db), ScheduleStore(self.db), "a", self.clock)
        (self.loop,) = self.part.loops(make)

    def _news(self) -> None:
        self.news += 1

    async def turn(self, after_s: float = 0.0) -> float:
        """Let time pass and take a turn. Return the seconds to the next one."""
        self.clock.time += after_s
        await self.loop.run_once()
        assert self.loop.stats.last_error is None
        return self.loop.interval_s


def stored(**changes: object) -> RolloutRecord:
    values: dict[str, object] = {
        "id": "r-1",
        "model": "chat",
        "from_version": "v1",
        "to_version": "v2",
        "kind": "promote",
        "strategy": "blue-green",
        "phase": "planned",
        "ok": None,
        "switched": False,
        "sentence": "ann asked",
        "turn_back": "",
        "created_by": "ann",
        "created_at": 100.0,
        "updated_at": 100.0,
        "finished_at": None,
        "idempotency_key": None,
        "request": "promote chat v2",
    }
    return RolloutRecord(**{**values, **changes})  # type: ignore[arg-type]


async def test_an_idle_fleet_is_looked_at_rarely_and_a_rollout_of_another_process_is_seen(db: Database) -> None:
    rig = Rig(db)
    assert [await rig.turn(LOOK_S) for _ in range(5)] == [LOOK_S] * 5
    assert rig.looked_at == [1000 + LOOK_S, 1000 + LOOK_S + OBSERVE_S, 1000 + LOOK_S + 2 * OBSERVE_S]

    RolloutLog(db).start(stored(), [])  # what another process would write
    assert await rig.turn(LOOK_S) == ROLLOUT_S
    assert await rig.turn(ROLLOUT_S) == ROLLOUT_S
    assert rig.looked_at[3:] == [rig.clock.time - ROLLOUT_S, rig.clock.time]

    RolloutLog(db).close("r-1", "closed", "ann", 200.0)
    assert await rig.turn(ROLLOUT_S) == LOOK_S
    await rig.part.close()


async def test_a_tick_that_comes_a_moment_early_still_looks_at_the_engines(db: Database) -> None:
    rig = Rig(db)
    await rig.turn()
    await rig.turn(LOOK_S - 0.01)
    await rig.turn(LOOK_S - 0.01)
    assert rig.looked_at == [1000.0, 1000.0 + OBSERVE_S - 0.02]
    await rig.part.close()


async def test_a_request_wakes_the_loop(db: Database) -> None:
    rig = Rig(db)
    RolloutLog(db).start(stored(state={}), [])
    await rig.part.service.close("r-1", actor="ann")
    assert rig.news == 1
    await rig.part.close()
