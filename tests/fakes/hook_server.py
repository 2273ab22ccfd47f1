"""A receiver of hooks that can misbehave, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from tests.fakes.raw_http import Broken, Message, parse_head, read_body

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def status(line: str, body: bytes = b"", *fields: str) -> Answering:
    """Return a whole answer with a status line such as `503 Busy`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {line}", f"Content-Length: {len(body)}", "Connection: close", *fields]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)

    return answer


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await reader.read()


async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Leave with a reset."""
    writer.transport.abort()


async def lies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with something that is not HTTP."""
    writer.write(b"220 mail.example ESMTP\r\n")


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promise a longer body than comes."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")


async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a body without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()


@dataclass
class HookServer:
    """`async with HookServer([answer, …]) as server`. Each request gets the next answer; the last one stays."""

    answers: list[Answering] = field(default_factory=lambda: [status("200 OK")])
    tls: ssl.SSLContext | None = None
    requests: list[Message] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{port}/hook"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in asyncio.all_tasks():
            if task.get_coro().__qualname__ == "HookServer._serve":  # type: ignore[union-attr]
                task.cancel()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, Broken, asyncio.CancelledError):
            request = parse_head((await reader.readuntil(b"\r\n\r\n"))[:-4].decode().encode())
            await read_body(reader, request)
            self.requests.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            await answer(reader, writer)
            await writer.drain()
        writer.close()
