"""A plain connection to servers on loopback that cut, repeat, delay or pad their answers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
import uvloop

from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus, Unreachable
from collectors.http.fetch import HttpSource

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)
OK = b"HTTP/1.1 200 OK\r\n"
FIVE = OK + b"Content-Length: 5\r\n\r\n"


def on_both_loops(test: Callable[..., Any]) -> Callable[..., None]:
    """Run a test on asyncio's loop and on that of `controlplane up`: their transports have no common base class."""

    def run(loop: Callable[[], asyncio.AbstractEventLoop], **arguments: object) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(test(**arguments))

    own = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    parameters = [*inspect.signature(test).parameters.values(), own]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what pytest looks for arguments in
    return pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])(run)


class Server:
    """A server with one script per connection; the last script repeats. Counts connections and requests."""

    def __init__(self, *scripts: Callable[[Server, Reader, Writer], Awaitable[None]]) -> None:
        self.scripts = list(scripts)
        self.connections = self.requests = 0

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/metrics"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        try:
            await script(self, reader, writer)
        except (ConnectionError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def request(self, reader: Reader) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1


def sending(*pieces: bytes, then: str = "ask again") -> Callable[[Server, Reader, Writer], Awaitable[None]]:
    """Answer each request with these pieces, one packet each. `then`: whether the first answer ends the connection."""

    async def script(server: Server, reader: Reader, writer: Writer) -> None:
        while True:
            await server.request(reader)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if then == "end":
                return

    return script


async def closing_on_the_second_request(server: Server, reader: Reader, writer: Writer) -> None:
    await server.request(reader)
    writer.write(FIVE + b"up 1\n")
    await server.request(reader)


async def twice(url: str) -> list[bytes | str]:
    source = HttpSource(url, max_body_bytes=1000)
    answers: list[bytes | str] = []
    for _ in range(2):
        try:
            answers.append(await source.read(5))
        except ScrapeError as error:
            answers.append(str(error))
    await source.close()
    return answers


@pytest.mark.parametrize(
    ("pieces", "connections"),
    [
        ((FIVE + b"up 1\n",), 1),
        ((FIVE, b"up", b" 1\n"), 1),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nup\r\n", b"3\r\n 1\n\r\n0\r\nX-Trailer: 1\r\n\r\n"), 1),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", FIVE + b"up 1\n"), 1),
        ((b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 9\r\n\r\n" + FIVE + b"up 1\n",), 1),
        ((OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nup 1\n",), 2),
        ((b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n",), 2),
        ((FIVE + b"up 1\n" + FIVE + b"up 9\n",), 2),
        ((FIVE + b"up 1\n" + b"and more",), 2),
    ],
    ids=["whole", "pieces", "chunked", "continue", "hints", "close", "1.0", "two answers", "garbage behind"],
)
@on_both_loops
async def test_a_connection_is_kept_unless_the_answer_forbids_it(pieces: tuple[bytes, ...], connections: int) -> None:
    server = Server(sending(*pieces))
    async with server as url:
        assert await twice(url) == [b"up 1\n", b"up 1\n"]
    assert (server.requests, server.connections) == (2, connections)


@on_both_loops
async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    server = Server(sending(OK + b"\r\nup ", b"1\n", then="end"))
    async with server as url:
        assert await twice(url) == [b"up 1\n", b"up 1\n"]
    assert server.connections == 2


@on_both_loops
async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    server = Server(closing_on_the_second_request)
    async with server as url:
        assert await twice(url) == [b"up 1\n", b"up 1\n"]
    assert (server.requests, server.connections) == (3, 2)


@on_both_loops
async def test_a_server_that_answers_no_second_connection_either_is_not_asked_for_ever() -> None:
    async def silent(server: Server, reader: Reader, writer: Writer) -> None:
        await server.request(reader)

    server = Server(closing_on_the_second_request, silent)
    async with server as url:
        assert await twice(url) == [b"up 1\n", "connection closed before an answer"]
    assert (server.requests, server.connections) == (3, 2)


@on_both_loops
async def test_an_answer_that_is_cut_is_not_asked_for_again() -> None:
    async def cutting(server: Server, reader: Reader, writer: Writer) -> None:
        await server.request(reader)
        writer.write(FIVE + b"up 1\n")
        await server.request(reader)
        writer.write(FIVE + b"up")

    server = Server(cutting)
    async with server as url:
        assert await twice(url) == [b"up 1\n", "connection closed in the middle of the body"]
    assert (server.requests, server.connections) == (2, 1)


@pytest.mark.parametrize(
    ("pieces", "error", "message"),
    [
        ((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",), UnexpectedStatus, "101"),
        ((b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 100), ExpositionError, "not HTTP"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",), ExpositionError, "not HTTP"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n",), Unreachable, "closed before an answer"),
    ],
    ids=["upgrade", "endless head", "bad chunk", "nothing but interim"],
)
@on_both_loops
async def test_what_is_no_answer_is_refused(pieces: tuple[bytes, ...], error: type[ScrapeError], message: str) -> None:
    async with Server(sending(*pieces, then="end")) as url:
        source = HttpSource(url, max_body_bytes=1000)
        with pytest.raises(error, match=message):
            await source.read(5)
        await source.close()


@on_both_loops
async def test_a_read_that_ran_out_of_time_leaves_nothing_to_the_next_one() -> None:
    async def late(server: Server, reader: Reader, writer: Writer) -> None:
        await server.request(reader)
        writer.write(FIVE + b"up")
        await reader.read()

    server = Server(late, sending(FIVE + b"up 2\n"))
    async with server as url:
        source = HttpSource(url, max_body_bytes=1000)
        with pytest.raises(ScrapeError, match="2 bytes received"):
            await source.read(0.2)
        assert await source.read(5) == b"up 2\n"
        await source.close()
