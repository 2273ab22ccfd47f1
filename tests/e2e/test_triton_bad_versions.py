"""Versions that are bad in every way a release can be, on a real Triton: what is said, what serves, what comes next."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from collectors.engines.kinds import Api
from collectors.engines.readiness import ReadinessSource
from controlplane.config.models import ModelSection
from controlplane.demo.repository import write_repository
from controlplane.demo.triton import TritonServer
from controlplane.errors import Refused
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.model import Phase, Rollout
from controlplane.rollout.service import RolloutService
from controlplane.rollout.verification import verification
from controlplane.store.database import Database
from controlplane.traffic.driver import VersionState
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.triton.driver import TritonDriver
from tests.alive import real_triton

pytestmark = [pytest.mark.needs("triton"), pytest.mark.timeout(600)]

MODEL = """
import os, signal, time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        {execute}
        for request in requests:
            sender = request.get_response_sender()
            output = pb_utils.Tensor("text_output", np.array([b"fine"], dtype=np.object_))
            sender.send(pb_utils.InferenceResponse(output_tensors=[output]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


class Clock:
    def now(self) -> float:
        return asyncio.get_running_loop().time()


class Bench:
    """One real Triton with model `model`, v1 serving, and versions as a test writes them."""

    def __init__(self, folder: Path, server: TritonServer, load_timeout: str) -> None:
        self.folder, self.server = folder, server
        backend = {"url": server.http_url, "grpc": server.grpc_address, "repository": str(folder / "models")}
        self.section = ModelSection.model_validate(
            {
                "name": "model",
                "stable": "v1",
                "versions": {f"v{n}": {} for n in range(1, 8)},
                "traffic": {
                    "driver": "triton",
                    "backends": [backend],
                    "load_timeout": load_timeout,
                },
                "verify": {"prompt": "hello", "requests": 3, "timeout": "10s", "for": "1s"},
            }
        )
        self.db = Database(f"sqlite:///{folder / 'cp.db'}")
        SQLModel.metadata.create_all(self.db.engine)
        self.driver = TritonDriver(self.section, open_session())
        models, drivers = {"model": self.section}, {"model": self.driver}
        self.news = asyncio.Event()
        self.engine = RolloutEngine(self.db, models, drivers, news=self.news.set)
        how = {"model": verification(self.section, (), 15.0)}
        self.service = RolloutService(self.db, models, drivers, Clock(), verifications=how)

    def write(self, version: int, *, initialize: str = "pass", execute: str = "pass") -> None:
        target = self.folder / "models" / "model" / str(version)
        target.mkdir()
        (target / "model.py").write_text(MODEL.format(initialize=initialize, execute=execute))

    async def promote(self, version: str) -> Rollout:
        """Promote, and tick as the control plane does until the rollout has ended."""
        rollout = await self.service.start("model", version, actor="ann")
        while True:
            self.news.clear()
            await self.engine.tick(Clock().now())
            shown = (await self.service.show(rollout.id)).rollout
            if shown.finished:
                return shown
            try:
                async with asyncio.timeout(0.5):
                    await self.news.wait()
            except TimeoutError:
                continue

    async def serving(self) -> str | None:
        (backend,) = (await self.driver.observe()).backends
        return backend.serving

    async def close(self) -> None:
        await self.engine.close()
        await self.driver.close()
        self.db.close()


@asynccontextmanager
async def bench(
    folder: Path, load_timeout: str = "120s", *, may_end: bool = False, token_s: float = 0.001
) -> AsyncIterator[Bench]:
    write_repository(folder / "models", token_seconds=token_s)
    async with real_triton(folder / "models", folder / "triton", may_end=may_end) as server:
        running = Bench(folder, server, load_timeout)
        try:
            yield running
        finally:
            await running.close()


class Client:
    """Asks for the model without a version, again and again, and counts what came back."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v2/models/model/generate_stream"
        self.answers: Counter[str] = Counter()

    async def __aenter__(self) -> Client:
        self._task = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.post(self._url, json={"text_input": "hi", "max_tokens": 1}) as response:
                        body = await response.text()
                    good = response.status == 200 and "error" not in body
                    self.answers["good" if good else "failed"] += 1
                except aiohttp.ClientError:
                    self.answers["failed"] += 1
                await asyncio.sleep(0.01)


async def test_versions_that_fail_at_requests_are_turned_back_and_a_good_one_is_promoted_afterwards(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as world:
        world.write(3, execute='raise RuntimeError("CUDA error: out of memory")')
        world.write(4, execute="os._exit(3)")
        world.write(5, execute="time.sleep(3600)")
        async with Client(world.server.http_url) as client:
            failed = await world.promote("v3")
        assert failed.phase is Phase.ROLLED_BACK
        assert failed.sentence.startswith(f"v3 failed 1 of 1 question on {world.server.http_url}: answered 400 instead")
        assert "CUDA error: out of memory" in failed.sentence
        assert failed.sentence.endswith("v1 serves again (3 of 3 questions answered well)")
        print("requests of clients while v3 was turned back:", dict(client.answers))
        assert client.answers["good"] > 0

        dead = await world.promote("v4")
        assert dead.phase is Phase.ROLLED_BACK
        assert "Stub process 'model_0_0' is not healthy" in dead.sentence

        hung = await world.promote("v5")
        assert hung.phase is Phase.ROLLED_BACK
        assert "did not answer /v2/models/model/versions/5/generate_stream within 10 s" in hung.sentence

        world.write(6, initialize='raise RuntimeError("weights are corrupt")')
        broken = await world.promote("v6")
        assert (broken.phase, broken.needs_person) == (Phase.FAILED, False)
        assert broken.sentence.startswith("v6 could not be loaded: grpc://")
        assert "weights are corrupt" in broken.sentence
        assert broken.sentence.endswith("v1 serves as before")
        source = ReadinessSource(Api.TRITON, world.server.http_url)
        told = (await source.read(30.0)).decode()
        await source.close()
        assert f'llm_engine_ready{{backend="{world.server.http_url}"}} 0.0' in told
        ready = f'llm_backend_ready{{backend="{world.server.http_url}",served_model="model",version="v1"}} 1.0'
        assert ready in told, "the server calls itself not ready, and a version on it serves"

        assert await world.serving() == "v1"
        good = await world.promote("v2")
        assert (good.ok, good.verified) == (True, True)
        assert good.evidence.startswith("3 of 3 questions answered well")


async def test_an_empty_version_directory_and_one_without_its_file_are_refused_before_anything_moves(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as world:
        (tmp_path / "models" / "model" / "3").mkdir()
        with pytest.raises(Refused, match=r"models/model/3 is empty: it lacks model.py; put the version's files there"):
            await world.promote("v3")
        (tmp_path / "models" / "model" / "3" / "weights.bin").touch()
        with pytest.raises(Refused, match=r"models/model/3 holds no model.py \(it has weights.bin\)"):
            await world.promote("v3")
        assert (await world.promote("v2")).ok is True


async def test_a_load_that_never_ends_is_told_with_its_cure_and_the_model_works_after_a_restart(
    tmp_path: Path,
) -> None:
    """The directory is emptied after planning looked into it, as one of a repository elsewhere may be."""
    async with bench(tmp_path, load_timeout="20s", may_end=True) as world:
        world.write(3)
        look, file = world.driver.prepare, tmp_path / "models" / "model" / "3" / "model.py"

        async def emptied(version: str) -> object:
            prepared = await look(version)
            file.unlink()
            return prepared

        world.driver.prepare = emptied  # type: ignore[assignment,method-assign]  # the moment between two looks
        stuck = await world.promote("v3")
        world.driver.prepare = look  # type: ignore[method-assign]
        assert stuck.phase is Phase.FAILED
        assert stuck.needs_person
        assert "v1 serves, but this needs a person: v3 is still loading" in stuck.sentence
        assert "Triton cannot cancel a load" in stuck.sentence
        assert "restart that Triton" in stuck.sentence
        assert await world.serving() == "v1"
        with pytest.raises(Refused, match=r"is still loading v3 \(v1 serves\); .* restart that Triton"):
            await world.promote("v2")

        assert world.server.child is not None
        os.kill(world.server.child.pid, signal.SIGKILL)
        await world.server.stop()
        await world.server.start()
        assert await world.serving() == "v1"
        assert (await world.promote("v2")).ok is True


async def test_a_version_that_takes_the_server_down_is_told_and_the_old_one_comes_back_with_the_server(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, may_end=True) as world:
        world.write(3, execute="os.kill(os.getppid(), signal.SIGKILL)")

        async def supervisor() -> None:
            child = world.server.child
            assert child is not None
            await child.wait()
            await world.server.stop()
            await world.server.start()

        watching = asyncio.create_task(supervisor())
        ended = await world.promote("v3")
        await watching
        assert ended.phase is Phase.ROLLED_BACK
        assert ended.sentence.startswith("v3 failed 1 of 1 question on")
        assert ended.sentence.endswith("v1 serves again (3 of 3 questions answered well)")
        (backend,) = (await world.driver.observe()).backends
        assert backend.versions["v1"] is VersionState.READY
