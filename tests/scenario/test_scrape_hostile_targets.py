"""A healthy target among hostile ones, over real sockets: it is scraped as if it were alone.

Each hostile target fails for its own reason. Nothing here asserts how long anything took: the healthy target proves
its independence by being scraped again and again while the others hang.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from collectors.exposition.parser import Limits, Parsed
from collectors.http.fetch import HttpSource
from collectors.samples import FloatArray, Layout
from collectors.scraping.report import report_key
from collectors.scraping.scrape import ScrapeManager
from collectors.target import Source, Target
from tests.fakes.recipes import MadeBy
from tests.patience import HANG_S

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LIMITS = Limits(max_body_bytes=2 * 2**20, max_samples=20_000)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
BOMB = gzip.compress(b"up 1\n" * 4_000_000, compresslevel=1)
"""A gzip bomb: 20 MB of text, about 0.1 MB compressed."""
MANY_SAMPLES = b"".join(b'a{i="%d"} 1\n' % i for i in range(30_000))


class Sink:
    """Keeps the rows of each source."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[Layout, list[float]]]] = {}
        self.arrived = asyncio.Event()

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        self.rows.setdefault(source, []).append((layout, values.tolist()))
        self.arrived.set()

    def end(self, source: str, timestamp_ms: int) -> None:
        """Do nothing: no target here succeeds first and fails later."""

    def ups(self, target: Target) -> list[float]:
        return [values[0] for _, values in self.rows.get(report_key(target), [])]


class WallClock:
    def now(self) -> float:
        return time.time()


async def wait_until(sink: Sink, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_S):
        while not condition():
            sink.arrived.clear()
            await sink.arrived.wait()


async def hang_before_accepting_a_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hang_in_the_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    await asyncio.Event().wait()


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"\r\n")
    while True:
        writer.write(b"#")
        await writer.drain()
        await asyncio.sleep(0.02)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Length: 256\r\n\r\n" + bytes(range(256)))


async def not_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x01\x02\x03 not http at all\r\n\r\n")


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"\r\n")
    while True:
        writer.write(b"up 1\n" * 10_000)
        await writer.drain()


async def gzip_bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + f"Content-Encoding: gzip\r\nContent-Length: {len(BOMB)}\r\n\r\n".encode() + BOMB)
    await writer.drain()


async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/?token=abc\r\nContent-Length: 0\r\n\r\n")


async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")


async def reset_in_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Length: 1000\r\n\r\nup 1\n")
    await writer.drain()
    # Closing with a zero linger time sends a reset instead of an end.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def too_many_samples(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + f"Content-Length: {len(MANY_SAMPLES)}\r\n\r\n".encode() + MANY_SAMPLES)
    await writer.drain()


HOSTILE: dict[Handler, tuple[str, str]] = {
    hang_before_accepting_a_request: ("timeout", "timed out after 0.3s ("),
    hang_in_the_headers: ("timeout", "timed out after 0.3s ("),
    trickle: ("timeout", "timed out after 0.3s ("),
    garbage: ("malformed", "line 2: not UTF-8"),
    not_http: ("malformed", "the answer is not HTTP"),
    endless: ("too-large", "the body has more than the 2097152 bytes allowed"),
    gzip_bomb: ("too-large", "the body has more than the 2097152 bytes allowed"),
    too_many_samples: ("too-large", "the body has more than the 20000 samples allowed"),
    redirect: (
        "status",
        "answered 302 Found, expected 200: a redirect to evil.example:80 over http, which is not followed",
    ),
    broken: ("status", "answered 500 Internal Server Error, expected 200"),
    reset_in_the_body: ("unreachable", "connection "),
}


class Servers:
    """Real servers on loopback."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, handler: Handler, **target: Any) -> Target:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            self._tasks.add(task)
            try:
                if handler is not hang_before_accepting_a_request:
                    await reader.readuntil(b"\r\n\r\n")
                await handler(reader, writer)
            except (ConnectionError, EOFError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        self._servers.append(server)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        name = getattr(handler, "__name__", "target")
        settings = {"interval_s": 0.5, "timeout_s": 0.3, "job": name, "url": f"http://{address}/metrics", **target}
        return Target(engine="custom", instance=address, **settings)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    servers = Servers()
    yield servers
    await servers.close()


def manager_for(sink: Sink) -> ScrapeManager:
    def source(target: Target) -> Source:
        return HttpSource(target.url, target.auth, max_body_bytes=LIMITS.max_body_bytes)

    def layout(_target: Target, parsed: Parsed) -> Layout:
        return Layout(parsed.series, metadata=parsed.metadata)

    return ScrapeManager(sink, partial(MadeBy, source), layout, WallClock(), LIMITS)


@pytest.fixture
def healthy(fixtures: Path) -> Handler:
    body = (fixtures / "vllm-0.32-llm.prom").read_bytes()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packed = gzip.compress(body)
        writer.write(OK + f"Content-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode() + packed)
        await writer.drain()

    return handle


async def test_hostile_targets_fail_for_their_own_reasons_beside_a_healthy_one(
    servers: Servers, healthy: Handler
) -> None:
    sink = Sink()
    manager = manager_for(sink)
    # Its deadline is generous: what is asserted is that it is scraped, not how fast this machine is.
    good = await servers.start(healthy, job="healthy", timeout_s=30.0)
    # So are those of targets that answer something.
    hostile = {
        await servers.start(handler, timeout_s=0.3 if expected[0] == "timeout" else 30.0): expected
        for handler, expected in HOSTILE.items()
    }
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = Target("custom", f"http://127.0.0.1:{unused.getsockname()[1]}/", "nobody", "nobody", (), (), 0.5, 30.0)
        hostile[nobody] = ("unreachable", "connection refused")

        await manager.apply([*hostile, good])
        await wait_until(sink, lambda: len(sink.ups(good)) >= 4 and all(len(sink.ups(t)) >= 2 for t in hostile))
        health = {h.target: h for h in manager.health()}
        await manager.close()

    assert set(sink.ups(good)) == {1.0}
    assert (health[good].health, health[good].samples, health[good].last_error) == ("up", 372, "")
    layouts = {id(layout) for layout, _ in sink.rows[good.key]}
    assert len(layouts) == 1
    for target, (reason, message) in hostile.items():
        assert (target.job, health[target].health, health[target].last_error_reason) == (target.job, "down", reason)
        assert health[target].last_error.startswith(message)
        assert set(sink.ups(target)) == {0.0}
        assert target.key not in sink.rows


async def test_dead_name_servers_of_many_targets_do_not_keep_another_from_resolving_its_name(
    servers: Servers, healthy: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    resolve = socket.getaddrinfo

    def lookup(host: str, *args: Any, **kwargs: Any) -> Any:
        if host.startswith("dead"):
            released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr("collectors.http.fetch.socket.getaddrinfo", lookup)
    sink = Sink()
    manager = manager_for(sink)
    good = await servers.start(healthy, job="healthy", timeout_s=30.0)
    port = good.instance.rpartition(":")[2]
    named = Target("custom", f"http://localhost:{port}/metrics", "named", "named", (), (), 0.5, 30.0)
    dead = [Target("custom", f"http://dead{i}.example/", "dead", f"d{i}", (), (), 0.5, 0.3) for i in range(40)]
    try:
        await manager.apply([*dead, named])
        await wait_until(sink, lambda: len(sink.ups(named)) >= 2 and all(sink.ups(t) for t in dead))
        health = {h.target: h for h in manager.health()}
    finally:
        released.set()
        await manager.close()
    assert set(sink.ups(named)) == {1.0}
    assert {health[t].last_error for t in dead} == {"timed out after 0.3s (not connected)"}
