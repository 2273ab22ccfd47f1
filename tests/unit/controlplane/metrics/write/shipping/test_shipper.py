"""When rows leave, on a virtual clock: at once when a request is full, after the deadline when it is not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.metrics.write.remote_write_codec import decode
from controlplane.metrics.write.shipping.queue import ShipQueue
from controlplane.metrics.write.shipping.selection import Selection
from controlplane.metrics.write.shipping.sender import Policy, RowSender
from controlplane.metrics.write.shipping.shipper import Shipper
from controlplane.remote_client import Reply

START = 1_700_000_000.0
LAYOUT = Layout(tuple(Series(f"m{n}", ()) for n in range(10)))


class World:
    """A clock that jumps to the next sleeper when told to, and a server that takes everything, or nothing."""

    name = "server"

    def __init__(self) -> None:
        self.time = START
        self.well = True
        self.got: list[tuple[float, int]] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, woken))
        await woken

    async def run(self, seconds: float) -> None:
        """Let time pass, waking each sleeper at its time and waiting until all sleep again."""
        end = self.time + seconds
        while True:
            while len(self._sleepers) < 2:  # noqa: ASYNC110 - both loops; file work is in a thread of its own
                await asyncio.sleep(0.001)
            self._sleepers.sort(key=lambda s: s[0])
            at, woken = self._sleepers[0]
            if at > end:
                self.time = end
                return
            self._sleepers.pop(0)
            self.time = max(self.time, at)
            if not woken.done():
                woken.set_result(None)

    async def request(self, method: str, path: str, timeout_s: float, *, body: bytes, headers: dict[str, str]) -> Reply:
        if self.well:
            self.got.append((round(self.time - START, 1), len(decode(body).series)))
        return Reply(204 if self.well else 503, "", b"")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def shipper(world: World, tmp_path: Path) -> AsyncIterator[Shipper]:
    queue = ShipQueue(tmp_path / "q", Selection(("raw",), lambda _: False), 2**24)
    sender = RowSender(
        "x", world, Policy(min_backoff_s=4, max_backoff_s=4), world, sleep=world.sleep, jitter=lambda: 0.0
    )
    made = Shipper(
        "x",
        queue,
        sender,
        world,
        shards=1,
        samples_per_send=25,
        deadline_s=5,
        age_limit_s=3600,
        sleep=world.sleep,
        monotonic=lambda: world.time,
    )
    await made.start()
    yield made
    await made.close()


def append(shipper: Shipper, world: World, rows: int) -> None:
    for n in range(rows):
        shipper.append("s", LAYOUT, round(world.time * 1000) + n, np.zeros(10))


async def test_a_request_that_is_not_full_waits_for_the_deadline(world: World, shipper: Shipper) -> None:
    append(shipper, world, 2)
    await world.run(4)
    assert world.got == []
    assert shipper.report().pending == 20
    await world.run(3)
    assert [samples for _, samples in world.got] == [20]
    assert 5 <= world.got[0][0] <= 6.5
    assert (shipper.report().pending, shipper.report().sent, shipper.report().lag_s) == (0, 20, 0.0)


async def test_a_full_request_leaves_at_once_and_the_rest_waits(world: World, shipper: Shipper) -> None:
    append(shipper, world, 3)
    await world.run(1.5)
    assert [samples for _, samples in world.got] == [20]
    await world.run(6)
    assert [samples for _, samples in world.got] == [20, 10]


async def test_the_lag_grows_while_the_server_takes_nothing_and_is_gone_afterwards(
    world: World, shipper: Shipper
) -> None:
    world.well = False
    append(shipper, world, 10)
    await world.run(10)
    assert shipper.report().lag_s == pytest.approx(10, abs=0.1)
    assert shipper.report().failing == "server answered 503"
    await world.run(20)
    assert shipper.report().lag_s == pytest.approx(30, abs=0.1)
    world.well = True
    await world.run(40)
    assert sum(samples for _, samples in world.got) == 100
    report = shipper.report()
    assert (report.pending, report.lag_s, report.failing, report.dropped) == (0, 0.0, "", Counter())


async def test_appending_touches_no_file(world: World, shipper: Shipper, tmp_path: Path) -> None:
    append(shipper, world, 1000)
    assert list((tmp_path / "q").glob("*.segment")) == []
    assert shipper.report().pending == 0
