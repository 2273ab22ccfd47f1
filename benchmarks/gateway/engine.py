"""A small and fast OpenAI-compatible engine for bench_gateway.py: uvloop, httptools, one timer for all streams.

    python benchmarks/gateway/engine.py PORT

It answers `/v1/chat/completions` with a fixed completion of 16 tokens, or with a stream of `max_tokens` tokens, 20 a
second. Every other path answers 200.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import httptools
import uvloop

RATE = 20
"""Tokens a second of each stream."""
SLOTS = 5
"""Parts of the streams that get their tokens at different times, as requests begin at any time."""
USAGE = {"prompt_tokens": 12, "completion_tokens": 16, "total_tokens": 28}
BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "chat",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "It is a small answer of a few words, no more than this."},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(delta: dict[str, object], finish: str | None = None, **more: object) -> bytes:
    """Return one event of a stream as a chunk."""
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "chat",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }
    data = b"data: %b\n\n" % json.dumps(chunk).encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


FIRST, TOKEN = event({"role": "assistant", "content": ""}), event({"content": " token"})
END = b"data: [DONE]\n\n"
LAST = event({}, "stop") + event({}, None, usage=USAGE) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(END), END)


class Streams:
    """All open streams. Each gets a token in every turn of its slot."""

    def __init__(self) -> None:
        self._slots: list[dict[asyncio.Transport, int]] = [{} for _ in range(SLOTS)]
        self._turn = 0
        self._next = 0

    def add(self, transport: asyncio.Transport, tokens: int) -> None:
        """Begin a stream."""
        transport.write(HEAD + FIRST)
        self._slots[self._next % len(self._slots)][transport] = tokens
        self._next += 1

    async def run(self) -> None:
        """Send tokens for ever."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        slots = len(self._slots)
        while True:
            self._turn += 1
            slot = self._slots[self._turn % slots]
            for transport, left in list(slot.items()):
                if transport.is_closing():
                    del slot[transport]
                elif left:
                    transport.write(TOKEN)
                    slot[transport] = left - 1
                else:
                    transport.write(LAST)
                    del slot[transport]
            await asyncio.sleep(max(0.0, begun + self._turn / (RATE * slots) - loop.time()))


class Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse. A router that looks for HTTP/2 or gRPC is told by the end of the connection that there is none."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_body(self, body: bytes) -> None:
        """Store a piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer."""
        if b'"stream": true' in self._body or b'"stream":true' in self._body:
            self._streams.add(self._transport, int(json.loads(self._body).get("max_tokens") or 16))
        else:
            self._transport.write(ANSWER)
        self._body.clear()


async def serve(port: int) -> None:
    """Serve until killed."""
    streams = Streams()
    await asyncio.get_running_loop().create_server(lambda: Connection(streams), "127.0.0.1", port, backlog=2048)
    print("ready", flush=True)
    await streams.run()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
