"""An engine over real sockets that answers as it is told, and misbehaves as real ones do.

A test gives it a script: one behaviour for each request, the last one for all further requests. Each behaviour is a
coroutine that gets the request's connection, and does with it what it likes.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from tests.fakes.raw_http import Broken, Message, parse_head, read_body
from tests.patience import HANG_S

RESET = struct.pack("ii", 1, 0)


class Turn:
    """One request at the engine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Message) -> None:
        self.reader = reader
        self.writer = writer
        self.request = request
        self.keep = True
        """Whether the connection stays open after the answer."""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def left(self) -> None:
        """Return when the gateway has closed the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(2**16):
                pass

    def die(self) -> None:
        """Reset the connection, as a process that is killed does."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.keep = False
        self.writer.transport.abort()


Behaviour = Callable[[Turn], Awaitable[None]]


class FakeEngine:
    """A server on a port of its own. `requests` has all requests that it read, `connections` those that were made."""

    def __init__(self, *script: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.script = list(script)
        self.requests: list[Message] = []
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()
        """Connections that are open now."""
        self.left = 0
        """Connections that the gateway closed in the middle of an answer."""
        self.reads_bodies = True
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._turns: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> FakeEngine:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self.open):
            writer.transport.abort()
        for turn in self._turns:
            turn.cancel()
        await asyncio.gather(*self._turns, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def _behaviour(self) -> Behaviour:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._turns.add(task)
        self.open.add(writer)
        self.connections += 1
        try:
            while await self._turn(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, Broken):
            self.left += 1
        except asyncio.CancelledError:
            pass
        finally:
            self._turns.discard(task)
            self.open.discard(writer)
            writer.close()

    async def _turn(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            text = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):  # the end, or a body that was not read
            return False
        request = parse_head(text.removesuffix(b"\r\n\r\n"))
        if self.reads_bodies:
            await read_body(reader, request)
        self.requests.append(request)
        turn = Turn(reader, writer, request)
        await self._behaviour()(turn)
        return turn.keep


def event(**document: Any) -> bytes:
    """Return one event of SSE."""
    return b"data: " + json.dumps(document).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
TOKEN = event(choices=[{"delta": {"content": " token"}}])
ANSWER = json.dumps({"choices": [{"message": {"content": "An answer."}}]}).encode()
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(status: int = 200, body: bytes = ANSWER, *lines: str) -> Behaviour:
    """Answer with one body."""
    extra = "".join(f"{line}\r\n" for line in lines)

    async def answer(turn: Turn) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}content-length: {len(body)}\r\n\r\n"
        await turn.send(head.encode() + body)

    return answer


def stream(*events: bytes, end: bool = True) -> Behaviour:
    """Answer with a stream whose events come one chunk each. `end`: with the last chunk."""

    async def answer(turn: Turn) -> None:
        await turn.send(SSE_HEAD)
        for data in events:
            await turn.send(chunk(data))
        if end:
            await turn.send(b"0\r\n\r\n")

    return answer


def raw(data: bytes, *, close: bool = False) -> Behaviour:
    """Send some bytes. `close`: end the connection then."""

    async def answer(turn: Turn) -> None:
        await turn.send(data)
        turn.keep = not close

    return answer


def queue_full() -> Behaviour:
    """SGLang with a full queue: 200, an error event, and the end of a stream that went well."""
    return stream(event(error={"message": "The request queue is full.", "code": 503}), DONE)


def error_then_done(before: int = 2) -> Behaviour:
    """Fail in the middle of a stream, and end it as if it went well."""
    return stream(*[TOKEN] * before, event(error={"message": "CUDA error", "code": 500}), DONE)


def dies_after(*events: bytes) -> Behaviour:
    """Be killed in the middle of a stream."""

    async def answer(turn: Turn) -> None:
        await stream(*events, end=False)(turn)
        turn.keep = False  # the kernel closes the sockets of a killed process; a reset could overtake the events

    return answer


async def dies_at_once(turn: Turn) -> None:
    """Be killed before the answer."""
    turn.die()


async def closes_unanswered(turn: Turn) -> None:
    """Close the connection as a request comes: the idle time of an engine ends at that moment."""
    turn.keep = False


async def silent(turn: Turn) -> None:
    """Never answer, and notice when the gateway leaves."""
    await asyncio.wait_for(turn.left(), HANG_S)
    raise Broken(b"")


def held(began: asyncio.Event, *events: bytes) -> Behaviour:
    """Send some events, tell the test, and never end."""

    async def answer(turn: Turn) -> None:
        await stream(*events, end=False)(turn)
        began.set()
        await silent(turn)

    return answer


def trickle(answer: bytes) -> Behaviour:
    """Send an answer byte by byte."""

    async def send(turn: Turn) -> None:
        for at in range(len(answer)):
            await turn.send(answer[at : at + 1])
            await asyncio.sleep(0)

    return send


def large(size: int, piece: bytes = b"x" * 2**16) -> Behaviour:
    """Answer with a body of some size."""

    async def answer(turn: Turn) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {size}\r\n\r\n"
        await turn.send(head.encode())
        for _ in range(size // len(piece)):
            await turn.send(piece)

    return answer
