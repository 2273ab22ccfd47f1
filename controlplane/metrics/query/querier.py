"""The asynchronous interface of the engine."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from alerts.errors import QueryFailed
from alerts.interfaces import VectorSample
from controlplane.errors import QueryError
from controlplane.metrics.promql.annotations.collected import Annotations
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import QueryValue
from controlplane.metrics.query import api_views
from controlplane.metrics.query.exports.calls import Export, export
from controlplane.metrics.query.queries import LabelSet, samples_of
from controlplane.metrics.query.render import Rendered, render
from controlplane.metrics.query.workers.fair_queue import FairQueue, Shares
from controlplane.metrics.series.budget import Budget

Answer = TypeVar("Answer")

OWN_THREADS = 2
GRACE_S = 1.0
"""Seconds past its deadline that a query is waited for. Chosen: a query checks the clock between nodes only."""


class MetricsQuerier:
    """Answers queries in threads, without blocking the event loop. Implements queries.Queries.

    There are three pools: one thread evaluates rules, two answer the control plane's own readers, and a few answer the
    API, each asker in its turn. So many ad-hoc queries do not delay an alert or the console.
    """

    def __init__(self, engine: PromqlEngine, workers: int = 2) -> None:
        self.engine = engine
        self._rules = ThreadPoolExecutor(1, thread_name_prefix="promql-rules")
        self._own = ThreadPoolExecutor(OWN_THREADS, thread_name_prefix="promql-own")
        self._adhoc = ThreadPoolExecutor(workers, thread_name_prefix="promql")
        self._queue = FairQueue(Shares(each=max(1, workers - 1), together=workers, most=workers))

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        """Evaluate a rule's expression; see alerts.interfaces.Querier. Raises QueryFailed when the query fails."""
        try:
            return samples_of(await self._run(self._rules, partial(self.engine.instant, expr, at)))
        except QueryError as error:
            raise QueryFailed(f"{error.kind}: {error}") from error

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate at unix second `at`, for the control plane's own readers; see Queries."""
        return await self._run(self._own, partial(self.engine.instant, expr, at))

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

        # A result of many series is megabytes of JSON. The thread writes it, so that the event loop is not blocked.
        def call(unwanted: Callable[[], bool]) -> Rendered:
            annotations = Annotations()
            value = self.engine.instant(expr, at, timeout_s, lookback_s, unwanted, annotations)
            return render(value, limit, annotations)

        return await self._in_turn(asker, call, timeout_s)

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

        def call(unwanted: Callable[[], bool]) -> Rendered:
            annotations = Annotations()
            value = self.engine.range(expr, start, end, step, timeout_s, lookback_s, unwanted, annotations)
            return render(value, limit, annotations)

        return await self._in_turn(asker, call, timeout_s)

    async def series(
        self, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[LabelSet]:
        """Return label sets; see Queries."""
        return await self._in_turn(asker, lambda _: api_views.series(self.engine.store, selectors, start, end))

    async def label_names(
        self, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[str]:
        """Return label names; see Queries."""
        return await self._in_turn(asker, lambda _: api_views.label_names(self.engine.store, selectors, start, end))

    async def label_values(
        self, name: str, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[str]:
        """Return the values of a label; see Queries."""
        store = self.engine.store
        return await self._in_turn(asker, lambda _: api_views.label_values(store, name, selectors, start, end))

    async def export(self, call: Export, args: list[Any], *, asker: str = "") -> bytes:
        """Return an export's body; see Exports."""
        engine = self.engine
        return await self._in_turn(
            asker, lambda unwanted: export(engine.store, call, args, Budget(engine.limits, unwanted=unwanted))
        )

    async def metadata(self, metric: str, limit: int) -> dict[str, list[LabelSet]]:
        """Return type and help of metric families; see Queries."""
        return await self._run(self._own, partial(api_views.metadata, self.engine.store, metric, limit))

    async def _in_turn(
        self, asker: str, call: Callable[[Callable[[], bool]], Answer], timeout_s: float | None = None
    ) -> Answer:
        """Run an ad-hoc call in its asker's turn. `call` gets a function that returns whether nobody waits any more.

        Raises QueryError(timeout) past the deadline.
        """
        longest_s = self.engine.limits.timeout_s if timeout_s is None else min(timeout_s, self.engine.limits.timeout_s)
        until = time.monotonic() + longest_s
        try:
            async with asyncio.timeout(longest_s):
                turn = await self._queue.turn(asker)
        except TimeoutError as error:
            raise QueryError("timeout", f"query timed out in query queue after {longest_s:g}s") from error
        unwanted = threading.Event()

        def answer() -> Answer:
            return call(unwanted.is_set)

        running = asyncio.get_running_loop().run_in_executor(self._adhoc, answer)

        def ended(done: asyncio.Future[Answer]) -> None:
            turn.end()
            if not done.cancelled():
                done.exception()  # marks the exception as retrieved: the caller may be gone

        running.add_done_callback(ended)
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic()) + GRACE_S):
                return await asyncio.shield(running)
        except TimeoutError as error:
            unwanted.set()
            raise QueryError("timeout", f"query timed out in query execution after {longest_s:g}s") from error
        except asyncio.CancelledError:
            unwanted.set()
            raise

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[], Answer]) -> Answer:
        longest_s = self.engine.limits.timeout_s + GRACE_S
        try:
            async with asyncio.timeout(longest_s):
                return await asyncio.get_running_loop().run_in_executor(pool, call)
        except TimeoutError as error:
            raise QueryError("timeout", f"query timed out in query execution after {longest_s:g}s") from error

    def close(self) -> None:
        """Accept no further queries. Running queries end by their own deadlines."""
        self._rules.shutdown(wait=False, cancel_futures=True)
        self._own.shutdown(wait=False, cancel_futures=True)
        self._adhoc.shutdown(wait=False, cancel_futures=True)
