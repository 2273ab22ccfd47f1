"""The world as a whole: fake engines, a seeded data folder, and `controlplane up` over both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
import time
from pathlib import Path
from typing import Self

import httpx

from controlplane.access.roles import Role
from controlplane.config.loader import LoadedFleet, load_fleet
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore, StoreLimits
from controlplane.metrics.storage.folder import Folder
from controlplane.store.database import Database
from controlplane.store.migrate import migrate
from tests.e2e.bad_day import alarms, rows
from tests.e2e.bad_day.curves import Grid
from tests.e2e.bad_day.edges import report
from tests.e2e.bad_day.fleet import RULES, fleet_yaml
from tests.e2e.bad_day.places import Server, Size, servers
from tests.e2e.bad_day.recorded import record
from tests.e2e.bad_day.rows import TOKENS
from tests.e2e.bad_day.samples import Backfill
from tests.e2e.bad_day.server import EngineServer, bound
from tests.e2e.bad_day.snapshots import make_repository
from tests.e2e.bad_day.story import stories
from tests.e2e.bad_day.switches import Switches
from tests.e2e.bad_day.triton import triton
from tests.fakes.triton import FakeTriton
from tests.patience import HANG_S, PROCESS_S
from tests.ports import free_address


class World:
    """`async with World(folder) as world`: the console is at `world.url`."""

    def __init__(self, folder: Path, size: Size | None = None, listen: str = "") -> None:
        """`folder` must exist and be empty. `listen`: HOST:PORT; "" for a free port."""
        self.folder, self.size = folder, size or Size()
        self.listen = listen or free_address()
        self.url = f"http://{self.listen}"
        self.tritons: dict[str, list[FakeTriton]] = {}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
        async with contextlib.AsyncExitStack() as stack:
            grid = Grid(time.time())
            fake = await asyncio.to_thread(servers, self.size, grid)
            sockets, port = bound(fake)
            await stack.enter_async_context(EngineServer(fake, sockets))
            await self._start_tritons(stack, fake)
            self._write_configuration(fake, port)
            await asyncio.gather(self._seed(fake, grid), make_repository(self.folder))
            stack.push_async_callback(self._stop)
            await self._start()
            client = await stack.enter_async_context(self.client(Role.GATEWAY))
            reports = asyncio.create_task(report(client), name="gateways")
            stack.callback(reports.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    @property
    def log(self) -> Path:
        """File of the control plane's log."""
        return self.folder / "log"

    def client(self, role: Role = Role.ADMIN) -> httpx.AsyncClient:
        """Return a client of the API. The caller closes it."""
        headers = {"Authorization": f"Bearer {TOKENS[role]}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=HANG_S)

    async def _start_tritons(self, stack: contextlib.AsyncExitStack, fake: list[Server]) -> None:
        for story in stories(self.size.models):
            if story.driver != "triton":
                continue
            versions = tuple(int(version.removeprefix("v")) for version in story.versions)
            stable = int(story.stable.removeprefix("v"))
            count = sum(server.model == story.name for server in fake)
            self.tritons[story.name] = [await stack.enter_async_context(triton(versions, stable)) for _ in range(count)]

    def _write_configuration(self, fake: list[Server], port: int) -> None:
        urls = {model: [one.url for one in tritons] for model, tritons in self.tritons.items()}
        (self.folder / "rules.yml").write_text(RULES)
        (self.folder / "token").write_text("not used")
        (self.folder / "fleet.yaml").write_text(fleet_yaml(self.size, fake, port, urls, self.folder))

    async def _seed(self, fake: list[Server], grid: Grid) -> None:
        """Write the database and the samples. What the rules and the rollouts read must be there first."""
        loaded = load_fleet(self.folder / "fleet.yaml")
        metrics, data = loaded.fleet.metrics, self.folder / "data"
        store = await asyncio.to_thread(
            SeriesStore.in_folder, data / "metrics", metrics.retention, StoreLimits(), metrics.retention_recorded
        )
        assert isinstance(store.space, Folder)
        db = Database(f"sqlite:///{data}/controlplane.db")
        queries = MetricsQuerier(PromqlEngine(store))
        try:
            samples = Backfill(store, loaded, fake, grid.now)
            await asyncio.gather(
                asyncio.to_thread(samples.until, grid.now), asyncio.to_thread(_rows, db, loaded, grid.now)
            )
            await Switches(db, loaded, queries, grid.now).carry_out()
            await asyncio.to_thread(record, store, loaded, grid.now)
            await alarms.evaluate(db, loaded, queries, store, grid.now)
            await asyncio.to_thread(alarms.hold, db, grid.now)
            await asyncio.to_thread(alarms.synthetic, db, self.size.alerts, grid.now)
            await asyncio.to_thread(samples.until, time.time())
            await asyncio.to_thread(store.space.sync)
        finally:
            queries.close()
            store.space.close()
            db.close()

    async def _start(self) -> None:
        words = ("up", "-c", self.folder / "fleet.yaml", "--listen", self.listen, "--data-dir", self.folder / "data")
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "controlplane", *words),
                env={**os.environ, "CP_BOOTSTRAP_TOKEN": TOKENS[Role.ADMIN]},
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(PROCESS_S), self.client() as client:
            while True:
                assert self._process.returncode is None, self.log.read_text()
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.1)

    async def _stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


def _rows(db: Database, loaded: LoadedFleet, now: float) -> None:
    migrate(db)
    rows.tokens(db, now)
    rows.keys_and_usage(db, loaded.fleet, now)
    rows.backups(db, now)
    rows.acts(db, now)
    rows.left_gateway(db)
