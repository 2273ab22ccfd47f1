"""kill -9 of a real process that runs the engine, at the worst moment: while a call of Triton is under way."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.config.models import ModelSection
from controlplane.rollout.model import Phase
from controlplane.rollout.service import RolloutService
from controlplane.rollout.verification import Verification
from controlplane.store.audit import AuditStore
from controlplane.store.database import Database
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.triton.driver import TritonDriver
from tests.fakes.triton import FakeTriton
from tests.patience import PROCESS_S

ENGINE = """
import asyncio, sys, time
from controlplane.config.models import ModelSection
from controlplane.rollout.engine import RolloutEngine
from controlplane.store.database import Database
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.triton.driver import TritonDriver

async def main(section):
    drivers = {section.name: TritonDriver(section, open_session())}
    engine = RolloutEngine(Database(sys.argv[1]), {section.name: section}, drivers)
    while True:
        await engine.tick(time.time())
        await asyncio.sleep(0.05)

asyncio.run(main(ModelSection.model_validate_json(sys.argv[2])))
"""


class Clock:
    """The real time, which the engine's process also uses."""

    def now(self) -> float:
        return time.time()


class Engine:
    """A process that ticks until it is killed. It is killed when the fake gets the request of `kill_at`."""

    def __init__(self, triton: FakeTriton, url: str, section: ModelSection) -> None:
        self._argv = [sys.executable, "-c", ENGINE, url, section.model_dump_json(exclude_unset=True)]
        self._process: asyncio.subprocess.Process | None = None
        self._count = 0
        self.kill_at = ""
        self.kill_after = 1
        triton.on_request = self._request

    async def run_until_killed(self, path: str, times: int) -> int:
        """Run until the fake has got `times` requests whose path ends with `path`. Return the exit status."""
        self.kill_at, self.kill_after, self._count = path, times, 0
        self._process = await asyncio.create_subprocess_exec(*self._argv)
        try:
            async with asyncio.timeout(PROCESS_S):
                return await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    def _request(self, path: str) -> None:
        if path.endswith(self.kill_at) and self._process is not None and self._process.returncode is None:
            self._count += 1
            if self._count == self.kill_after:
                self._process.kill()


async def test_a_promotion_survives_kill_9_at_each_order_and_between(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cp.db"
    db = Database(url)
    SQLModel.metadata.create_all(db.engine)
    async with FakeTriton() as triton:
        section = ModelSection.model_validate(
            {
                "name": "model",
                "stable": "v1",
                "versions": {"v1": {}, "v2": {}},
                "traffic": {"driver": "triton", "backends": [{"url": triton.url}]},
            }
        )
        driver = TritonDriver(section, open_session())
        service = RolloutService(
            db, {"model": section}, {"model": driver}, Clock(), verifications={"model": Verification(watch_s=0.2)}
        )
        rollout = await service.start("model", "v2", actor="ann")
        engine = Engine(triton, url, section)

        async def shown() -> Phase:
            return (await service.show(rollout.id)).rollout.phase

        # 1. while the load is on its way; Triton goes on loading without anyone waiting for the reply
        triton.hold_loads()
        assert await engine.run_until_killed("/load", 1) == -signal.SIGKILL
        assert triton.states == {1: "READY", 2: "LOADING"}
        # 2. it is found loading, and not ordered again
        assert await engine.run_until_killed("/index", 3) == -signal.SIGKILL
        assert (triton.loads, await shown()) == ([[1, 2]], Phase.PREPARING)
        # 3. both are ready; killed while the old version is being unloaded
        triton.finish_loads()
        assert await engine.run_until_killed("/load", 1) == -signal.SIGKILL
        assert (triton.loads, await shown()) == ([[1, 2], [2]], Phase.DRAINING)
        # 4. the rest
        for _ in range(20):
            await engine.run_until_killed("/index", 4)
            if await shown() is Phase.SUCCEEDED:
                break
        assert (triton.loads, triton.states) == ([[1, 2], [2]], {1: "UNAVAILABLE", 2: "READY"})
        status = await service.model("model")
        assert (status.stable, status.previous, status.drift) == ("v2", "v1", "")
        assert [e.action for e in AuditStore(db).recent(9)] == ["rollout.finish", "rollout.promote"]
        await driver.close()
    db.close()
