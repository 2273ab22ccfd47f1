"""Queries in worker processes, so that no query delays a scrape or a rollout.

Rules have a worker of their own (rules.py). The control plane's own queries are evaluated in this process: they are
known and small. A query of the HTTP API waits for its asker's turn and goes to a worker. If a query exceeds its
deadline there, the worker is killed, whether or not anybody still waits. Other queries of that worker are sent to
another worker. A query that exceeds its deadline while it waits for its turn is dropped. While the disk is full, new
rows are only in memory, where a worker cannot read them. Then this process answers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from alerts.errors import QueryFailed
from alerts.interfaces import VectorSample
from controlplane.errors import QueryError
from controlplane.metrics.promql.values import QueryValue
from controlplane.metrics.query.exports.calls import Export
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.query.queries import LabelSet
from controlplane.metrics.query.render import Rendered
from controlplane.metrics.query.workers import protocol
from controlplane.metrics.query.workers.fair_queue import FairQueue
from controlplane.metrics.query.workers.pool import STOPPING, Pool, default_workers, shares_of
from controlplane.metrics.query.workers.protocol import WorkerMessage
from controlplane.metrics.query.workers.report import QueryReport
from controlplane.metrics.query.workers.rules import RuleWorker
from controlplane.metrics.series.budget import EngineLimits

THREAD_BYTES = 2**20
"""Bytes of a listing from which on its JSON is parsed in a thread. Chosen."""


class WorkerQuerier:
    """Implements queries.Queries and queries.Exports over a store's files. Use on one event loop."""

    def __init__(
        self, local: MetricsQuerier, folder: str, readable: Callable[[], bool], workers: int | None = None
    ) -> None:
        """`local` answers all queries while `readable` is false: some rows are not in files.

        `workers` is the maximum number of worker processes for clients. None means a number that fits this machine.
        """
        workers = workers or default_workers()
        self._local, self._readable = local, readable
        self._limits: EngineLimits = local.engine.limits
        self._queue = FairQueue(shares_of(workers))
        self._pool = Pool(folder, workers)
        self._rules = RuleWorker(folder)

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        """Evaluate a rule's expression; see alerts.interfaces.Querier. Raises QueryFailed when the query fails."""
        if not self._readable():
            return await self._local.instant(expr, at)
        try:
            found = await self._rules.evaluate(expr, at, self._limits.timeout_s)
        except QueryError as error:
            raise QueryFailed(f"{error.kind}: {error}") from error
        return await self._local.instant(expr, at) if found is None else found

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate for the control plane's own readers; see Queries."""
        return await self._local.instant_value(expr, at)

    async def instant_json(
        self,
        expr: str,
        at: float,
        *,
        limit: int = 0,
        timeout_s: float | None = None,
        lookback_s: float | None = None,
        asker: str = "",
    ) -> Rendered:
        """Evaluate an ad-hoc query and write its answer; see Queries."""
        if not self._readable():
            return await self._local.instant_json(
                expr, at, limit=limit, timeout_s=timeout_s, lookback_s=lookback_s, asker=asker
            )
        return await self._rendered(asker, protocol.INSTANT, [expr, at, limit, lookback_s], timeout_s)

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
        asker: str = "",
    ) -> Rendered:
        """Evaluate an ad-hoc query over time and write its answer; see Queries."""
        if not self._readable():
            return await self._local.range_json(
                expr, start, end, step, limit=limit, timeout_s=timeout_s, lookback_s=lookback_s, asker=asker
            )
        return await self._rendered(asker, protocol.RANGE, [expr, start, end, step, limit, lookback_s], timeout_s)

    async def series(
        self, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[LabelSet]:
        """Return label sets; see Queries."""
        if not self._readable():
            return await self._local.series(selectors, start, end, asker=asker)
        found: list[LabelSet] = await self._listed(asker, protocol.SERIES, [list(selectors), start, end])
        return found

    async def label_names(
        self, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[str]:
        """Return label names; see Queries."""
        if not self._readable():
            return await self._local.label_names(selectors, start, end, asker=asker)
        found: list[str] = await self._listed(asker, protocol.LABEL_NAMES, [list(selectors), start, end])
        return found

    async def label_values(
        self, name: str, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[str]:
        """Return the values of a label; see Queries."""
        if not self._readable():
            return await self._local.label_values(name, selectors, start, end, asker=asker)
        found: list[str] = await self._listed(asker, protocol.LABEL_VALUES, [name, list(selectors), start, end])
        return found

    async def export(self, call: Export, args: list[Any], *, asker: str = "") -> bytes:
        """Return an export's body; see Exports."""
        if not self._readable():
            return await self._local.export(call, args, asker=asker)
        return (await self._rendered(asker, protocol.EXPORT, [call, args], None)).data

    async def metadata(self, metric: str, limit: int) -> dict[str, list[LabelSet]]:
        """Return type and help of metric families; see Queries."""
        return await self._local.metadata(metric, limit)

    def report(self) -> QueryReport:
        """Return the numbers of queries and workers."""
        queue, pool, rules = self._queue, self._pool, self._rules
        workers, restarts = pool.workers + rules.workers, pool.restarts + rules.restarts
        return QueryReport(workers, queue.running, queue.waiting, queue.refused, restarts)

    def refuse(self) -> None:
        """Accept no further ad-hoc queries. Waiting ones fail with "the control plane is stopping". Rules go on."""
        self._queue.close(QueryError("execution", STOPPING))
        self._pool.kill()

    def close(self) -> None:
        """Accept no further queries, and kill the workers."""
        self.refuse()
        self._rules.kill()
        self._local.close()

    async def wait_closed(self) -> None:
        """Wait until the workers have ended, after `close`."""
        await asyncio.gather(self._pool.wait_closed(), self._rules.wait_closed())

    async def _rendered(self, asker: str, call: str, args: list[Any], timeout_s: float | None) -> Rendered:
        longest_s = self._limits.timeout_s if timeout_s is None else min(timeout_s, self._limits.timeout_s)
        frame = await self._ask(asker, call, args, longest_s)
        return Rendered(frame.body, tuple(frame.head["warnings"]), tuple(frame.head["infos"]))

    async def _listed(self, asker: str, call: str, args: list[Any]) -> Any:
        frame = await self._ask(asker, call, args, self._limits.timeout_s)
        read = json.loads
        return read(frame.body) if len(frame.body) < THREAD_BYTES else await asyncio.to_thread(read, frame.body)

    async def _ask(self, asker: str, call: str, args: list[Any], timeout_s: float) -> WorkerMessage:
        by = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                turn = await self._queue.turn(asker)
        except TimeoutError as error:
            raise QueryError("timeout", f"query timed out in query queue after {timeout_s:g}s") from error
        frame = await self._pool.ask(asker, call, args, by, turn.end)
        if "kind" in frame.head:
            raise QueryError(frame.head["kind"], frame.head["message"])
        return frame
