"""An HTTP proxy on a free loopback port: tunnels (CONNECT) and requests for whole addresses. It can refuse."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class HttpProxy:
    """`async with HttpProxy() as proxy`. Whatever host is asked for, the connection goes to loopback."""

    def __init__(self) -> None:
        self.authorization = ""
        """Value of Proxy-Authorization that is wanted; "": none is."""
        self.status = 0
        """Status that answers each request in place of the server."""
        self.asked: list[str] = []
        """First line of each request, without its version."""
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # The end of the proxy is no error: asyncio logs a task of a server that was cancelled.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, _, fields = head.partition("\r\n")
        method, target, _ = line.split(" ")
        self.asked.append(f"{method} {target}")
        headers = dict(field.split(": ", 1) for field in fields.split("\r\n") if field)
        shown = {name.lower(): value for name, value in headers.items()}.get("proxy-authorization", "")
        status = self.status or (407 if self.authorization and shown != self.authorization else 0)
        if status:
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        if method == "CONNECT":
            there = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            parts = urlsplit(target)
            there = await asyncio.open_connection("127.0.0.1", parts.port)
            path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            there[1].write(f"{method} {path} HTTP/1.1\r\n{fields}".encode())
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
