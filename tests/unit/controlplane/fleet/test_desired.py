"""The desired state of gateways: what changes it, and how many look at the database while they wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.config.model import Fleet
from controlplane.errors import Unavailable
from controlplane.fleet import desired
from controlplane.fleet.desired import DesiredFeed, DesiredSource
from controlplane.gateway.desired.codec import decode
from controlplane.gateway.desired.document import Desired, KeySpec
from controlplane.rollout.stored.observations import observation_to_json
from controlplane.store.assignments import AssignmentStore
from controlplane.store.database import Database
from controlplane.store.revision import touch
from controlplane.store.rollout_log import RolloutLog
from controlplane.traffic.driver import BackendObservation, TrafficObservation, all_to
from tests.patience import HANG_S

SPLIT = {
    "name": "chat",
    "stable": "v1",
    "traffic": {"driver": "gateway"},
    "versions": {v: {"backends": [{"url": f"http://{v}:1", "engine": "vllm"}]} for v in ("v1", "v2")},
}
TRITON = {
    "name": "triton",
    "stable": "v1",
    "traffic": {"driver": "triton", "backends": [{"url": "http://a:1"}, {"url": "http://b:1"}]},
    "versions": {"v1": {}, "v2": {}},
}


class World:
    """A database, a configuration that can be replaced, keys, and a feed that looks when the test says so."""

    def __init__(self, db: Database) -> None:
        self.db, self.time = db, 0.0
        self.config = Fleet.model_validate({"fleet": {"name": "a"}, "models": [SPLIT, TRITON]})
        self.keys: list[KeySpec] = []
        self.fault: Exception | None = None
        self.source = DesiredSource(db, lambda: self.config, self._keys)
        self.feed = DesiredFeed(self.source, poll_s=0.01, monotonic=lambda: self.time)

    def _keys(self) -> list[KeySpec]:
        if self.fault:
            raise self.fault
        return self.keys

    def assign(self, **weights: int) -> None:
        AssignmentStore(self.db).assign("chat", weights, None, "rollout r-1", 0.0)

    def touch(self, kind: str) -> None:
        with self.db.transaction() as session:
            touch(session, kind)

    async def get(self, revision: str = "", wait_s: float = 0.0) -> Desired | None:
        self.time += 1
        body = await self.feed.after(revision, wait_s)
        return None if body is None else decode(body)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_S):
            while not reached():  # noqa: ASYNC110 - a condition of another task, without an event
                await asyncio.sleep(0.005)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    db = Database(f"sqlite:///{tmp_path}/cp.db")
    SQLModel.metadata.create_all(db.engine)
    made = World(db)
    yield made
    made.feed.close()
    db.close()


def weights(state: Desired | None, model: str = "chat") -> dict[str, int]:
    assert state is not None
    return {v.name: v.weight for m in state.models for v in m.versions if m.name == model}


async def test_a_gateway_gets_the_state_once_and_then_its_changes(world: World) -> None:
    first = await world.get()
    assert first is not None
    assert weights(first) == {"v1": 1000, "v2": 0}
    assert await world.get(first.revision) is None
    world.assign(v1=900, v2=100)
    second = await world.get(first.revision)
    assert weights(second) == {"v1": 900, "v2": 100}
    assert second is not None
    assert [m.generation for m in second.models] == [1, 0]
    world.keys = [KeySpec("k1", "0" * 64, "search")]
    world.touch("keys")
    third = await world.get(second.revision)
    assert third is not None
    assert [key.id for key in third.keys] == ["k1"]
    world.config = Fleet.model_validate({"fleet": {"name": "a"}, "models": [SPLIT]})
    world.touch("config")
    fourth = await world.get(third.revision)
    assert fourth is not None
    assert [m.name for m in fourth.models] == ["chat"]


async def test_the_version_of_a_triton_is_the_one_that_all_its_servers_serve(world: World) -> None:
    log = RolloutLog(world.db)
    log.seed("triton", "v1")
    assert weights(await world.get(), "triton") == {"v1": 1000}
    for a, b, expected in (("v2", "v1", "v1"), ("v2", "v2", "v2"), ("v2", None, "v1"), (None, None, "v1")):
        seen = [BackendObservation(u, True, {}, {}, all_to(v)) for u, v in (("http://a:1", a), ("http://b:1", b))]
        log.observed("triton", observation_to_json(TrafficObservation("triton", tuple(seen))), "", 1.0, None)
        assert list(weights(await world.get(), "triton")) == [expected]


async def test_a_change_that_concerns_no_gateway_makes_nothing_anew(world: World) -> None:
    first = await world.get()
    assert first is not None
    world.keys = [KeySpec("k1", "0" * 64, "search")]
    world.touch("alerts")
    assert await world.get(first.revision) is None  # the keys were not read
    world.touch("keys")
    assert await world.get(first.revision) is not None


async def test_a_waiting_gateway_hears_of_a_change_and_after_its_time_that_there_was_none(world: World) -> None:
    first = await world.get()
    assert first is not None
    assert await world.get(first.revision, 0.05) is None
    waiting = [asyncio.create_task(world.get(first.revision, HANG_S)) for _ in range(50)]
    await world.until(lambda: world.feed.waiting == 50)
    world.assign(v2=1000)
    async with asyncio.timeout(HANG_S):
        found = await asyncio.gather(*waiting)
    assert {weights(state)["v2"] for state in found} == {1000}
    assert world.feed.waiting == 0


async def test_waiting_costs_no_thread_and_no_query_for_each_gateway(world: World) -> None:
    first = await world.get()
    assert first is not None
    asked = 0
    changed_since = world.source.changed_since

    def counted(revision: int) -> Any:
        nonlocal asked
        asked += 1
        return changed_since(revision)

    world.source.changed_since = counted  # type: ignore[method-assign]
    waiting = [asyncio.create_task(world.get(first.revision, HANG_S)) for _ in range(200)]
    await world.until(lambda: world.feed.waiting == 200)
    before, looks = asked, world.feed.looks
    await world.until(lambda: world.feed.looks >= looks + 3)
    assert asked - before <= world.feed.looks - looks + 1  # one query a look, whoever waits
    assert threading.active_count() < 100
    world.feed.close()
    async with asyncio.timeout(HANG_S):
        assert set(await asyncio.gather(*waiting)) == {None}


async def test_nobody_looks_while_nobody_waits(world: World) -> None:
    first = await world.get()
    assert first is not None
    assert await world.get(first.revision, 0.03) is None
    await world.until(lambda: world.feed._looking is None or world.feed._looking.done())
    looks = world.feed.looks
    await asyncio.sleep(0.05)
    assert world.feed.looks == looks


async def test_a_change_by_this_process_wakes_the_waiting_at_once(world: World) -> None:
    feed = DesiredFeed(world.source, poll_s=HANG_S * 10)
    first = await feed.after("", 0)
    assert first is not None
    waiting = asyncio.create_task(feed.after(decode(first).revision, HANG_S))
    await world.until(lambda: feed.waiting == 1)
    await asyncio.to_thread(world.assign, v2=1000)
    await asyncio.to_thread(feed.wake)
    async with asyncio.timeout(HANG_S / 2):
        body = await waiting
    assert body is not None
    assert weights(decode(body)) == {"v1": 0, "v2": 1000}


async def test_a_database_that_is_away_keeps_the_last_state(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.fault = Unavailable("database sqlite: locked")
    with pytest.raises(Unavailable, match="locked"):
        await world.get()
    world.fault = None
    first = await world.get()
    assert first is not None
    world.fault = Unavailable("database sqlite: locked")
    world.touch("keys")
    for _ in range(3):
        assert await world.get(first.revision) is None
    assert [r.message for r in caplog.records if "desired" in r.message] == [
        "desired state of gateways: database sqlite: locked; the last one stays"
    ]
    world.fault, world.keys = None, [KeySpec("k1", "0" * 64, "search")]
    assert await world.get(first.revision) is not None  # the look that failed is repeated


async def test_the_number_of_waiting_gateways_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desired, "MAX_WAITING", 1)
    first = await world.get()
    assert first is not None
    waiting = asyncio.create_task(world.get(first.revision, HANG_S))
    await world.until(lambda: world.feed.waiting == 1)
    with pytest.raises(Unavailable, match="1 gateways wait for this control plane already"):
        await world.get(first.revision, HANG_S)
    assert await world.get(first.revision) is None
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert world.feed.waiting == 0
