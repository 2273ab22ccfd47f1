"""A fake that is one server on a free loopback port: `async with FakeX() as x`, which is at `x.url`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from aiohttp import web


class Served(ABC):
    """Serves the fake's routes while it is entered. A request that a client gives up is cancelled."""

    url = ""

    @abstractmethod
    def _app(self) -> web.Application:
        """Return the routes."""

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(self._app(), shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
