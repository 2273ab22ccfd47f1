"""One query worker, as the control plane sees it: it sends requests to the process, cancels them, and ends it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from typing import Any, NamedTuple

from controlplane.errors import QueryError
from controlplane.metrics.query.workers import protocol
from controlplane.metrics.query.workers.protocol import WorkerMessage

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 16 * 2**10
"""Maximum bytes of a line of a worker's stderr. A longer line is logged in pieces."""
MAX_BYTES = 4 * 2**30
"""Maximum bytes of a worker's own memory, mapped files not included. Chosen."""
THREADS = 8
"""Maximum number of queries that a worker runs at a time. The fair queue limits the queries of one asker."""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(64 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20)}
"""Settings of glibc. With them it reuses the memory of arrays of some MB. By default it maps each array anew, with page
faults that take a fifth of the time of a query over 6,000 series."""
NICE = 5
"""Niceness of a worker for clients' queries. Chosen: scraping, rules and rollouts come first when the processor is
busy."""
GRACE_S = 2.0
"""Seconds past its deadline that a query may take. Chosen: a query checks the clock between steps only."""
LEFT_S = 5.0
"""Seconds that a query may take after it was cancelled. Chosen: killing the worker delays its other queries."""


class WorkerDied(Exception):
    """The worker ended before it answered. `ended_by_us`: it was killed because of another query."""

    def __init__(self, ended_by_us: bool) -> None:
        super().__init__()
        self.ended_by_us = ended_by_us


class _Asked(NamedTuple):
    """One request that the worker has not answered, even if nobody waits for the answer."""

    asker: str
    answer: asyncio.Future[WorkerMessage]
    overdue: asyncio.TimerHandle
    done: Callable[[], None]
    at: float
    """Monotonic second at which the request was sent."""


class Worker:
    """A running worker process. Use on one event loop."""

    def __init__(self, process: Process, on_end: Callable[[Worker], None]) -> None:
        """Call `start` instead."""
        self.process = process
        self._on_end = on_end
        self._asked: dict[int, _Asked] = {}
        self._next = 0
        self.ended_by_us = False
        """Whether the control plane ended the worker, or is about to."""
        self.retired = False
        """Whether the worker gets no more requests and is about to end by itself."""
        self.idle_since = time.monotonic()
        """Monotonic second at which the worker had answered all requests."""
        self._ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._ready_at: float | None = None
        self._reading = asyncio.create_task(self._read(), name=f"query worker {process.pid}")

    @classmethod
    async def start(
        cls, folder: str, on_end: Callable[[Worker], None], *, threads: int = THREADS, nice: int = NICE
    ) -> Worker:
        """Start a worker over the store in `folder`. `on_end` is called when it has ended.

        It runs `threads` queries at a time. `nice` is how much lower its priority is. Raises QueryError when the
        process cannot be started.
        """
        program = "controlplane.metrics.query.workers.process"
        arguments = ("-m", program, folder, str(MAX_BYTES), str(threads), str(nice))
        try:
            # A session of its own: Ctrl-C in the terminal must not reach the worker.
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env={**os.environ, **ALLOCATOR},
                start_new_session=True,
            )
        except OSError as error:
            raise QueryError("execution", f"the query worker cannot be started: {error}") from error
        return cls(process, on_end)

    @property
    def load(self) -> int:
        """Number of requests that are not answered."""
        return len(self._asked)

    def load_of(self, asker: str) -> int:
        """Return the number of requests of one asker that are not answered."""
        return sum(asked.asker == asker for asked in self._asked.values())

    def slow(self, now: float, seconds: float) -> bool:
        """Return whether the worker has been at a request for more than `seconds`. `now` is monotonic seconds.

        A worker that still reads the journal is at none: another one would be ready later still.
        """
        ready = self._ready_at
        return ready is not None and any(now - max(asked.at, ready) > seconds for asked in self._asked.values())

    async def ready(self) -> bool:
        """Wait until the worker has read the journal. Return False if it ended before."""
        return await self._ready

    @property
    def status(self) -> int | None:
        """Exit status of the process. None while it runs."""
        return self.process.returncode

    async def ask(self, asker: str, call: str, args: list[Any], by: float, done: Callable[[], None]) -> WorkerMessage:
        """Return the worker's answer, due `by` (monotonic seconds).

        `done` is called once the worker no longer works on the request. That may be after the caller was cancelled, and
        it may happen several times. Raises WorkerDied when the worker ended, without a call of `done`: the caller may
        ask another worker. Raises QueryError(timeout) past the deadline.
        """
        loop = asyncio.get_running_loop()
        self._next += 1
        number = self._next
        left_s = max(by - time.monotonic(), 0.0) + GRACE_S
        overdue = loop.call_later(left_s, self._overdue, number)
        asked = self._asked[number] = _Asked(asker, loop.create_future(), overdue, done, time.monotonic())
        self._say({"id": number, "by": by, "call": call, "args": args})
        try:
            return await asked.answer
        except asyncio.CancelledError:
            if number in self._asked:
                self._say({"cancel": number})
                overdue.cancel()
                self._asked[number] = asked._replace(overdue=loop.call_later(LEFT_S, self._overdue, number))
            else:
                done()
            raise

    def retire(self) -> None:
        """Let the worker end by itself. It must have no requests."""
        self.ended_by_us = self.retired = True
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        """Kill the worker now, with all its requests."""
        self.ended_by_us = True
        if self.process.returncode is None:
            self.process.kill()

    async def wait_ended(self) -> None:
        """Wait until the process has ended."""
        await asyncio.wait([self._reading])

    def _say(self, head: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(WorkerMessage(head).encode())

    def _overdue(self, number: int) -> None:
        """Kill a worker that does not end a query in time. The pool sends its other requests to another worker."""
        asked = self._asked[number]
        if not asked.answer.done():
            took = f"{time.monotonic() - asked.at:.3g}s"
            asked.answer.set_exception(QueryError("timeout", f"query timed out in query execution after {took}"))
        if not self.ended_by_us:
            log.warning("the query worker (pid %d) does not come back from a query: it is ended", self.process.pid)
        self.kill()

    async def _read(self) -> None:
        assert self.process.stdout is not None and self.process.stderr is not None
        telling = asyncio.create_task(_log_lines(self.process.stderr), name="words of a query worker")
        try:
            while True:
                sizes = protocol.HEAD.unpack(await self.process.stdout.readexactly(protocol.HEAD.size))
                head = json.loads(await self.process.stdout.readexactly(sizes[0]))
                body = await self.process.stdout.readexactly(sizes[1])
                if head["id"] == protocol.READY:
                    self._ready_at = time.monotonic()
                    self._ready.set_result(True)
                    continue
                asked = self._drop(head["id"])
                asked.done()
                if not asked.answer.done():
                    asked.answer.set_result(WorkerMessage(head, body))
        except asyncio.IncompleteReadError:
            await self.process.wait()
            await telling
        self._on_end(self)
        if not self._ready.done():
            self._ready.set_result(False)
        for number in list(self._asked):
            asked = self._drop(number)
            if asked.answer.done():
                asked.done()
            else:
                asked.answer.set_exception(WorkerDied(self.ended_by_us))

    def _drop(self, number: int) -> _Asked:
        asked = self._asked.pop(number)
        asked.overdue.cancel()
        if not self._asked:
            self.idle_since = time.monotonic()
        return asked


async def _log_lines(stream: asyncio.StreamReader) -> None:
    """Log the lines of a worker's stderr, such as a traceback, with the log's escapes and format."""
    rest = b""
    while data := await stream.read(MAX_LINE_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            log.warning("%s", line.decode(errors="replace"))
    if rest:
        log.warning("%s", rest.decode(errors="replace"))
