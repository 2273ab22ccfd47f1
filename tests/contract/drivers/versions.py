"""Servers of versions behind a real proxy, and clients that count which version answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Self

import aiohttp

from controlplane.config.models import ModelSection
from tests.contract.drivers.pace import Pace
from tests.fakes.openai_server import OpenAiServer
from tests.patience import until

TOLD = "x-version"


class Versions:
    """A server for each version; the one of v3 is never ready. `async with Versions() as versions`."""

    def __init__(self, names: Sequence[str] = ("v1", "v2", "v3")) -> None:
        self.servers = {name: OpenAiServer("llama", version=name) for name in names}
        if "v3" in self.servers:
            self.servers["v3"].health = 503

    async def __aenter__(self) -> Self:
        for server in self.servers.values():
            await server.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for server in self.servers.values():
            await server.__aexit__(*exc)

    def address(self, version: str) -> str:
        """Return host:port of a version's server."""
        return self.servers[version].url.removeprefix("http://")

    def stream(self, pace: Pace | None = None) -> None:
        """Let every version be ready, and stream its tokens one after another, at this pace or in real time."""
        for server in self.servers.values():
            server.health, server.pace_s, server.pace = 200, 0.005, pace.wait if pace else None

    @contextlib.asynccontextmanager
    async def hold(self, url: str, version: str) -> AsyncIterator[tuple[Callable[[], None], Awaitable[str]]]:
        """Keep one request open, which must reach `version`."""
        server = self.servers[version]
        server.release = asyncio.Event()
        before = len(server.asked)
        task = asyncio.create_task(_one(url))
        await until(lambda: len(server.asked) > before)
        try:
            yield server.release.set, task
        finally:
            server.release.set()
            await task
            server.release = None

    def section(self, **traffic: Any) -> ModelSection:
        """Return the model's section of fleet.yaml with these fields under `traffic:`."""
        return ModelSection.model_validate(
            {
                "name": "chat",
                "stable": "v1",
                "traffic": {"model": "llama", **traffic},
                "versions": {
                    name: {"backends": [{"url": server.url, "engine": "vllm"}]} for name, server in self.servers.items()
                },
            }
        )


async def _one(url: str) -> str:
    (version,) = await clients(url, 1, 1)
    return version


async def clients(url: str, requests: int, at_once: int = 4) -> Counter[str]:
    """Send requests to a proxy, and return how many answers each version gave. Every answer must be whole."""
    found: Counter[str] = Counter()
    left = iter(range(requests))

    async def one(session: aiohttp.ClientSession) -> None:
        for _ in left:
            async with session.post(f"{url}/v1/chat/completions", json={"model": "llama"}) as answer:
                assert answer.status == 200, await answer.text()
                found[answer.headers[TOLD]] += 1

    # Each request has its own connection, as requests of different clients do.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        await asyncio.gather(*(one(session) for _ in range(at_once)))
    return found
