"""Cost of the gateway's own code for one request, with all stages of a worker and without sockets. Run it by hand.

    python benchmarks/gateway_path.py

It calls what the event loop calls: a read of a client, a read of an engine. Keys, limits, weights, metrics and usage
records are on, as in bench_gateway.py. It prints the least microseconds of ROUNDS, as CPU time of the process:

- a small completion whose head comes again, and one with a `traceparent` of its own;
- a piece of a stream with one token.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Callable
from typing import Any

import uvloop
from gateway.contenders import TOKEN, desired_state
from gateway.engine import ANSWER, FIRST, HEAD
from gateway.engine import TOKEN as PIECE

from controlplane.gateway.limits.keeper import Keeper
from controlplane.gateway.process.areas import LIMITS, SIZES
from controlplane.gateway.process.assembly import DataPath
from controlplane.gateway.process.begin import Begin
from controlplane.gateway.process.memory import SharedMemory
from controlplane.gateway.wire.client import ClientConnection

ROUNDS, CALLS = 120, 300
BODY = b'{"model": "chat", "max_tokens": 16, "messages": [{"role": "user", "content": "What is a control plane?"}]}'


class Transport(asyncio.Transport):
    """Takes everything, and notes that it was written to."""

    def __init__(self, protocol: asyncio.Protocol, written: list[Transport]) -> None:
        super().__init__()
        self.protocol = protocol
        self._written = written

    def write(self, data: Any) -> None:
        """Note it."""
        self._written.append(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return an address."""
        return ("127.0.0.1", 1) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def is_closing(self) -> bool:
        """It stays open."""
        return False

    def abort(self) -> None:
        """Nothing to end."""


class Loop(uvloop.Loop):
    """An event loop that connects to no engine."""

    def __init__(self) -> None:
        self.asked: list[Transport] = []
        """Connections to engines that wait for an answer."""

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], asyncio.Protocol], *where: Any, **more: Any
    ) -> Any:
        """Return a connection that is its own engine."""
        protocol = factory()
        transport = Transport(protocol, self.asked)
        protocol.connection_made(transport)
        return transport, protocol


def request(stream: bool, trace: int | None) -> bytes:
    """Return a request as a client sends it."""
    body = BODY[:-1] + b', "stream": true}' if stream else BODY
    lines = [b"POST /v1/chat/completions HTTP/1.1", b"host: 127.0.0.1:8400", b"content-type: application/json"]
    lines.append(b"authorization: Bearer " + TOKEN.encode())
    if trace is not None:
        lines.append(b"traceparent: 00-%032x-%016x-00" % (trace, trace))
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


async def least_us(call: Callable[[int], None]) -> float:
    """Return the microseconds of a call. Between the rounds the loop writes records."""
    found = []
    for number in range(ROUNDS):
        start = time.process_time()
        for each in range(number * CALLS, (number + 1) * CALLS):
            call(each)
        await asyncio.sleep(0.006)
        found.append((time.process_time() - start) / CALLS * 1e6)
    return min(found)


async def main() -> None:
    """Measure and print."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        memory = SharedMemory.create(SIZES)
        desired = desired_state(["127.0.0.1:1", "127.0.0.1:2"])
        Keeper(memory.area(LIMITS)).apply(desired, loop.time())
        path = DataPath(Begin(0, memory.fd, SIZES, [], folder, 2**30, 0, 1.0, logging.ERROR), loop)
        path.apply(desired, loop.time())
        client = ClientConnection(path.server)
        client.connection_made(Transport(client, []))
        asked = loop.asked
        alike = request(stream=False, trace=None)

        def complete(data: bytes) -> None:
            client.data_received(data)
            asked.pop().protocol.data_received(ANSWER)

        for _ in range(200):  # the first requests to both versions connect
            client.data_received(alike)
            while not asked:  # noqa: ASYNC110 - the loop connects in between
                await asyncio.sleep(0)
            asked.pop().protocol.data_received(ANSWER)
        print(f"{await least_us(lambda _: complete(alike)):6.1f} µs a small completion")
        traced = [request(stream=False, trace=number) for number in range(ROUNDS * CALLS)]
        print(f"{await least_us(lambda number: complete(traced[number])):6.1f} µs one with a trace of its own")
        client.data_received(request(stream=True, trace=None))
        engine = asked.pop().protocol
        engine.data_received(HEAD + FIRST)
        print(f"{await least_us(lambda _: engine.data_received(PIECE)):6.1f} µs a piece of a stream")
        await path.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
