"""An engine that says what a test wrote down for it, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

SSE = "text/event-stream"
JSON = "application/json"
NDJSON = "application/x-ndjson"


@dataclass
class ScriptedEngine:
    """One engine. Each request gets the answer of its path, until the test writes another one down."""

    url: str = ""
    answers: dict[str, tuple[int, str, list[bytes], bool]] = field(default_factory=dict)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    """(target, body) of each request."""
    connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = field(default_factory=dict)

    def says(self, path: str, kind: str, *pieces: bytes, status: int = 200, dies: bool = False) -> None:
        """Write down an answer. `dies`: the connection breaks after the pieces, without an end."""
        self.answers[path] = (status, kind, list(pieces), dies)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        task = asyncio.current_task()
        assert task is not None
        self.connections[writer] = task
        try:
            while await self._answer(reader, writer):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()
            del self.connections[writer]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return False  # the gateway closed the connection
        first, *lines = head.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        target = first.split()[1]
        self.requests.append((target, await reader.readexactly(int(fields.get("content-length", "0")))))
        status, kind, pieces, dies = self.answers[target.partition("?")[0]]
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if not dies:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return not dies


@asynccontextmanager
async def scripted_engine() -> AsyncIterator[ScriptedEngine]:
    """Run an engine on a free port of loopback until the block ends."""
    engine = ScriptedEngine()
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    engine.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield engine
    finally:
        server.close()
        tasks = list(engine.connections.values())
        for writer in list(engine.connections):
            writer.transport.abort()
        await asyncio.gather(*tasks)
