"""One process with the demo's simulated fleet: two vLLM engines, a DCGM exporter and the admin port for faults."""

from __future__ import annotations

import argparse
import asyncio
import hmac
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from controlplane.demo.dcgm import DcgmSimulator
from controlplane.demo.faults import DESCRIPTIONS, SECRET_ENV, SECRET_HEADER, SLOW_S, DemoFault, DemoFaults
from controlplane.demo.repository import write_faults
from controlplane.demo.vllm import VllmSimulator
from controlplane.errors import NotFound
from controlplane.plain_text import plain

_STEP_S = 1.0


class Admin:
    """The admin port: GET /fault lists, POST /fault {"name"} activates one or clears. Each request needs the secret."""

    def __init__(self, faults: DemoFaults, secret: str) -> None:
        self._faults, self._secret = faults, secret.encode()

    def app(self) -> web.Application:
        """The HTTP application."""
        app = web.Application()
        app.add_routes([web.get("/fault", self._list), web.post("/fault", self._apply)])
        return app

    async def _list(self, request: web.Request) -> web.Response:
        self._check(request)
        return self._state()

    async def _apply(self, request: web.Request) -> web.Response:
        self._check(request)
        try:
            self._faults.apply(str((await request.json())["name"]))
        except NotFound as error:
            return web.json_response({"detail": str(error)}, status=404)
        except (ValueError, KeyError, TypeError):
            return web.json_response({"detail": 'expected a JSON body {"name": FAULT}'}, status=400)
        return self._state()

    def _check(self, request: web.Request) -> None:
        if not hmac.compare_digest(request.headers.get(SECRET_HEADER, "").encode(), self._secret):
            raise web.HTTPForbidden(text=f"the header {SECRET_HEADER} is missing or wrong")

    def _state(self) -> web.Response:
        return web.json_response({"active": sorted(self._faults.active), "available": DESCRIPTIONS})


class SimulatedFleet:
    """The simulators wired together: GPUs 0 and 1 work for chat v1, 2 and 3 for chat v2."""

    def __init__(self, faults: DemoFaults) -> None:
        self.v1 = VllmSimulator("v1", lambda: faults.active, clock=time.monotonic)
        self.v2 = VllmSimulator("v2", lambda: faults.active, clock=time.monotonic)
        self.dcgm = DcgmSimulator(self._loads, lambda: faults.active, clock=time.monotonic)

    def _loads(self) -> tuple[float, float, float, float]:
        v1, v2 = self.v1.busy, self.v2.busy
        return v1, 0.9 * v1, v2, 0.9 * v2

    def dcgm_app(self) -> web.Application:
        """The exporter's HTTP application."""

        async def metrics(request: web.Request) -> web.Response:
            return web.Response(
                body=self.dcgm.exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
            )

        app = web.Application()
        app.add_routes([web.get("/metrics", metrics)])
        return app


async def serve(ports: argparse.Namespace, secret: str) -> None:
    """Serve every port on 127.0.0.1 until SIGTERM or SIGINT."""

    def on_change(active: frozenset[DemoFault]) -> None:
        if ports.triton_faults is not None:
            write_faults(ports.triton_faults, {2: SLOW_S} if DemoFault.SLOW_V2 in active else {})

    faults = DemoFaults(on_change)
    fleet = SimulatedFleet(faults)
    apps = {
        ports.vllm_v1: fleet.v1.app(),
        ports.vllm_v2: fleet.v2.app(),
        ports.dcgm: fleet.dcgm_app(),
        ports.admin: Admin(faults, secret).app(),
    }
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        for port, app in apps.items():
            # handler_cancellation: an engine stops generating for a client that has gone
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", port).start()
        while not stop.is_set():
            fleet.dcgm.advance()  # also between scrapes, so that short bursts of load are seen
            try:
                await asyncio.wait_for(stop.wait(), _STEP_S)
            except TimeoutError:
                continue


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m controlplane.demo.simulate`: ports by options, the admin secret from the environment."""
    parser = argparse.ArgumentParser(prog="controlplane.demo.simulate", description=__doc__)
    for name in ("vllm-v1", "vllm-v2", "dcgm", "admin"):
        parser.add_argument(f"--{name}", type=int, required=True, metavar="PORT")
    parser.add_argument("--triton-faults", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    secret = os.environ.get(SECRET_ENV, "")
    if not secret:
        parser.error(f"set {SECRET_ENV} to the admin port's secret")
    try:
        asyncio.run(serve(options, secret))
    except OSError as error:
        sys.stderr.write(plain(f"cannot listen: {error}") + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
