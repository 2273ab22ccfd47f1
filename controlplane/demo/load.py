"""The demo's load generator: a few streaming clients of Triton and of the simulated chat pair, and honest counts."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from controlplane.demo.tally import RequestFailed, StreamCut, Tally
from controlplane.plain_text import plain

KEY_ENV = "CP_DEMO_KEY"
"""Environment variable with the API key of the chat requests. It may choose a version: its role is tester."""
REQUEST_TIMEOUT_S = 30.0
DRAIN_S = 3.0
"""How long requests in flight may still take once the load is told to stop."""
_SYSTEM = "You are the assistant of a demo; answer in a few plain words, never ask back, and stop when all is said."
"""Shared by every chat request, as in real fleets: it is what a prefix cache caches."""
_PROMPTS = ("hello", "what is new", "tell me a story", "how are you today", "why is the sky so blue")


class NotLoopback(ValueError):
    """The load generator aims at this machine only."""


def require_loopback(url: str) -> str:
    """Return `url` where its host is this machine. Raises NotLoopback."""
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return url
    raise NotLoopback(f"{url}: the demo's load goes to loopback addresses only (127.0.0.1, ::1)")


@dataclass(frozen=True)
class Destination:
    """Where `clients` concurrent clients stream from, each pausing `pause_s` between two requests."""

    name: str
    url: str
    kind: str
    """`triton` (generate_stream) or `openai` (chat completions)."""
    clients: int
    pause_s: float
    headers: Mapping[str, str] = field(default_factory=dict)


class StreamReader:
    """Reads one answer's server-sent events: collects its text, and knows whether its final marker came."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.text, self.finished = "", False

    def feed(self, line: bytes) -> None:
        """Take one line of the body. Raises RequestFailed where the engine reports an error in the stream."""
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.finished = True
            return
        try:
            event = json.loads(data)
            if error := event.get("error"):
                raise RequestFailed(f"error in the stream: {error}")
            if self._kind == "triton":
                self.text += event["text_output"]
                self.finished = event.get("finish_reason") == "stop"
            else:
                self.text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RequestFailed(f"not an event of this protocol: {data[:120]!r}") from error

    @property
    def version(self) -> str:
        """The version that answered, which its text begins with; `unknown` otherwise."""
        head, colon, _ = self.text.partition(":")
        return head if colon else "unknown"


def question(kind: str, number: int) -> dict[str, Any]:
    """The JSON body of the `number`th request."""
    prompt = _PROMPTS[number % len(_PROMPTS)]
    if kind == "triton":
        return {"text_input": prompt, "stream": True}
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": prompt}]
    return {"model": "chat", "stream": True, "messages": messages}


async def ask(
    session: aiohttp.ClientSession, destination: Destination, number: int, timeout_s: float = REQUEST_TIMEOUT_S
) -> str:
    """Send one request and read its whole answer; return the version that gave it.

    Raises RequestFailed, or StreamCut where an answer began (a 200 came) and ended early.
    """
    reader = StreamReader(destination.kind)
    began = False
    try:
        async with (
            asyncio.timeout(timeout_s),
            session.post(
                destination.url,
                json=question(destination.kind, number),
                headers=destination.headers,
                allow_redirects=False,
            ) as response,
        ):
            if response.status != 200:
                body = (await response.content.read(300)).decode("utf-8", "replace").strip()
                raise RequestFailed(f"HTTP {response.status}: {body}")
            began = True
            async for line in response.content:
                reader.feed(line)
    except TimeoutError as error:
        raise RequestFailed(f"no whole answer within {timeout_s:g}s") from error
    except (aiohttp.ClientError, ValueError) as error:  # aiohttp raises ValueError for an over-long line
        kind = StreamCut if began else RequestFailed
        raise kind(f"{type(error).__name__}: {error}") from error
    if not reader.finished:
        raise StreamCut(f"the stream ended without its final marker after {reader.text[:80]!r}")
    return reader.version


class LoadGenerator:
    """Runs the clients of every destination; `tallies` are by destination name."""

    def __init__(self, destinations: Sequence[Destination], *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Raises NotLoopback where a destination is another machine."""
        for destination in destinations:
            require_loopback(destination.url)
        self._destinations, self._timeout_s = destinations, timeout_s
        self.tallies = {name: Tally(name) for name in dict.fromkeys(d.name for d in destinations)}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Begin no further request."""
        self._stopping.set()

    async def run(self, drain_s: float = DRAIN_S) -> None:
        """Ask until `stop`, then wait at most `drain_s` for the answers that are still coming."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            clients = [
                asyncio.create_task(self._client(session, destination, client))
                for destination in self._destinations
                for client in range(destination.clients)
            ]
            try:
                await self._stopping.wait()
                await asyncio.wait(clients, timeout=drain_s)
            finally:
                for client_task in clients:
                    client_task.cancel()
                await asyncio.gather(*clients, return_exceptions=True)

    async def _client(self, session: aiohttp.ClientSession, destination: Destination, client: int) -> None:
        tally, number = self.tallies[destination.name], client
        await self._pause(destination.pause_s * client / destination.clients)
        while not self._stopping.is_set():
            number += 1
            tally.in_flight += 1
            try:
                tally.answered(await ask(session, destination, number, self._timeout_s))
            except (RequestFailed, StreamCut) as error:
                tally.broken(error)
            finally:
                tally.in_flight -= 1
            await self._pause(destination.pause_s)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


def stats_app(load: LoadGenerator, clock: Callable[[], float]) -> web.Application:
    """GET /stats: every destination's counts."""
    started = clock()

    async def stats(request: web.Request) -> web.Response:
        return web.json_response(
            {
                "uptime_seconds": round(clock() - started, 1),
                "destinations": {name: tally.as_json() for name, tally in load.tallies.items()},
            }
        )

    app = web.Application()
    app.add_routes([web.get("/stats", stats)])
    return app


@asynccontextmanager
async def _serve_stats(load: LoadGenerator, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(stats_app(load, time.monotonic), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


async def _run(destinations: Sequence[Destination], stats_port: int) -> LoadGenerator:
    load = LoadGenerator(destinations)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, load.stop)
    async with _serve_stats(load, stats_port):
        await load.run()
    return load


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m controlplane.demo.load`: prints one line of counts a destination at its end."""
    parser = argparse.ArgumentParser(prog="controlplane.demo.load", description=__doc__)
    parser.add_argument("--triton", metavar="URL", help="base URL of the Triton server that serves `model`")
    parser.add_argument("--chat", metavar="URL", required=True, help=f"base URL of `chat`; its API key is in {KEY_ENV}")
    parser.add_argument("--stats-port", metavar="PORT", type=int, required=True)
    options = parser.parse_args(argv)
    chat, key = options.chat + "/v1/chat/completions", {"Authorization": f"Bearer {os.environ.get(KEY_ENV, '')}"}
    destinations = [
        Destination("chat", chat, "openai", clients=4, pause_s=0.65, headers=key),
        Destination("chat v2, by testers", chat, "openai", clients=2, pause_s=4.5, headers={**key, "x-version": "v2"}),
    ]
    if options.triton:
        url = options.triton + "/v2/models/model/generate_stream"
        destinations.insert(0, Destination("model", url, "triton", clients=4, pause_s=0.35))
    try:
        load = asyncio.run(_run(destinations, options.stats_port))
    except (NotLoopback, OSError) as error:
        sys.stderr.write(plain(f"load: {error}") + "\n")
        return 1
    for tally in load.tallies.values():
        sys.stdout.write(f"load: {tally.line()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
