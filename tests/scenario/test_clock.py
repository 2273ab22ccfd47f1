"""A live control plane whose clock is set while it runs, by libfaketime: nothing stops, and the steps are reported.

One step back and one step forward show that all parts follow. The unit tests of the watch, of alerting and of the clock
have steps of a second to an hour.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.fakes.faked_clock import environment
from tests.patience import HANG_S, PROCESS_S

pytestmark = [pytest.mark.needs("faketime"), pytest.mark.timeout(600)]

TOKEN = "cp_0123456789ab_" + "a" * 64
FLEET = """
fleet: {{name: clock}}
evaluation_interval: 1s
scrape: {{interval: 10s, timeout: 10s}}
targets:
  - {{engine: custom, addresses: ["{target}"]}}
rules: [builtin:llm, rules.yml]
notifiers: [{{name: log, type: log}}]
route: {{receiver: log, group_by: [alertname], group_wait: 1s, group_interval: 1s}}
"""

"""An interval of 10 s makes /readyz name the clock for 21 s: two scrapes and an evaluation."""

"""Gone fires only where a temperature was seen before: the first evaluation may come before the first scrape."""
RULES = """
groups:
  - name: g
    rules:
      - alert: Gone
        expr: absent(temperature) and on() present_over_time(temperature[2h])
        labels: {severity: critical}
      - {alert: Hot, expr: "temperature > 85", labels: {severity: critical}}
"""


class Machine:
    """Runs `controlplane up` with its own clock, and sends requests to it."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder, self.log = folder, folder / "log"
        self.rc = folder / "clock"
        self.set_clock(0)
        (folder / "fleet.yaml").write_text(FLEET.format(target=target))
        (folder / "rules.yml").write_text(RULES)
        self.client = httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=HANG_S)
        self.process: asyncio.subprocess.Process | None = None
        self.started = 0
        self.readiness: Any = None
        """The last answer about it."""

    def set_clock(self, by_s: float) -> None:
        """Set the clock to the real time plus `by_s` seconds."""
        draft = self.rc.with_suffix(".new")
        draft.write_text(f"{by_s:+g}\n")
        draft.replace(self.rc)

    async def start(self) -> None:
        variables = os.environ | environment(self.rc) | {"CP_BOOTSTRAP_TOKEN": TOKEN}
        command = ["-m", "controlplane", "up", "-c", "fleet.yaml", "--data-dir", "data", "--listen", "127.0.0.1:0"]
        with self.log.open("ab") as log:
            self.started = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, *command, cwd=self.folder, env=variables, stdout=log, stderr=log
            )
        await self.until(self.address)
        await self.until(self.ready)

    async def stop(self, *, kill: bool = False) -> None:
        if self.process is not None and self.process.returncode is None:
            (self.process.kill if kill else self.process.terminate)()
            await self.process.wait()

    def said(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self.started)
            return log.read().decode()

    async def address(self) -> bool:
        return "listening on " in self.said()

    async def get(self, path: str, **params: str) -> Any:
        port = self.said().partition("listening on ")[2].split()[0].rpartition(":")[2]
        return (await self.client.get(f"http://127.0.0.1:{port}{path}", params=params)).json()

    async def ready(self) -> bool:
        self.readiness = await self.get("/readyz")
        return bool(self.readiness["status"] == "ready")

    async def not_ready_for_the_clock(self) -> bool:
        answer = await self.get("/readyz")
        return "clock" in answer["not_ready"]

    async def value(self, expr: str) -> list[float]:
        answer = await self.get("/api/v1/query", query=expr)
        return [float(one["value"][1]) for one in answer["data"]["result"]]

    async def evaluations(self) -> dict[str, str]:
        """Return the last evaluation of each group, without those that are evaluated once in minutes."""
        groups = (await self.get("/api/v1/rules"))["data"]["groups"]
        return {group["name"]: group["lastEvaluation"] for group in groups if group["interval"] < 60}

    async def alerts(self) -> set[str]:
        alerts = (await self.get("/api/v1/alerts"))["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts} - {"Watchdog"}

    async def until(self, holds: Callable[[], Awaitable[object]]) -> None:
        """Wait for a condition. After a hang the assertion shows the process's log."""
        try:
            # A step waits for the rules under way, and each rule that hangs is ended after half a minute.
            async with asyncio.timeout(2 * PROCESS_S):
                while not await holds():
                    assert self.process is None or self.process.returncode is None, self.said()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{holds} did not come to hold; {self.readiness}:\n{self.said()}") from None


class Gpu:
    """A target with the temperature of a GPU and a counter of its scrapes."""

    def __init__(self) -> None:
        self.temperature, self.scrapes = 50.0, 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.scrapes += 1
        return web.Response(text=f"temperature {self.temperature}\nscrapes_total {self.scrapes}\n")


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Machine, Gpu]]:
    gpu = Gpu()
    app = web.Application()
    app.router.add_get("/metrics", gpu.answer)
    server = TestServer(app)
    await server.start_server()
    machine = Machine(folder, f"127.0.0.1:{server.port}")
    try:
        await machine.start()
        yield machine, gpu
    finally:
        await machine.stop()
        await machine.client.aclose()
        await server.close()


@pytest.mark.parametrize("by", [-300, 3600])
async def test_a_clock_that_is_set_stops_nothing(tmp_path: Path, by: int) -> None:
    async with running(tmp_path) as (machine, gpu):

        async def seen() -> bool:
            return await machine.value("temperature") == [gpu.temperature]

        await machine.until(seen)
        first = await machine.evaluations()

        async def judged() -> bool:
            after = await machine.evaluations()
            return all(after[name] != at for name, at in first.items())

        await machine.until(judged)
        before, scrapes = await machine.evaluations(), gpu.scrapes
        machine.set_clock(by)
        await machine.until(machine.not_ready_for_the_clock)

        async def counted() -> bool:
            direction = "forward" if by > 0 else "back"
            return await machine.value(f'controlplane_clock_steps_total{{direction="{direction}"}}') == [1]

        await machine.until(machine.ready)
        await machine.until(counted)
        assert machine.said().count(f"clock: it was set {'forward' if by > 0 else 'back'} by ") == 1

        # Every group is evaluated, every target is scraped, and queries return the newest samples.
        async def evaluated() -> bool:
            after = await machine.evaluations()
            return all(after[name] != at for name, at in before.items()) and gpu.scrapes > scrapes + 1

        gpu.temperature = 90.0
        await machine.until(evaluated)
        await machine.until(seen)

        async def hot() -> bool:
            return await machine.alerts() >= {"Hot", "ClockStepped"}

        await machine.until(hot)
        for alert in ("Hot", "ClockStepped"):

            async def told(alert: str = alert) -> bool:
                return alert in machine.said()

            await machine.until(told)
        assert await machine.value("resets(scrapes_total[2h])") == [0]
        assert await machine.value("controlplane_store_rows_out_of_order_total") == [0]
        assert "FIRING: Gone" not in machine.said()


async def test_a_process_that_starts_with_an_earlier_clock_waits_for_no_dead_one(tmp_path: Path) -> None:
    async with running(tmp_path) as (machine, gpu):
        gpu.temperature = 90.0

        async def firing() -> bool:
            return "Hot" in await machine.alerts()

        await machine.until(firing)
        await machine.stop(kill=True)
        machine.set_clock(-3600)
        await machine.start()
        assert "the clock was set back by " in machine.said()
        assert "alerting: " in machine.said()

        async def evaluated() -> bool:
            evaluations = await machine.evaluations()
            return bool(evaluations) and not any(at.startswith("0001") for at in evaluations.values())

        await machine.until(evaluated)

        async def stored() -> bool:
            return await machine.value("scrapes_total") == [gpu.scrapes]

        await machine.until(stored)
        assert "Hot" in await machine.alerts()
