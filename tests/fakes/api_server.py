"""A server whose JSON answers a test sets, over the wire. It notes what is asked, and can hang, stop and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class ApiServer:
    """Answers by `answers`: "GET /path" to a status, a text, bytes, "hang", or what becomes JSON. The default is 404.

    "GET /path?query" goes before "GET /path".
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        """Headers of every answer with a body."""
        self.asked: list[str] = []
        self.authorizations: list[str | None] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, at the port of the last time."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        whole = f"{request.method} {request.path_qs}"
        self.asked.append(whole)
        self.authorizations.append(request.headers.get("Authorization"))
        answer = self.answers.get(whole, self.answers.get(f"{request.method} {request.path}", 404))
        if answer == "hang":
            await asyncio.Event().wait()
        if isinstance(answer, int):
            return web.Response(status=answer)
        if isinstance(answer, bytes):
            return web.Response(body=answer, headers=self.headers)
        if isinstance(answer, str):
            return web.Response(text=answer, headers=self.headers)
        return web.json_response(answer, headers=self.headers)


@asynccontextmanager
async def api_server() -> AsyncIterator[ApiServer]:
    """Run one."""
    server = ApiServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
