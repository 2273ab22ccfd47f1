"""Shipping of samples over real HTTP: to a server that misbehaves, and from a process that is killed."""

from __future__ import annotations

import asyncio
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from collectors.samples import Layout, Series, labels_of
from controlplane.metrics.write.remote_write_codec import decode
from controlplane.metrics.write.shipping import queue as queue_module
from controlplane.metrics.write.shipping.queue import ShipQueue
from controlplane.metrics.write.shipping.selection import Selection
from controlplane.metrics.write.shipping.sender import Policy, RowSender
from controlplane.metrics.write.shipping.shipper import Shipper
from controlplane.remote_client import RemoteClient
from tests.patience import HANG_S

Misbehave = Callable[[asyncio.StreamWriter], Awaitable[None]]
TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
LOST_MS = 3000
"""Most milliseconds of lost samples: half a second between two writes, and the delay of a busy machine."""
LAYOUT = Layout(tuple(Series(f"m{n}", labels_of({"job": "x"})) for n in range(10)))


class Server:
    """A receiver of remote write. Each request gets the next scripted misbehaviour; after the last one all succeed."""

    def __init__(self, *script: Misbehave) -> None:
        self.script = list(script)
        self.samples: list[tuple[str, int, float]] = []
        self.requests = 0
        self.arrived = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        tasks: set[asyncio.Task[None]] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            tasks.add(task)
            try:
                while True:
                    await self._one(reader, writer)
            except (ConnectionError, EOFError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1/push?tenant=1"
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
        body = await reader.readexactly(length)
        assert head.startswith("post /api/v1/push?tenant=1 ")
        assert "content-encoding: snappy" in head
        self.requests += 1
        self.arrived.set()
        if self.script:
            await self.script.pop(0)(writer)
            return
        for labels, samples in decode(body).series:
            self.samples += [(dict(labels)["__name__"], at, value) for at, value in samples]
        writer.write(TAKEN)
        await writer.drain()

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(HANG_S):
            while not happened():
                self.arrived.clear()
                await asyncio.wait([asyncio.create_task(self.arrived.wait())], timeout=0.05)


async def hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def close_at_once(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def close_in_the_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 204 No")
    writer.close()


async def nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x01\x02 not http\r\n\r\n")
    writer.close()


def answering(status: str, *headers: str, body: bytes = b"") -> Misbehave:
    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return answer


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 Oops\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


class WallClock:
    def now(self) -> float:
        return time.time()


def shipper(folder: Path, url: str, *, samples: int = 10, timeout_s: float = HANG_S) -> Shipper:
    client = RemoteClient(url, max_reply_bytes=1024, whole=False)
    policy = Policy(timeout_s, min_backoff_s=0.001, max_backoff_s=0.01)
    queue = ShipQueue(folder, Selection(("raw", "canonical", "recorded"), lambda _: False), 2**24)
    return Shipper(
        "test",
        queue,
        RowSender("test", client, policy, WallClock()),
        WallClock(),
        shards=2,
        samples_per_send=samples,
        deadline_s=0.05,
        age_limit_s=3600,
        on_close=client.close,
    )


def rows(made: Shipper, count: int, at_ms: int) -> None:
    for n in range(count):
        made.append("source", LAYOUT, at_ms + n, np.arange(10.0) + n)


@pytest.mark.parametrize(
    "script",
    [
        (close_at_once, close_at_once),
        (close_in_the_headers,),
        (nonsense,),
        (answering("500 Oops", body=b"down"), answering("502 Bad Gateway"), answering("503 Busy")),
        (answering("429 Slow", "Retry-After: 0"),),
        (hang,),
        (flood,),
    ],
    ids=["closes", "closes in the headers", "nonsense", "5xx", "429", "hangs", "floods"],
)
async def test_whatever_a_server_does_every_sample_arrives_in_order(
    script: tuple[Misbehave, ...], tmp_path: Path
) -> None:
    server, now_ms = Server(*script), round(time.time() * 1000) - 1000
    async with server.running() as url:
        made = shipper(tmp_path / "q", url, timeout_s=2.0 if hang in script else HANG_S)
        await made.start()
        rows(made, 5, now_ms)
        await server.until(lambda: len(server.samples) >= 50 and not made.report().pending)
        report = made.report()
        await made.close()
    assert server.samples == [(f"m{i}", now_ms + n, float(i + n)) for n in range(5) for i in range(10)]
    assert (report.sent, report.dropped, report.failing, report.lag_s) == (50, {}, "", 0.0)
    silent = script[0] in (close_at_once, close_in_the_headers)  # the client itself asks again, once
    assert report.retried >= 10 or silent


async def test_what_is_refused_for_good_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    server, now_ms = Server(answering("400 Bad", body=b"out of order")), round(time.time() * 1000) - 1000
    async with server.running() as url:
        made = shipper(tmp_path / "q", url)
        await made.start()
        rows(made, 5, now_ms)
        await server.until(lambda: len(server.samples) >= 40 and not made.report().pending)
        report = made.report()
        await made.close()
    assert [s for s in server.samples if s[1] == now_ms] == []
    assert (report.sent, report.dropped) == (40, {"status_400": 10})


async def test_a_taken_request_counts_whatever_its_body_does(tmp_path: Path) -> None:
    async def take_and_hang(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await writer.drain()
        writer.close()

    server, now_ms = Server(take_and_hang), round(time.time() * 1000)
    async with server.running() as url:
        made = shipper(tmp_path / "q", url)
        await made.start()
        rows(made, 1, now_ms)
        await server.until(lambda: made.report().sent == 10)
        await made.close()
        assert server.requests == 1


async def test_nothing_waits_for_a_server_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "SEGMENT_BYTES", 2000)
    server, now_ms = Server(*[hang] * 1000), round(time.time() * 1000) - 5000
    async with server.running() as url:
        made = shipper(tmp_path / "q", url, timeout_s=5.0)
        await made.start()
        rows(made, 1, now_ms)
        await server.until(lambda: server.requests)
        rows(made, 1000, now_ms + 1)  # returns at once: nothing here is awaited
        await server.until(lambda: made.report().pending == 10 * 1001)
        assert made.report().lag_s >= 5
        await made.close()
    well = Server()
    async with well.running() as url:
        again = shipper(tmp_path / "q", url, samples=2000)
        await again.start()
        await well.until(lambda: not again.report().pending)
        await again.close()
    assert well.samples == [
        *((f"m{i}", now_ms, float(i)) for i in range(10)),
        *((f"m{i}", now_ms + 1 + n, float(i + n)) for n in range(1000) for i in range(10)),
    ]


PROGRAM = """
    import asyncio, sys, time
    from pathlib import Path
    import numpy as np
    sys.path.insert(0, {root!r})
    from tests.scenario.test_remote_write import LAYOUT, shipper

    async def main():
        made = shipper(Path({folder!r}), {url!r}, samples=50)
        await made.start()
        n = 0
        while True:
            await asyncio.sleep(0.01)
            at = round(time.time() * 1000)
            made.append("source", LAYOUT, at, np.full(10, float({first} + n)))
            print({first} + n, at, flush=True)
            n += 1

    asyncio.run(main())
"""


async def test_a_kill_loses_at_most_the_last_second_and_repeats_at_most_what_was_in_flight(tmp_path: Path) -> None:
    server = Server()
    appended: dict[int, int] = {}
    kills: list[tuple[float, float]] = []
    """Times before and after each kill, in milliseconds."""
    root = str(Path(__file__).parents[2])
    async with server.running() as url:
        for first in (0, 100_000, 200_000):
            text = textwrap.dedent(PROGRAM.format(root=root, folder=str(tmp_path / "q"), url=url, first=first))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", text, stdout=asyncio.subprocess.PIPE, cwd=root
            )
            before = len(server.samples)
            await server.until(partial(lambda before: len(server.samples) > before + 1000, before))
            before_ms = time.time() * 1000
            process.kill()
            output, _ = await process.communicate()
            kills.append((before_ms, time.time() * 1000))
            for line in output.decode().splitlines():
                if len(line.split()) == 2:
                    appended[int(line.split()[0])] = int(line.split()[1])
        made = shipper(tmp_path / "q", url)
        await made.start()
        await server.until(lambda: not made.report().pending)
        await made.close()
    arrived = Counter((name, value) for name, _, value in server.samples)
    assert {value for _, value in arrived} <= {float(n) for n in appended}
    for number, at in appended.items():
        there = [arrived[f"m{i}", float(number)] for i in range(10)]
        lost_ok = any(begin - LOST_MS <= at <= end for begin, end in kills)
        assert all(there) or (lost_ok and not any(there)), f"row {number} arrived as {there}"
    repeated = sum(count - 1 for count in arrived.values())
    assert repeated <= 3 * 2 * 50, "more than a window per kill came twice"
