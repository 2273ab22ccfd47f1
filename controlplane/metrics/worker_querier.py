"""Ad-hoc queries in a process of their own, so that none of them holds up a scrape, a rule or a rollout.

Rules, and what the control plane itself asks, are evaluated in this process: they are known, and small. Everything
that comes in over the HTTP API goes to the worker. A query that outstays its time there takes the worker down, whether
or not anybody still waits for it; the others are asked again of the next one. One that only waited for its turn does
not: it is dropped. While rows are in memory only (the disk is full) a worker would not see them: then this
process answers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from alerts.interfaces import VectorSample
from controlplane.errors import QueryError
from controlplane.metrics import worker_protocol as protocol
from controlplane.metrics.budget import EngineLimits
from controlplane.metrics.querier import MetricsQuerier
from controlplane.metrics.queries import LabelSet
from controlplane.metrics.render import Rendered
from controlplane.metrics.values import QueryValue
from controlplane.metrics.worker_protocol import Frame

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 16 * 2**10
"""Of what the worker writes to its stderr; a longer line is logged in pieces."""
MAX_BYTES = 4 * 2**30
"""What a worker may hold in memory of its own."""
THREADS = 4
MAX_WAITING = 200
"""Queries that wait for an answer; more are refused at once."""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(64 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20)}
"""For glibc: arrays of some MB are used again, where by default each is mapped anew, page fault by page fault. A fifth
of the time of a query over 6,000 series."""
GRACE_S = 2.0
"""How long past its own deadline, or its turn, a query may take: it looks at the clock between steps only."""


class WorkerDied(Exception):
    """The worker ended before it answered."""


class WorkerQuerier:
    """Implements queries.Queries over a store's files. Use on one event loop."""

    def __init__(self, local: MetricsQuerier, folder: str, readable: Callable[[], bool]) -> None:
        """`local` answers rules, and everything while `readable` says that the files do not hold all rows."""
        self._local, self._folder, self._readable = local, folder, readable
        self._limits: EngineLimits = local.engine.limits
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._pending: dict[int, asyncio.Future[Frame]] = {}
        self._unanswered: dict[int, float] = {}
        """What the worker was asked, in that order, also what nobody waits for any more; until when each may take."""
        self._watched: dict[int, asyncio.TimerHandle] = {}
        """Those of them that the worker is at by now."""
        self._next = 0
        self._closed = False
        self.restarts = 0
        """Workers that had to be replaced."""

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        """Evaluate a rule's expression; see alerts.interfaces.Querier."""
        return await self._local.instant(expr, at)

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate for a reader of ours; see Queries."""
        return await self._local.instant_value(expr, at)

    async def instant_json(
        self, expr: str, at: float, *, limit: int = 0, timeout_s: float | None = None, lookback_s: float | None = None
    ) -> Rendered:
        """Evaluate an ad-hoc query and write its answer; see Queries."""
        if not self._readable():
            return await self._local.instant_json(expr, at, limit=limit, timeout_s=timeout_s, lookback_s=lookback_s)
        return await self._rendered(protocol.INSTANT, [expr, at, limit, lookback_s], timeout_s)

    async def range_json(
        self,
        expr: str,
        start: float,
        end: float,
        step: float,
        *,
        limit: int = 0,
        timeout_s: float | None = None,
        lookback_s: float | None = None,
    ) -> Rendered:
        """Evaluate an ad-hoc query over time and write its answer; see Queries."""
        if not self._readable():
            return await self._local.range_json(
                expr, start, end, step, limit=limit, timeout_s=timeout_s, lookback_s=lookback_s
            )
        return await self._rendered(protocol.RANGE, [expr, start, end, step, limit, lookback_s], timeout_s)

    async def series(self, selectors: Sequence[str], start: float | None, end: float | None) -> list[LabelSet]:
        """Return label sets; see Queries."""
        if not self._readable():
            return await self._local.series(selectors, start, end)
        found: list[LabelSet] = await self._listed(protocol.SERIES, [list(selectors), start, end])
        return found

    async def label_names(self, selectors: Sequence[str], start: float | None, end: float | None) -> list[str]:
        """Return label names; see Queries."""
        if not self._readable():
            return await self._local.label_names(selectors, start, end)
        found: list[str] = await self._listed(protocol.LABEL_NAMES, [list(selectors), start, end])
        return found

    async def label_values(
        self, name: str, selectors: Sequence[str], start: float | None, end: float | None
    ) -> list[str]:
        """Return the values of a label; see Queries."""
        if not self._readable():
            return await self._local.label_values(name, selectors, start, end)
        found: list[str] = await self._listed(protocol.LABEL_VALUES, [name, list(selectors), start, end])
        return found

    async def metadata(self, metric: str, limit: int) -> dict[str, list[LabelSet]]:
        """Return type and help of metric families; see Queries."""
        return await self._local.metadata(metric, limit)

    def refuse(self) -> None:
        """Take no further ad-hoc queries, and tell those that wait that the end has come; rules go on."""
        self._closed = True
        self._kill()

    def close(self) -> None:
        """Take no further queries, and end the worker."""
        self.refuse()
        self._local.close()

    async def wait_closed(self) -> None:
        """Wait until the worker is gone, after `close`."""
        async with self._starting:  # one that is being started cannot be killed yet
            self._kill()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def _rendered(self, call: str, args: list[Any], timeout_s: float | None) -> Rendered:
        longest_s = self._limits.timeout_s if timeout_s is None else min(timeout_s, self._limits.timeout_s)
        frame = await self._ask(call, args, longest_s)
        return Rendered(frame.body, tuple(frame.head["warnings"]))

    async def _listed(self, call: str, args: list[Any]) -> Any:
        frame = await self._ask(call, args, self._limits.timeout_s)
        return json.loads(frame.body) if len(frame.body) < 2**20 else await asyncio.to_thread(json.loads, frame.body)

    async def _ask(self, call: str, args: list[Any], timeout_s: float) -> Frame:
        if max(len(self._pending), len(self._unanswered)) >= MAX_WAITING:
            raise QueryError("timeout", f"{MAX_WAITING} queries are waiting already; try again later")
        try:
            async with asyncio.timeout(timeout_s + GRACE_S):
                frame = await self._asked(call, args, time.monotonic() + timeout_s)
        except TimeoutError as error:
            raise QueryError("timeout", f"query timed out in query execution after {timeout_s:g}s") from error
        if "kind" in frame.head:
            raise QueryError(frame.head["kind"], frame.head["message"])
        return frame

    async def _asked(self, call: str, args: list[Any], by: float) -> Frame:
        for _ in range(2):
            process = await self._running()
            self._next += 1
            number = self._next
            answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
            self._pending[number] = answer
            try:
                assert process.stdin is not None
                process.stdin.write(Frame({"id": number, "by": by, "call": call, "args": args}).encode())
                self._unanswered[number] = by
                self._watch()
                return await answer
            except WorkerDied:
                continue
            finally:
                self._pending.pop(number, None)
        raise QueryError(
            "execution", "the query worker ended twice over this query, perhaps for want of memory; see the log"
        )

    def _watch(self) -> None:
        """Have the worker ended when it does not come back from what it is at: it takes questions in their order."""
        for number, by in islice(self._unanswered.items(), THREADS):
            if number not in self._watched:
                left_s = max(by - time.monotonic(), 0.0) + GRACE_S
                self._watched[number] = asyncio.get_running_loop().call_later(left_s, self._kill)

    def _forget(self, number: int) -> None:
        self._unanswered.pop(number, None)
        if watched := self._watched.pop(number, None):
            watched.cancel()

    async def _running(self) -> Process:
        async with self._starting:
            if self._closed:
                raise QueryError("execution", "the control plane is stopping")
            if self._process is None or self._process.returncode is not None:
                env = {**os.environ, **ALLOCATOR}
                arguments = (self._folder, str(MAX_BYTES), str(THREADS))
                command = (sys.executable, "-m", "controlplane.metrics.worker", *arguments)
                try:
                    # Apart from the terminal, whose Ctrl-C is not meant for the worker.
                    self._process = await asyncio.create_subprocess_exec(
                        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=env, start_new_session=True
                    )
                except OSError as error:
                    raise QueryError("execution", f"the query worker cannot be started: {error}") from error
                self._reading = asyncio.create_task(self._read(self._process), name="query worker")
            return self._process

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None and process.stderr is not None
        telling = asyncio.create_task(_log_lines(process.stderr), name="words of the query worker")
        try:
            while True:
                sizes = protocol.HEAD.unpack(await process.stdout.readexactly(protocol.HEAD.size))
                head = json.loads(await process.stdout.readexactly(sizes[0]))
                body = await process.stdout.readexactly(sizes[1])
                self._forget(head["id"])
                self._watch()
                answer = self._pending.get(head["id"])
                if answer is not None and not answer.done():
                    answer.set_result(Frame(head, body))
        except asyncio.IncompleteReadError:
            await process.wait()
            await telling
        if self._process is process:
            self._process = None
            for number in list(self._unanswered):
                self._forget(number)
            if not self._closed:
                self.restarts += 1
                log.warning("the query worker ended (status %s); the next query starts another", process.returncode)
            for waiting in self._pending.values():
                if not waiting.done():
                    waiting.set_exception(WorkerDied())

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


async def _log_lines(stream: asyncio.StreamReader) -> None:
    """Log what the worker writes to its stderr, a traceback say, so that it is escaped and formed as all of the log."""
    rest = b""
    while data := await stream.read(MAX_LINE_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            log.warning("%s", line.decode(errors="replace"))
    if rest:
        log.warning("%s", rest.decode(errors="replace"))
