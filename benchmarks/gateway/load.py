"""Clients for bench_gateway.py: requests at a fixed rate, and many open streams, over plain sockets.

    python benchmarks/gateway/load.py rate PORT KEY PER_SECOND SECONDS
    python benchmarks/gateway/load.py streams PORT KEY STREAMS SECONDS

Each prints one JSON object. A request at a fixed rate has its place in time whether earlier ones are answered or not,
so a slow answer delays no other and is not left out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import httptools
import uvloop

PROMPT = {"model": "chat", "max_tokens": 16, "messages": [{"role": "user", "content": "What is a control plane?"}]}


def request(key: str, **more: object) -> bytes:
    """Return a whole request."""
    body = json.dumps({**PROMPT, **more}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"accept: application/json\r\nuser-agent: bench\r\nauthorization: Bearer {key}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self.tokens = 0
        self.begun: asyncio.Future[None] | None = None
        self.done: asyncio.Future[float] | None = None
        self.lost = False
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse an answer, or count the tokens of a stream."""
        if self.begun is None:
            self._parser.feed_data(data)
        elif tokens := data.count(b'" token"'):
            self.tokens += tokens
            if not self.begun.done():
                self.begun.set_result(None)

    def on_message_complete(self) -> None:
        """Note the end of an answer, and whether it was a good one."""
        good = self._parser.get_status_code() == 200
        self._parser = httptools.HttpResponseParser(self)
        if self.done and not self.done.done():
            if good:
                self.done.set_result(time.perf_counter())
            else:
                self.done.set_exception(ConnectionError("the answer was an error"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self.lost = True
        for future in (self.begun, self.done):
            if future and not future.done():
                future.set_exception(ConnectionError("the connection was closed"))


async def connect(port: int) -> Client:
    """Open one connection."""
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


async def rate(port: int, key: str, per_second: float, seconds: float) -> dict[str, float]:
    """Send requests at a fixed rate; return latencies in ms."""
    loop = asyncio.get_running_loop()
    text = request(key)
    idle = [await connect(port) for _ in range(32)]
    took: list[float] = []
    failed = 0

    async def one(client: Client) -> None:
        nonlocal failed
        client.done = loop.create_future()
        started = time.perf_counter()
        client.transport.write(text)
        try:
            ended_at = await asyncio.wait_for(client.done, 10)
        except (ConnectionError, TimeoutError):
            failed += 1
            return
        took.append((ended_at - started) * 1e3)
        idle.append(client)

    tasks = []
    begun = loop.time()
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(max(0.0, begun + number / per_second - loop.time()))
        client = idle.pop() if idle else await connect(port)
        tasks.append(asyncio.ensure_future(one(client)))
    await asyncio.gather(*tasks)
    if not took:
        raise SystemExit(f"all {failed} requests failed")
    took.sort()
    return {
        "requests": len(took),
        "failed": failed,
        "p50_ms": took[len(took) // 2],
        "p99_ms": took[len(took) * 99 // 100],
        "mean_ms": sum(took) / len(took),
    }


async def streams(port: int, key: str, count: int, seconds: float) -> dict[str, float]:
    """Hold streams open; return the number of tokens that came within `seconds` after all had begun."""
    loop = asyncio.get_running_loop()
    text = request(key, stream=True, max_tokens=1_000_000)
    clients = []
    for _ in range(count):
        client = await connect(port)
        client.begun = loop.create_future()
        client.transport.write(text)
        clients.append(client)
    await asyncio.wait([client.begun for client in clients if client.begun], timeout=60)
    print("open", flush=True)
    before, began = sum(client.tokens for client in clients), time.perf_counter()
    await asyncio.sleep(seconds)
    after, took = sum(client.tokens for client in clients), time.perf_counter() - began
    return {
        "streams": sum(not client.lost and client.tokens > 0 for client in clients),
        "tokens_per_second": (after - before) / took,
    }


if __name__ == "__main__":
    kind, port, key, amount, seconds = sys.argv[1:]
    work = rate if kind == "rate" else streams
    print(json.dumps(uvloop.run(work(int(port), key, int(amount), float(seconds)))))
