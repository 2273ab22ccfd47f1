"""Rollouts on real Triton servers under streaming load: nothing fails, nothing is cut, and every trap is real."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.config.models import ModelSection
from controlplane.demo.process import ChildDied
from controlplane.demo.repository import write_repository
from controlplane.demo.triton import TritonServer
from controlplane.errors import Refused
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.model import Phase, Rollout
from controlplane.rollout.service import RolloutService
from controlplane.rollout.verification import Verification
from controlplane.store.database import Database
from controlplane.traffic.driver import EngineRefused, Placement, VersionState
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.triton.driver import TritonDriver
from tests.alive import alive, real_triton
from tests.fakes.failing_version import write_failing_version

pytestmark = [pytest.mark.needs("triton"), pytest.mark.timeout(600)]


class Clock:
    def now(self) -> float:
        return asyncio.get_running_loop().time()


class Fleet:
    """One model on real servers, with the real engine ticking in real time."""

    def __init__(self, servers: list[TritonServer], repositories: list[Path], database: Path) -> None:
        backends = [{"url": s.http_url, "repository": str(r)} for s, r in zip(servers, repositories, strict=True)]
        self.servers = servers
        self.section = ModelSection.model_validate(
            {
                "name": "chat",
                "stable": "v1",
                "versions": {"v1": {}, "v2": {}, "v3": {}, "v4": {}},
                "traffic": {"driver": "triton", "model": "model", "backends": backends},
            }
        )
        self.db = Database(f"sqlite:///{database}")
        SQLModel.metadata.create_all(self.db.engine)
        self.driver = TritonDriver(self.section, open_session())
        self.engine = RolloutEngine(self.db, {"chat": self.section}, {"chat": self.driver})
        self.service = RolloutService(
            self.db,
            {"chat": self.section},
            {"chat": self.driver},
            Clock(),
            verifications={"chat": Verification(watch_s=1.0)},
        )

    async def finish(self, rollout: Rollout) -> Rollout:
        while True:
            await self.engine.tick(Clock().now())
            shown = (await self.service.show(rollout.id)).rollout
            if shown.finished:
                return shown
            await asyncio.sleep(0.1)

    async def serving(self) -> list[str | None]:
        return [backend.serving for backend in (await self.driver.observe()).backends]

    async def close(self) -> None:
        await self.engine.close()
        await self.driver.close()
        self.db.close()


@asynccontextmanager
async def fleet(folder: Path, servers: int = 1) -> AsyncIterator[Fleet]:
    repositories = [folder / f"models{n}" for n in range(servers)]
    for repository in repositories:
        write_repository(repository)
    tritons = [TritonServer(r, folder / f"triton{n}") for n, r in enumerate(repositories)]
    running = None
    try:
        await asyncio.gather(*(triton.start() for triton in tritons))
        running = Fleet(tritons, repositories, folder / "cp.db")
        async with alive(*(triton.child for triton in tritons if triton.child)):
            yield running
    finally:
        if running is not None:
            await running.close()
        await asyncio.gather(*(triton.stop() for triton in tritons))


class Clients:
    """Streaming clients that never stop asking; every answer is judged whole or not."""

    def __init__(self, url: str, count: int = 6) -> None:
        self._url, self._count = f"{url}/v2/models/model/generate_stream", count
        self.answers: Counter[str] = Counter()
        self._stop, self._answered = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Clients:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._count)]
        await self.until(self._count)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def until(self, more: int) -> None:
        """Wait until so many more answers came."""
        goal = self.answers.total() + more
        while self.answers.total() < goal:
            self._answered.clear()
            await self._answered.wait()

    async def _client(self) -> None:
        async with aiohttp.ClientSession() as session:
            while not self._stop.is_set():
                self.answers[await self._ask(session)] += 1
                self._answered.set()

    async def _ask(self, session: aiohttp.ClientSession) -> str:
        try:
            async with session.post(self._url, json={"text_input": "hello"}) as response:
                body = await response.text()
        except aiohttp.ClientError as error:
            return f"cut: {error}"
        if response.status != 200:
            return f"failed: {response.status} {body}"
        return "v1" if '"v1:"' in body and "stop" in body else "v2" if '"v2:"' in body and "stop" in body else body


async def test_promote_and_roll_back_under_streaming_load_without_a_failed_or_cut_answer(tmp_path: Path) -> None:
    async with fleet(tmp_path) as world:
        config = tmp_path / "models0" / "model" / "config.pbtxt"
        (url,) = [b.url for b in world.section.traffic.backends]
        async with Clients(url) as clients:
            promoted = await world.finish(await world.service.start("chat", "v2", actor="ann"))
            assert promoted.sentence.startswith("v2 serves, v1 has finished its requests and is unloaded")
            assert await world.serving() == ["v2"]
            assert "specific: { versions: [ 2 ] }" in config.read_text()
            await clients.until(6)

            back = await world.finish(await world.service.rollback("chat", actor="ann"))
            assert back.sentence.startswith("v1 serves, v2 has finished its requests and is unloaded")
            assert await world.serving() == ["v1"]
            assert "specific: { versions: [ 1 ] }" in config.read_text()
            await clients.until(6)
        assert set(clients.answers) == {"v1", "v2"}

        status = await world.service.model("chat")
        assert (status.stable, status.previous, status.drift) == ("v1", None, "")


async def test_rolling_back_while_verifying_is_instant_because_the_old_version_is_resident(tmp_path: Path) -> None:
    async with fleet(tmp_path) as world:
        (url,) = [b.url for b in world.section.traffic.backends]
        async with Clients(url) as clients:
            rollout = await world.service.start("chat", "v2", actor="ann")
            while (await world.service.show(rollout.id)).rollout.phase is not Phase.VERIFYING:
                await world.engine.tick(Clock().now())
                await asyncio.sleep(0.05)
            (seen,) = (await world.driver.observe()).backends
            assert seen.versions["v1"] is seen.versions["v2"] is VersionState.READY
            await world.service.rollback("chat", actor="bob")
            ended = await world.finish(rollout)
            assert (ended.phase, ended.sentence) == (Phase.ROLLED_BACK, "Rollback by bob. v1 serves again")
            assert await world.serving() == ["v1"]
            await clients.until(6)
        assert set(clients.answers) <= {"v1", "v2"}


async def test_a_version_that_cannot_start_leaves_the_old_one_serving_with_the_reason(tmp_path: Path) -> None:
    async with fleet(tmp_path) as world:
        (url,) = [b.url for b in world.section.traffic.backends]
        write_failing_version(tmp_path / "models0", 3, reason="weights are corrupt")
        async with Clients(url) as clients:
            failed = await world.finish(await world.service.start("chat", "v3", actor="ann"))
            assert failed.phase is Phase.FAILED
            assert failed.sentence.startswith("v3 could not be loaded: ")
            assert "weights are corrupt" in failed.sentence
            assert "/v2/health/ready now answers 400" in failed.sentence
            assert failed.sentence.endswith("v1 serves as before")
            assert await world.serving() == ["v1"]
            await clients.until(6)
        assert set(clients.answers) == {"v1"}
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v2/health/ready") as response:
            assert response.status == 400, "the trap that the sentence names"

        good = await world.finish(await world.service.start("chat", "v2", actor="ann"))
        assert good.ok is True

        with pytest.raises(Refused, match=r"models0/model/4 does not exist: Triton would answer 200 and load nothing"):
            await world.service.plan("chat", "v4")


async def test_two_real_servers_are_switched_one_after_another_and_go_back_together(tmp_path: Path) -> None:
    async with fleet(tmp_path, servers=2) as world:
        write_failing_version(tmp_path / "models0", 3)
        write_failing_version(tmp_path / "models1", 3)
        (tmp_path / "models0" / "model" / "3" / "model.py").write_text(
            (tmp_path / "models0" / "model" / "1" / "model.py").read_text()
        )
        rolled = await world.finish(await world.service.start("chat", "v3", actor="ann"))
        assert rolled.phase is Phase.ROLLED_BACK
        assert "out of memory" in rolled.sentence
        assert await world.serving() == ["v1", "v1"]

        promoted = await world.finish(await world.service.start("chat", "v2", actor="ann"))
        assert promoted.ok is True
        assert await world.serving() == ["v2", "v2"]


async def test_a_restart_after_the_switch_keeps_the_new_version(tmp_path: Path) -> None:
    async with fleet(tmp_path) as world:
        assert (await world.finish(await world.service.start("chat", "v2", actor="ann"))).ok is True
    again = real_triton(tmp_path / "models0", tmp_path / "triton-again")
    async with again as server, aiohttp.ClientSession() as session:
        async with session.post(f"{server.http_url}/v2/repository/index", json={}) as response:
            index: list[dict[str, Any]] = await response.json()
        assert [(row["version"], row["state"]) for row in index] == [("2", "READY")]


async def test_a_server_that_ends_by_itself_fails_its_test_at_once(tmp_path: Path) -> None:
    with pytest.raises(ChildDied, match=r"triton ended \(signal 11\); log .*triton0/triton\.log, last lines:"):
        async with fleet(tmp_path, servers=2) as world, Clients(world.section.traffic.backends[0].url) as clients:
            server = world.servers[0].child
            assert server is not None
            os.kill(server.pid, signal.SIGSEGV)
            await clients.until(10**9)


async def test_a_load_over_grpc_does_not_hold_up_http_connections(tmp_path: Path) -> None:
    """The clients' connections exist before the load; over HTTP most of them were measured to wait for its end."""
    write_repository(tmp_path / "models")
    write_failing_version(tmp_path / "models", 3, reason="weights are corrupt")
    slow = tmp_path / "models" / "model" / "2" / "model.py"
    source = slow.read_text()
    slow.write_text(source.replace("        parameters = json", "        time.sleep(3)\n        parameters = json", 1))
    assert slow.read_text() != source
    async with real_triton(tmp_path / "models", tmp_path / "triton") as server:
        backend = {"url": server.http_url, "grpc": server.grpc_address}
        section = ModelSection.model_validate(
            {
                "name": "chat",
                "stable": "v1",
                "versions": {"v1": {}, "v2": {}, "v3": {}},
                "traffic": {"driver": "triton", "model": "model", "backends": [backend]},
            }
        )
        driver = TritonDriver(section, open_session())
        config = (await driver.prepare("v2")).config
        url, sessions = server.http_url, [aiohttp.ClientSession() for _ in range(8)]

        async def ask(session: aiohttp.ClientSession) -> int:
            async with session.get(f"{url}/v2/models/model/versions/1/ready") as response:
                return response.status

        assert await asyncio.gather(*map(ask, sessions)) == [200] * 8
        load = asyncio.create_task(driver.place(url, Placement("chat", "v2", ("v1",), config)))
        while True:
            if (await driver.observe()).backend(url).versions["v2"] is VersionState.LOADING:
                break
            await asyncio.sleep(0.02)
        assert await asyncio.gather(*map(ask, sessions)) == [200] * 8
        assert not load.done(), "all of them were answered while the load was out"
        await load
        assert (await driver.observe()).backend(url).serving == "v2"

        with pytest.raises(EngineRefused, match=r"grpc://.*weights are corrupt.*--strict-readiness=false"):
            await driver.place(url, Placement("chat", "v3", ("v2",), config))
        for session in sessions:
            await session.close()
        await driver.close()
