"""A receiver of messages over real HTTP, in memory, that can misbehave. Each kind of notifier has its `reply`."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web


@dataclass(frozen=True)
class Got:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names are in lower case."""
    body: bytes
    port: int = 0
    """The client's: requests on one connection have the same."""

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


Reply = Callable[[Got], web.Response]


def accepts(_got: Got) -> web.Response:
    """Accept every request."""
    return web.Response(text="ok")


@dataclass
class Receiver:
    """A receiver and what it got."""

    reply: Reply = accepts
    url: str = ""
    got: list[Got] = field(default_factory=list)
    """All requests, refused ones included."""
    taken: list[Got] = field(default_factory=list)
    """Requests that were answered by `reply`, and so were not a fault."""
    faults: deque[str] = field(default_factory=deque)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends hanging requests, so that the server can stop."""

    def misbehave(self, *faults: str) -> None:
        """Answer the next requests with these faults.

        `hang`, `reset`, `lost` (does as asked and drops the connection), `garbage` (200 and no text), `flood` (an
        endless body), `redirect`, or a status with an optional Retry-After and body: `429:7`, `503`, `400::no blocks`.
        """
        self.faults.extend(faults)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert request.transport is not None
        port = request.transport.get_extra_info("peername")[1]
        got = Got(request.method, request.path, dict(request.query), headers, await request.read(), port)
        self.got.append(got)
        fault = self.faults.popleft() if self.faults else ""
        if fault in ("", "lost"):
            self.taken.append(got)
            answer = self.reply(got)
            if fault == "lost":
                _drop(request)
            return answer
        return await self._misbehaved(fault, request)

    async def _misbehaved(self, fault: str, request: web.Request) -> web.StreamResponse:
        if fault == "hang":
            await self.released.wait()
        if fault in ("hang", "reset"):
            _drop(request)
            return web.Response()
        if fault == "garbage":
            return web.Response(body=b"\xff\x00{not json")
        if fault == "redirect":
            return web.Response(status=307, headers={"Location": "http://elsewhere.example/secret"})
        if fault == "flood":
            return await self._flood(request)
        status, _, rest = fault.partition(":")
        wait, _, body = rest.partition(":")
        return web.Response(status=int(status), text=body, headers={"Retry-After": wait} if wait else {})

    async def _flood(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while not self.released.is_set():
                await response.write(b"x" * 65536)
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response


def _drop(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


@asynccontextmanager
async def receiving(reply: Reply = accepts, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Serve on a free loopback port until the block ends."""
    receiver = Receiver(reply)
    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        receiver.released.set()
        await runner.cleanup()
