"""The admin listener: /healthz, /readyz and /metrics of a gateway, over plain HTTP/1.1, one request a connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

MAX_HEAD = 8 * 2**10
MAX_CONNECTIONS = 64
"""Most connections at once. Chosen: a few scrapers and health checks."""
HEAD_S, ANSWER_S = 5.0, 10.0


class Answer(NamedTuple):
    """The answer to one path."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


Page = Callable[[], Awaitable[Answer]]


class Admin:
    """Answers GET and HEAD of a few paths."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._open = 0
        self._silent: dict[asyncio.StreamWriter, None] = {}
        """Connections whose head has not come, the oldest first."""
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Accept connections on a bound socket."""
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=MAX_HEAD)

    async def close(self) -> None:
        """Accept none any more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._has_place():
                head = await self._head(reader, writer)
                async with asyncio.timeout(ANSWER_S):
                    writer.write(await self._answer(head))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open -= 1
            with contextlib.suppress(OSError):
                writer.close()
                await writer.wait_closed()

    def _has_place(self) -> bool:
        """Return whether one more connection may be served. The oldest silent one ends for it: idle connections must
        not keep a health check out."""
        if self._open <= MAX_CONNECTIONS:
            return True
        oldest = next(iter(self._silent), None)
        if oldest is None:
            return False
        del self._silent[oldest]
        oldest.transport.abort()
        return True

    async def _head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        self._silent[writer] = None
        try:
            async with asyncio.timeout(HEAD_S):
                return await reader.readuntil(b"\r\n\r\n")
        finally:
            self._silent.pop(writer, None)

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        page = self._pages.get(path)
        if method not in ("GET", "HEAD"):
            found = Answer(405, b"only GET and HEAD are answered here\n")
        elif page is None:
            found = Answer(404, f"only {', '.join(self._pages)} are here\n".encode())
        else:
            found = await page()
        status = HTTPStatus(found.status)
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {found.kind}\r\n"
            f"Content-Length: {len(found.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return lines.encode() + (b"" if method == "HEAD" else found.body)
