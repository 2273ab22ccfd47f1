"""One query worker, seen from the control plane: asked, told what nobody waits for any more, and ended."""

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
"""Of what a worker writes to its stderr; a longer line is logged in pieces."""
MAX_BYTES = 4 * 2**30
"""What a worker may hold in memory of its own."""
THREADS = 8
"""Questions that a worker is at together, at most; the fair queue decides how many of them may be one asker's."""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(64 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20)}
"""For glibc: arrays of some MB are used again, where by default each is mapped anew, page fault by page fault. A fifth
of the time of a query over 6,000 series."""
GRACE_S = 2.0
"""How long past its own deadline a query may take: it looks at the clock between steps only."""
LEFT_S = 5.0
"""How long it may take when nobody waits any more: what others are at in the same worker is worth more."""


class WorkerDied(Exception):
    """The worker ended before it answered. `ended_by_us` for another query's sake: then this one is not to blame."""

    def __init__(self, ended_by_us: bool) -> None:
        super().__init__()
        self.ended_by_us = ended_by_us


class _Asked(NamedTuple):
    """One question, until the worker has answered it, also where nobody waits any more."""

    asker: str
    answer: asyncio.Future[WorkerMessage]
    overdue: asyncio.TimerHandle
    done: Callable[[], None]
    at: float
    """Monotonic second at which it was asked."""


class Worker:
    """A running worker process. Use on one event loop."""

    def __init__(self, process: Process, on_end: Callable[[Worker], None]) -> None:
        """Use `start`."""
        self.process = process
        self._on_end = on_end
        self._asked: dict[int, _Asked] = {}
        self._next = 0
        self.ended_by_us = False
        """Whether its end was, or will be, our doing."""
        self.retired = False
        """Nothing more is to be asked: it is about to end by itself."""
        self.idle_since = time.monotonic()
        """Monotonic second at which it had nothing left to do."""
        self._ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(), name=f"query worker {process.pid}")

    @classmethod
    async def start(cls, folder: str, on_end: Callable[[Worker], None]) -> Worker:
        """Start a worker over the store in `folder`; `on_end` is told of its end. Raises QueryError if that fails."""
        arguments = ("-m", "controlplane.metrics.query.workers.process", folder, str(MAX_BYTES), str(THREADS))
        try:
            # Apart from the terminal, whose Ctrl-C is not meant for the worker.
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
        """Questions that it is at."""
        return len(self._asked)

    def load_of(self, asker: str) -> int:
        """Return how many of them are one asker's."""
        return sum(asked.asker == asker for asked in self._asked.values())

    def slow(self, now: float, seconds: float) -> bool:
        """Tell whether it is at a question since more than `seconds`; `now` is monotonic."""
        return any(now - asked.at > seconds for asked in self._asked.values())

    async def ready(self) -> bool:
        """Wait until it has read what is stored; False when it ended before."""
        return await self._ready

    @property
    def status(self) -> int | None:
        """The process's exit status; None while it runs."""
        return self.process.returncode

    async def ask(self, asker: str, call: str, args: list[Any], by: float, done: Callable[[], None]) -> WorkerMessage:
        """Return the worker's answer, due `by` (monotonic seconds). Raises WorkerDied, QueryError(timeout).

        `done` is called, perhaps again, once the worker is at it no more: that may be after the caller was cancelled.
        It is not called with WorkerDied, as the caller may ask elsewhere.
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
        """Have the worker end by itself: it has nothing to do."""
        self.ended_by_us = self.retired = True
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        """End the worker now, whatever it is at."""
        self.ended_by_us = True
        if self.process.returncode is None:
            self.process.kill()

    async def wait_ended(self) -> None:
        """Wait until the process is gone."""
        await asyncio.wait([self._reading])

    def _say(self, head: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(WorkerMessage(head).encode())

    def _overdue(self, number: int) -> None:
        """End a worker that does not come back from a query; the others are asked again, of another."""
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
    """Log what a worker writes to its stderr, a traceback say, so that it is escaped and formed as all of the log."""
    rest = b""
    while data := await stream.read(MAX_LINE_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            log.warning("%s", line.decode(errors="replace"))
    if rest:
        log.warning("%s", rest.decode(errors="replace"))
