"""The pool of query workers of one control plane. It chooses a worker for each query, and starts and retires workers.

The first query starts the first worker. Another worker is started only while every worker has a slow query. So a
control plane with quick queries has one worker. The queries of one asker are kept on some of the workers, so that the
other workers are free for other askers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from controlplane.errors import QueryError
from controlplane.metrics.query.workers.fair_queue import Shares
from controlplane.metrics.query.workers.protocol import WorkerMessage
from controlplane.metrics.query.workers.worker import THREADS, Worker, WorkerDied

log = logging.getLogger(__name__)

CROWD = THREADS // 2
"""Running queries of a worker, on average, at which further turns go only to askers without a running query."""
MOST_WORKERS = 4
"""Default maximum of workers on any number of cores. Chosen: each worker has its own names and labels in memory."""
SLOW_S = 0.5
"""Seconds after which a running query counts as slow. Chosen: it delays the queries beside it, and queries of a
dashboard take a tenth of it."""
RETIRE_S = 300.0
"""Seconds without a query after which a worker other than the first is ended. Chosen."""
STOPPING = "the control plane is stopping"


def default_workers() -> int:
    """Return the maximum number of workers for this processor. It is at least two, so that one is free for others."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, min(cores, MOST_WORKERS))


def shares_of(workers: int) -> Shares:
    """Return the shares of the threads of `workers` workers. One asker gets at most half of the workers."""
    return Shares(each=CROWD * max(1, workers // 2), together=CROWD * workers, most=THREADS * workers)


class Pool:
    """Workers over the files of one store. Use on one event loop."""

    def __init__(self, folder: str, size: int) -> None:
        """`size` is the maximum number of workers."""
        self._folder, self._size = folder, size
        self._workers: list[Worker] = []
        self._coming: list[Worker] = []
        """Workers that were started and still read the journal."""
        self._starting = asyncio.Lock()
        self._spare: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.restarts = 0
        """Number of workers that ended unexpectedly and had to be replaced."""

    @property
    def workers(self) -> int:
        """Number of running workers."""
        return len(self._workers)

    async def ask(self, asker: str, call: str, args: list[Any], by: float, done: Callable[[], None]) -> WorkerMessage:
        """Return a worker's answer, due `by` (monotonic seconds). If the worker dies, another one is asked.

        `done` is called once no worker works on the query. It may be called several times. Raises QueryError when the
        query fails, or when two workers ended over it.
        """
        deaths = 0
        while deaths < 2:
            try:
                worker = await self._worker_for(asker)
            except BaseException:  # cancellation too: the turn must be given back
                done()
                raise
            try:
                return await worker.ask(asker, call, args, by, done)
            except WorkerDied as died:
                deaths += not died.ended_by_us
        done()
        raise QueryError(
            "execution", "the query worker ended twice over this query, perhaps for want of memory; see the log"
        )

    def kill(self) -> None:
        """Accept no further queries, and kill the workers."""
        self._closed = True
        for worker in (*self._workers, *self._coming):
            worker.kill()

    async def wait_closed(self) -> None:
        """Wait until the workers have ended, after `kill`."""
        if self._timer is not None:
            self._timer.cancel()
        if self._spare is not None:
            await asyncio.wait([self._spare])
        async with self._starting:  # a worker that is being started cannot be killed yet
            self.kill()
        await asyncio.gather(*(worker.wait_ended() for worker in (*self._workers, *self._coming)))

    async def _worker_for(self, asker: str) -> Worker:
        if not self._able:
            async with self._starting:
                if not self._able and not self._closed:
                    self._workers.append(await Worker.start(self._folder, self._ended))
        if self._closed:
            raise QueryError("execution", STOPPING)
        self._look_in(SLOW_S)
        return choose(self._able, asker, max(1, self._size // 2))

    @property
    def _able(self) -> list[Worker]:
        return [worker for worker in self._workers if not worker.retired]

    def _ended(self, worker: Worker) -> None:
        for known in (self._workers, self._coming):
            if worker in known:
                known.remove(worker)
        if not worker.retired and not self._closed:
            self.restarts += 1
            log.warning("the query worker ended (status %s); the next query starts another", worker.status)

    def _look_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Check whether there are too few or too many workers, and start or retire one."""
        self._timer = None
        if self._closed:
            return
        now, able = time.monotonic(), self._able
        for worker in able[1:]:
            if not worker.load and now - worker.idle_since >= RETIRE_S:
                worker.retire()
        missing = len(able) < self._size and all(worker.slow(now, SLOW_S) for worker in able)
        if able and missing and (self._spare is None or self._spare.done()):
            self._spare = asyncio.create_task(self._start_spare(), name="spare query worker")
        if any(worker.load for worker in able):
            self._look_in(SLOW_S)
        elif len(able) > 1:
            self._look_in(RETIRE_S)

    async def _start_spare(self) -> None:
        """Start another worker. It gets queries once it has read the journal: until then the others answer sooner."""
        async with self._starting:
            if self._closed:
                return
            try:
                worker = await Worker.start(self._folder, self._ended)
            except QueryError as error:
                log.warning("%s; the others go on", error)
                return
            self._coming.append(worker)
        if await worker.ready() and worker in self._coming:
            self._coming.remove(worker)
            self._workers.append(worker)


def choose(workers: Sequence[Worker], asker: str, most: int) -> Worker:
    """Return the worker for an asker's next query: the one with the fewest queries.

    An asker that has queries on `most` workers stays on these workers, as long as one of them serves no other asker.
    """
    mine = [worker for worker in workers if worker.load_of(asker)]
    if len(mine) >= most:
        best = min(mine, key=lambda worker: worker.load)
        if best.load == best.load_of(asker):
            return best
    return min(workers, key=lambda worker: worker.load)
