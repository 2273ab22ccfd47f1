"""Connections that ask nothing are closed; those that ask, or wait for an answer, are not."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from controlplane.app.connections import IDLE_S, Sweeper, allow_many_files
from controlplane.app.http_connection import Places
from controlplane.app.serve import MAX_HEAD_BYTES, server_config
from tests.patience import HANG_S, until


class Answers:
    """An application whose `/slow` answers once it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(
    app: Any, places: Places | None = None, keep_alive_s: int = 600
) -> AsyncIterator[tuple[uvicorn.Server, tuple[str, int]]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = server_config(app, Places(100) if places is None else places)
        config.timeout_keep_alive = keep_alive_s  # by default only the sweeper ends connections here
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve(sockets=[listener]))
        try:
            yield server, listener.getsockname()
        finally:
            app.go.set()
            server.should_exit = True
            await task


def quiet(server: uvicorn.Server) -> bool:
    cycles: list[Any] = [getattr(connection, "cycle", None) for connection in server.server_state.connections]
    return all(cycle.response_complete for cycle in cycles)


async def ended(reader: asyncio.StreamReader) -> bool:
    with suppress(ConnectionResetError):  # how closing shows where bytes were not read yet
        await asyncio.wait_for(reader.read(), HANG_S)
    return True


@pytest.mark.parametrize("start", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX-a: "])
async def test_a_head_that_never_ends_is_given_up(start: bytes) -> None:
    async with serving(Answers()) as (server, address):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(start)
        await until(lambda: len(server.server_state.connections) == 1)
        sweeper = Sweeper()
        assert sweeper.sweep(server.server_state.connections, 100.0) == 0
        assert sweeper.sweep(server.server_state.connections, 100.0 + IDLE_S - 0.1) == 0
        assert sweeper.sweep(server.server_state.connections, 100.0 + IDLE_S) == 1
        assert await ended(reader)
        writer.close()


async def test_a_half_head_after_a_good_request_is_given_up_and_a_slow_answer_is_not() -> None:
    app = Answers()
    async with serving(app) as (server, address):
        reader, writer = await asyncio.open_connection(*address)
        sweeper = Sweeper()
        for moment in (0.0, 15.0, 30.0):  # idle at every look, but each time after another request
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            await until(lambda: quiet(server))
            assert sweeper.sweep(server.server_state.connections, moment) == 0
        writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: not quiet(server))
        assert sweeper.sweep(server.server_state.connections, 40.0) == 0
        assert sweeper.sweep(server.server_state.connections, 400.0) == 0
        app.go.set()
        await reader.readuntil(b"ok")
        writer.write(b"GET / HT")
        await until(lambda: quiet(server))
        assert sweeper.sweep(server.server_state.connections, 500.0) == 0
        assert sweeper.sweep(server.server_state.connections, 500.0 + IDLE_S) == 1
        assert await ended(reader)
        writer.close()


async def test_a_head_without_end_costs_no_memory() -> None:
    async with serving(Answers()) as (_, address):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-a: " + b"a" * (MAX_HEAD_BYTES + 1))
        assert (await asyncio.wait_for(reader.readline(), HANG_S)).startswith(b"HTTP/1.1 400")
        assert await ended(reader)
        writer.close()


def test_the_limit_of_open_files_is_raised_as_far_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, int]] = []
    told: list[int] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    for now in ((1024, 4096), (1024, 1_048_576), (1024, resource.RLIM_INFINITY), (100_000, 200_000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, now=now: now)
        told.append(allow_many_files())
    assert told == [4096, 65_536, 65_536, 100_000]
    assert limits == [(4096, 4096), (65_536, 1_048_576), (65_536, resource.RLIM_INFINITY)]


def test_a_connection_outlasts_the_time_between_two_refreshes_of_a_page() -> None:
    page = (Path(__file__).parents[4] / "controlplane/web/templates/live_part.html").read_text()
    (every_s,) = re.findall(r"every (\d+)s", page)
    assert server_config(Answers(), Places(1)).timeout_keep_alive > 2 * int(every_s)
