"""One web server for all fake engines, gateways and exporters: the address that was asked tells which of them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Self

from aiohttp import web

from tests.e2e.bad_day.places import Server

HTML = "<!doctype html><html><title>Sign in</title><body>Please sign in to the corporate proxy.</body></html>"


class EngineServer:
    """Serves `servers` on `port` of their addresses, and a webhook. `async with EngineServer(…)`."""

    def __init__(self, servers: Sequence[Server], sockets: Sequence[socket.socket]) -> None:
        """`sockets[i]` is bound to the address of `servers[i]`."""
        self._by_host: Mapping[str, Server] = {server.host: server for server in servers}
        self._sockets = sockets
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/hook/{status}", self._hook)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        for bound in self._sockets:
            await web.SockSite(self._runner, bound).start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    def _server(self, request: web.Request) -> Server:
        assert request.transport is not None
        return self._by_host[request.transport.get_extra_info("sockname")[0]]

    async def _metrics(self, request: web.Request) -> web.Response:
        server = self._server(request)
        if server.page is None:
            return web.Response(text=HTML, content_type="text/html")
        await asyncio.sleep(0.002 + hash(server.name) % 40 / 1000)
        return web.Response(body=server.page.body(time.time()), content_type="text/plain")

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self._server(request).model, "object": "model"}]})

    async def _hook(self, request: web.Request) -> web.Response:
        status = int(request.match_info["status"])
        return web.Response(status=status, text="" if status < 300 else "the integration is not set up")


def bound(servers: Sequence[Server]) -> tuple[list[socket.socket], int]:
    """Return a bound socket for each server, and their port."""
    for _ in range(20):
        sockets: list[socket.socket] = []
        try:
            port = 0
            for server in servers:
                sockets.append(socket.socket())
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sockets[-1].bind((server.host, port))
                port = sockets[-1].getsockname()[1]
        except OSError:  # another program has the port at one of the addresses
            for one in sockets:
                one.close()
            continue
        return sockets, port
    raise OSError("no port is free at all addresses of the fake engines")
