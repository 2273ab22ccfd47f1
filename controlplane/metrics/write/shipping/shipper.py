"""One endpoint: its queue, its sender, and the two loops that keep both going."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from alerts.interfaces import Clock
from collectors.samples import FloatArray, Layout
from controlplane.metrics.write.shipping.queue import ShipQueue
from controlplane.metrics.write.shipping.sender import RowSender
from controlplane.metrics.write.shipping.window import Window

log = logging.getLogger(__name__)

FLUSH_S = 0.5
"""How often rows go to disk: `kill -9` loses what came since, a second's worth at most."""
IDLE_S = 0.2
"""How often an empty queue is looked at."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class ShippingReport:
    """How an endpoint is doing."""

    endpoint: str
    sent: int
    retried: int
    sent_bytes: int
    dropped: Counter[str]
    """Samples by reason."""
    pending: int
    """Samples on disk."""
    queue_bytes: int
    lag_s: float
    """Age of the oldest sample that the server has not taken; 0 when it has taken all."""
    failing: str
    """Why samples wait; empty when they do not."""


class Shipper:
    """Ships rows to one endpoint. Implements collectors.samples.SampleSink; `append` never waits for anything."""

    def __init__(
        self,
        name: str,
        queue: ShipQueue,
        sender: RowSender,
        clock: Clock,
        *,
        shards: int,
        samples_per_send: int,
        deadline_s: float,
        age_limit_s: float,
        on_close: Callable[[], Awaitable[None]] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._queue, self._sender, self._clock, self._sleep = queue, sender, clock, sleep
        self._monotonic = monotonic
        self._shards, self._samples, self._deadline_s = shards, samples_per_send, deadline_s
        self._age_ms = round(age_limit_s * 1000)
        self._files = ThreadPoolExecutor(1, thread_name_prefix="remote-write")
        self._on_close = on_close
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting_since: float | None = None
        self._oldest_ms = 0

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        """Take a row; see SampleSink."""
        self._queue.append(source, layout, timestamp_ms, values)

    def end(self, source: str, timestamp_ms: int) -> None:
        """Note the end of a source; see SampleSink."""
        self._queue.end(source, timestamp_ms)

    async def start(self) -> None:
        """Open the queue and begin. Raises OSError where its folder cannot be used."""
        await self._in_files(self._queue.open)
        if self._queue.pending:
            log.info("remote write %s: going on with %d samples of before", self.name, self._queue.pending)
        for run, what in ((self._flush, "flush"), (self._send, "send")):
            self._tasks.append(asyncio.create_task(self._forever(run), name=f"remote write {what}"))

    async def close(self) -> None:
        """Stop sending, and leave what is not sent on disk for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._in_files(self._queue.close)
        if self._on_close:
            await self._on_close()
        self._files.shutdown(wait=False)

    def report(self) -> ShippingReport:
        """Return how it is doing."""
        stats, queue = self._sender.stats, self._queue
        waits = self._oldest_ms and queue.pending
        dropped = Counter(dict(stats.dropped))
        dropped.update(dict(queue.dropped))
        return ShippingReport(
            endpoint=self.name,
            sent=stats.sent,
            retried=stats.retried,
            sent_bytes=stats.bytes,
            dropped=dropped,
            pending=queue.pending,
            queue_bytes=queue.size_bytes,
            lag_s=max(0.0, self._clock.now() - self._oldest_ms / 1000) if waits else 0.0,
            failing=stats.failing,
        )

    async def _forever(self, turn: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await turn()
            except Exception:
                log.exception("remote write %s: internal error", self.name)
                await self._sleep(self._deadline_s)

    async def _flush(self) -> None:
        await self._sleep(FLUSH_S)
        await self._in_files(self._queue.flush)

    async def _send(self) -> None:
        if not self._is_due():
            await self._sleep(IDLE_S)
            return
        now_ms = round(self._clock.now() * 1000)
        window = await self._in_files(lambda: self._queue.read(now_ms, self._shards, self._samples, self._age_ms))
        self._waiting_since = None
        if window is None:
            await self._sleep(IDLE_S)
            return
        self._oldest_ms = window.oldest_ms or self._oldest_ms
        await self._sender.send(window)
        await self._acknowledge(window)

    def _is_due(self) -> bool:
        """Say whether there is a full request, or one that has waited long enough."""
        if not self._queue.pending:
            self._waiting_since = None
            return False
        if self._queue.pending >= self._samples:
            return True
        now = self._monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since >= self._deadline_s

    async def _acknowledge(self, window: Window) -> None:
        await self._in_files(lambda: self._queue.acknowledge(window))
        if not self._queue.pending:
            self._oldest_ms = 0

    async def _in_files(self, call: Callable[[], Found]) -> Found:
        return await asyncio.get_running_loop().run_in_executor(self._files, call)
