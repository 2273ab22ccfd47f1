"""An engine of one API in this process: `/v1/chat/completions`. The test decides when a stream gets its next token."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return chunk(b"data: " + json.dumps(body).encode() + b"\n\n")


class ChatEngine:
    """Answers a request at once with `reply`. A stream gets one token, and the rest when `finish` is set."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        self.finish = asyncio.Event()
        self.requests = 0
        self.streams = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                if not lengths:  # a control plane looks whether the engine is ready
                    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                    continue
                length = int(lengths[0].split(b":")[1])
                asked = json.loads(await reader.readexactly(length))
                self.requests += 1
                await (self._stream(writer) if asked.get("stream") else self._answer(writer))

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        message = {"role": "assistant", "content": self.reply}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        body = json.dumps(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": usage,
            }
        ).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        self.streams += 1
        try:
            writer.write(HEAD + event("first"))
            await writer.drain()
            await self.finish.wait()
            writer.write(event("last") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            await writer.drain()
        finally:
            self.streams -= 1


@asynccontextmanager
async def chat_engine(reply: str = "hello") -> AsyncIterator[ChatEngine]:
    """Run an engine on a free port."""
    engine = ChatEngine(reply)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        # A test that ends cancels what is left; asyncio would report that as an error of its callback.
        with contextlib.suppress(asyncio.CancelledError):
            await engine.serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    engine.port = server.sockets[0].getsockname()[1]
    try:
        yield engine
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
