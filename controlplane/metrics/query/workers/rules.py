"""The process that evaluates rules: a worker of its own, so that neither a rule delays the event loop nor a client's
query an alert.

It is started when the first rule is due. Rules wait until it has read the journal, ten seconds at most. Then, and when
it cannot be started, the control plane evaluates rules itself. A worker that ends is replaced at once, and its rules
are asked again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from alerts.interfaces import VectorSample
from controlplane.errors import QueryError
from controlplane.metrics.query.workers import protocol
from controlplane.metrics.query.workers.pool import STOPPING
from controlplane.metrics.query.workers.protocol import WorkerMessage
from controlplane.metrics.query.workers.rule_answer import Known, KnownLabels, decoded
from controlplane.metrics.query.workers.worker import Worker, WorkerDied

log = logging.getLogger(__name__)

START_S = 10.0
"""Seconds for which rules wait for a worker that starts. Chosen: it reads the names of a million series in it."""
AGAIN_S = 60.0
"""Seconds until another start when the worker could not be started, or ended before it had read the journal. Chosen."""
THREAD_BYTES = 256 * 2**10
"""Bytes of an answer from which on it is read in a thread: some 2,000 label sets, or 30,000 values. Chosen."""
THREADS, NICE = 1, 0
"""Rules are evaluated one after the other, at the control plane's own priority."""
NONE = "the process that evaluates rules ended, and another one is not there in time"
TWICE = "the process that evaluates rules ended twice over this one, perhaps for want of memory; see the log"


class RuleWorker:
    """Evaluates rules in a process over the files of one store. Use on one event loop."""

    def __init__(self, folder: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._monotonic = folder, monotonic
        self._worker: Worker | None = None
        """The worker that has read the journal."""
        self._coming: Worker | None = None
        """The worker that reads it."""
        self._starting: asyncio.Task[None] | None = None
        self._wait_until = self._again_at = 0.0
        """Monotonic seconds until which rules wait for a worker that starts, and before which none is started."""
        self._closed = False
        self._labels = KnownLabels()
        self.restarts = 0
        """Number of workers that ended unexpectedly and had to be replaced."""

    @property
    def workers(self) -> int:
        """Number of running workers."""
        return int(self._worker is not None)

    async def evaluate(self, expr: str, at: float, timeout_s: float) -> Sequence[VectorSample] | None:
        """Return the result of a rule's expression at unix second `at`. None: the caller must evaluate it itself.

        Raises QueryError when the query fails, or when two workers ended over it.
        """
        by, deaths = self._monotonic() + timeout_s, 0
        self._begin()
        await self._come(min(by, self._wait_until))
        if self._worker is None and not self._closed:
            return None
        while deaths < 2:
            # This rule may have ended a worker. The control plane could end over it, too.
            await self._come(by)
            if (worker := self._worker) is None:
                raise QueryError("execution", STOPPING if self._closed else NONE)
            known = self._labels.of(expr)
            try:
                answer = await worker.ask("", protocol.RULE, [expr, at, known.digest], by, _nothing)
            except WorkerDied as died:
                deaths += not died.ended_by_us
                continue
            if "kind" in answer.head:
                raise QueryError(answer.head["kind"], answer.head["message"])
            return await self._read(expr, answer, known)
        raise QueryError("execution", TWICE)

    def kill(self) -> None:
        """Accept no further rules, and kill the worker."""
        self._closed = True
        for worker in (self._worker, self._coming):
            if worker is not None:
                worker.kill()

    async def wait_closed(self) -> None:
        """Wait until the worker has ended, after `kill`."""
        worker = self._worker
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if worker is not None:
            await worker.wait_ended()

    async def _read(self, expr: str, answer: WorkerMessage, asked: Known) -> Sequence[VectorSample]:
        read = partial(decoded, answer.body, answer.head["digest"], asked)
        known, samples = read() if len(answer.body) < THREAD_BYTES else await asyncio.to_thread(read)
        self._labels.keep(expr, known)
        return samples

    async def _come(self, by: float) -> None:
        """Wait until a worker that starts is there, or until `by` (monotonic seconds)."""
        if self._starting is not None and (left_s := by - self._monotonic()) > 0:
            await asyncio.wait([self._starting], timeout=left_s)

    def _begin(self) -> None:
        """Start a worker if there is none."""
        now = self._monotonic()
        if self._worker is None and self._starting is None and not self._closed and now >= self._again_at:
            self._wait_until = now + START_S
            self._starting = asyncio.create_task(self._start(), name="rule worker")

    async def _start(self) -> None:
        reason = "it ended before it had read the metrics"
        try:
            self._coming = worker = await Worker.start(self._folder, self._ended, threads=THREADS, nice=NICE)
            if self._closed:
                worker.kill()
            if await worker.ready() and self._coming is worker:
                self._worker = worker
            if self._closed:
                await worker.wait_ended()
        except QueryError as error:
            reason = str(error)
        finally:
            self._starting = self._coming = None
        if self._worker is None and not self._closed:
            self._again_at = self._monotonic() + AGAIN_S
            log.warning("rules are evaluated in the control plane's own process for %.0f s: %s", AGAIN_S, reason)

    def _ended(self, worker: Worker) -> None:
        if worker is self._coming:
            self._coming = None
        if worker is not self._worker:
            return
        self._worker = None
        if not self._closed:
            self.restarts += 1
            log.warning("the process that evaluates rules ended (status %s); another is started", worker.status)
            self._begin()


def _nothing() -> None:
    """Do nothing: rules wait for no turn."""
