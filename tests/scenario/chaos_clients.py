"""Clients that ask for streams again and again, and write down how each one ended."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import dataclass

from tests.fakes.token_engine import HELD

STREAMS = 50
AGAIN_S = 0.5
"""Seconds after which a client asks again that was not connected."""


@dataclass(frozen=True)
class Ended:
    """One stream, as its client saw it end."""

    how: str
    """whole, told (the gateway said that it broke off), broken (without a word), silent (the connection was closed
    before the answer), unconnected, or the status of a refusal."""
    engine: str
    """Engine that the tokens came from; "" for none."""
    said: bytes
    """End of the answer."""
    began_at: float = 0.0
    """Unix seconds at which its request was sent."""
    ended_at: float = 0.0
    """Unix seconds at which its client saw the end."""


class Stream:
    """One request, and what its client has got of the answer."""

    def __init__(self, port: int, prompt: str) -> None:
        self._port = port
        self._request = _request(prompt)
        self._got = b""
        self._began_at = 0.0

    @property
    def engine(self) -> str:
        """Engine that the tokens come from; "" before the first one."""
        found = re.search(rb'"content": ?"(v\d\w)"', self._got)
        return found[1].decode() if found else ""

    async def run(self) -> Ended:
        """Ask, and read to the end."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            await asyncio.sleep(AGAIN_S)
            return Ended("unconnected", "", b"")
        self._began_at = time.time()
        try:
            writer.write(self._request)
            while more := await reader.read(65536):
                self._got += more
        except ConnectionError:
            pass
        finally:
            writer.close()
        return Ended(judge(self._got), self.engine, self._got[-400:], self._began_at, time.time())


class Clients:
    """STREAMS clients, and those whose streams end only when their engine is told so."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._asking = True
        self._tasks: list[asyncio.Task[None]] = []
        self._held: dict[Stream, asyncio.Task[None]] = {}
        self.ended: list[Ended] = []
        self._hows: Counter[str] = Counter()

    def start(self) -> None:
        """Let all clients ask."""
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(STREAMS)]

    async def stop(self) -> None:
        """Let each client finish its stream and ask no more."""
        self._asking = False
        await asyncio.gather(*self._tasks, *self._held.values())

    async def cancel(self) -> None:
        """End all clients at once."""
        everybody = [*self._tasks, *self._held.values()]
        for task in everybody:
            task.cancel()
        await asyncio.gather(*everybody, return_exceptions=True)

    def hold(self) -> None:
        """Ask for one more stream that its engine holds open."""
        stream = Stream(self._port, HELD)
        self._held[stream] = asyncio.create_task(self._keep(stream))

    def held(self) -> Counter[str]:
        """Return the number of streams that are held open now, by version; "" without a token yet."""
        return Counter(stream.engine[:2] for stream, task in self._held.items() if not task.done())

    def hows(self) -> Counter[str]:
        """Return the number of streams by their end."""
        return Counter(self._hows)

    async def _ask(self) -> None:
        while self._asking:
            await self._keep(Stream(self._port, "hi"))

    async def _keep(self, stream: Stream) -> None:
        ended = await stream.run()
        self.ended.append(ended)
        self._hows[ended.how] += 1


def judge(got: bytes) -> str:
    """Say how a stream ended, as `Ended.how` has it."""
    if not got:
        return "silent"
    if not got.startswith(b"HTTP/1.1 200"):
        return got[9:12].decode()
    if b"data: [DONE]" in got and got.endswith(b"0\r\n\r\n"):
        return "whole"
    return "told" if b'"error"' in got else "broken"


def _request(prompt: str) -> bytes:
    body = json.dumps({"model": "chat", "stream": True, "messages": [{"role": "user", "content": prompt}]}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
