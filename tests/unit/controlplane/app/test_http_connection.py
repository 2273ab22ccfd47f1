"""What one client can make the server hold, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from controlplane.app import http_connection
from controlplane.app.http_connection import MAX_THROWN_AWAY, Places
from tests.patience import HANG_S, until
from tests.unit.controlplane.app.test_connections import ended, serving

HEAD = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Turnstile:
    """Refuses at once on /refuse, reads bodies elsewhere once it is let go; says how much it has read."""

    def __init__(self) -> None:
        self.go, self.read = asyncio.Event(), 0
        self.body = b"ok"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/read":
            await self.go.wait()
            while True:
                message = await receive()
                self.read += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message["more_body"]:
                    break
        headers = [(b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@asynccontextmanager
async def client(
    address: tuple[str, int], source: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(HANG_S):
        return await reader.readuntil(b"\r\n\r\n")


def buffered(server: uvicorn.Server) -> int:
    connections: list[Any] = list(server.server_state.connections)
    return sum(len(c.cycle.body) for c in connections if c.cycle is not None)


async def flood(writer: asyncio.StreamWriter, enough: Callable[[], bool]) -> int:
    """Send without an end until nothing is taken any more, or `enough`; return the bytes that were handed over."""
    sent = 0
    with contextlib.suppress(OSError):
        while not enough():
            writer.write(b" " * 2**16)
            sent += 2**16
            await writer.drain()
    return sent


async def test_of_a_body_that_nobody_reads_one_read_is_held() -> None:
    app = Turnstile()
    async with serving(app) as (server, address), client(address) as (_, writer):
        writer.write(HEAD % b"read")
        flooding = asyncio.create_task(flood(writer, lambda: False))
        await until(lambda: requests(server) == 1)
        connection: Any = next(iter(server.server_state.connections))
        await until(lambda: connection.flow.read_paused)
        assert 0 < buffered(server) <= 256 * 1024
        app.go.set()
        await until(lambda: app.read > 2**20)  # asked for, it comes
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def test_a_refused_body_is_thrown_away_within_bounds_and_leaves_nothing() -> None:
    async with serving(Turnstile()) as (server, address), client(address) as (reader, writer):
        writer.write(HEAD % b"refuse" + b" " * 2**16)
        assert (await head_of(reader)).startswith(b"HTTP/1.1 401")
        assert buffered(server) == 0
        sent = await flood(writer, reader.at_eof)
        assert await ended(reader)
        # What sockets hold in between is the system's.
        assert sent < MAX_THROWN_AWAY + 16 * 2**20
        await until(lambda: not server.server_state.connections)


async def test_a_refused_body_that_trickles_is_given_up() -> None:
    async with serving(Turnstile(), keep_alive_s=1) as (server, address), client(address) as (reader, writer):
        writer.write(HEAD % b"refuse")
        await head_of(reader)
        async with asyncio.timeout(HANG_S):
            while server.server_state.connections:
                writer.write(b" ")
                await asyncio.sleep(0.05)
        assert await ended(reader)


async def test_after_a_small_refused_body_the_connection_goes_on() -> None:
    async with serving(Turnstile()) as (_, address), client(address) as (reader, writer):
        for _ in range(3):
            writer.write(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n")
            assert (await head_of(reader)).startswith(b"HTTP/1.1 401")
            assert await reader.readexactly(2) == b"ok"
            writer.write(b" " * 70_000)


async def test_one_address_has_a_bound_and_leaves_room_for_the_others() -> None:
    async with contextlib.AsyncExitStack() as stack:
        server, address = await stack.enter_async_context(serving(Turnstile(), places=Places(10, of_address=2)))
        held = [await stack.enter_async_context(client(address)) for _ in range(2)]
        await until(lambda: len(server.server_state.connections) == 2)
        async with client(address) as (reader, _):
            answer = await head_of(reader)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"Retry-After: 5" in answer
            assert b"from this address" in await reader.read()
        async with client(address, "127.0.0.2") as (reader, writer):
            writer.write(GET)
            assert (await head_of(reader)).startswith(b"HTTP/1.1 401")
        held[0][1].close()
        await until(lambda: len(server.server_state.connections) == 1)
        async with client(address) as (reader, writer):
            writer.write(GET)
            assert (await head_of(reader)).startswith(b"HTTP/1.1 401")


async def test_a_trusted_proxy_stands_for_many() -> None:
    places = Places(10, of_address=1, trusted=lambda: [ipaddress.ip_network("127.0.0.1")])
    async with contextlib.AsyncExitStack() as stack:
        _, address = await stack.enter_async_context(serving(Turnstile(), places=places))
        for _ in range(5):
            reader, writer = await stack.enter_async_context(client(address))
            writer.write(GET)
            assert (await head_of(reader)).startswith(b"HTTP/1.1 401")


async def test_where_all_places_are_taken_the_idle_one_that_waits_longest_makes_room() -> None:
    async with contextlib.AsyncExitStack() as stack:
        server, address = await stack.enter_async_context(serving(Turnstile(), places=Places(2)))
        busy = await stack.enter_async_context(client(address))
        busy[1].write(HEAD % b"read")
        await until(lambda: requests(server) == 1)
        idle = await stack.enter_async_context(client(address))
        idle[1].write(b"GET / HT")
        await until(lambda: len(server.server_state.connections) == 2)
        other = await stack.enter_async_context(client(address))
        other[1].write(HEAD % b"read")
        assert await ended(idle[0])
        await until(lambda: requests(server) == 2)
        async with client(address) as (reader, _):
            assert (await head_of(reader)).startswith(b"HTTP/1.1 503")
        assert not busy[0].at_eof()
        assert not other[0].at_eof()


def requests(server: uvicorn.Server) -> int:
    """How many connections have a request that is being answered."""
    connections: list[Any] = list(server.server_state.connections)
    return sum(not connection.idle for connection in connections)


async def test_a_client_that_takes_nothing_of_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "WRITE_S", 0.2)
    app = Turnstile()
    app.body = b" " * 32 * 2**20
    async with serving(app) as (server, address), client(address) as (reader, writer):
        reader._limit = 1024  # type: ignore[attr-defined]  # asyncio reads no further than that ahead
        writer.write(GET)
        await until(lambda: bool(server.server_state.connections))
        await until(lambda: not server.server_state.connections)


async def test_a_client_that_reads_slowly_gets_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "WRITE_S", 2.0)  # all of it takes longer
    app = Turnstile()
    app.body = b" " * 24 * 2**20
    async with serving(app) as (_, address), client(address) as (reader, writer):
        writer.write(GET)
        await head_of(reader)
        left = len(app.body)
        async with asyncio.timeout(HANG_S):
            while left:
                left -= len(await reader.read(2**18))
                await asyncio.sleep(0.03)
    assert left == 0
