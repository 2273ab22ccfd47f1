"""A control plane for gateways over real HTTP: the long poll of the desired state, and reports. It can misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from controlplane.gateway.desired.codec import encode, sealed
from controlplane.gateway.desired.document import BackendSpec, Desired, ModelSpec, VersionSpec
from tests.fakes.usage_ledger import Ledger


def desired_of(generation: int, **weights: tuple[int, str]) -> Desired:
    """Return a state with the model `chat`; `v1=(1000, url)` is a version with its weight and backend."""
    versions = tuple(
        VersionSpec(name, weight, (BackendSpec(url, "vllm", "chat"),)) for name, (weight, url) in weights.items()
    )
    return sealed(Desired("-", (ModelSpec("chat", generation, versions),), authentication=False))


class GatewayControlPlane:
    """Answers with `body`. `status` other than 200 is answered to everything."""

    def __init__(self) -> None:
        self.body, self.revision = b"", ""
        self.status = 200
        self.reports: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.shares: dict[str, float] = {}
        self.spent: dict[str, float] = {}
        self.ledger = Ledger()
        self._changed = asyncio.Event()
        self._reported = asyncio.Event()

    def give(self, desired: Desired) -> None:
        """Answer with a state from now on."""
        self.give_bytes(encode(desired), desired.revision)

    def give_bytes(self, body: bytes, revision: str) -> None:
        """Answer with any bytes from now on."""
        self.body, self.revision = body, revision
        self._changed.set()
        self._changed = asyncio.Event()

    async def report_with(self, revision: str) -> dict[str, Any]:
        """Return the first report from now on that says that a revision is applied."""
        while True:
            if self.reports and self.reports[-1]["revision"] == revision:
                return self.reports[-1]
            await self.next_report()

    async def next_report(self) -> dict[str, Any]:
        """Return the next report."""
        self._reported.clear()
        await self._reported.wait()
        return self.reports[-1]

    async def desired(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        if self.status != 200:
            return web.json_response({"title": "no", "detail": "not today"}, status=self.status)
        changed = self._changed
        if request.query["revision"] == self.revision:
            try:
                await asyncio.wait_for(changed.wait(), float(request.query["wait"]))
            except TimeoutError:
                return web.Response(status=204)
        return web.Response(body=self.body, content_type="application/json")

    async def report(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.json_response({"title": "no"}, status=self.status)
        self.reports.append(await request.json())
        self._reported.set()
        return web.json_response({"shares": self.shares, "spent": self.spent})


@asynccontextmanager
async def gateway_control_plane(
    plane: GatewayControlPlane | None = None, port: int = 0
) -> AsyncIterator[tuple[GatewayControlPlane, int]]:
    """Yield (control plane, port). With `plane` and `port` the same one comes back."""
    plane = plane or GatewayControlPlane()
    app = web.Application()
    app.add_routes(
        [
            web.get("/cp/v1/gateways/desired", plane.desired),
            web.post("/cp/v1/gateways/report", plane.report),
            web.post("/cp/v1/gateways/usage", plane.ledger.post),
        ]
    )
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield plane, runner.addresses[0][1]
    finally:
        await runner.cleanup()
