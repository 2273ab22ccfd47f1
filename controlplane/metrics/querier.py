"""The asynchronous face of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from alerts.errors import QueryFailed
from alerts.interfaces import VectorSample
from controlplane.errors import QueryError
from controlplane.metrics import api_views
from controlplane.metrics.engine import PromqlEngine
from controlplane.metrics.queries import LabelSet, samples_of
from controlplane.metrics.render import Rendered, render
from controlplane.metrics.values import QueryValue

Answer = TypeVar("Answer")

GRACE_S = 1.0
"""How long past its own deadline a query is waited for: it looks at the clock between nodes only."""


class MetricsQuerier:
    """Answers queries without holding up the event loop. Implements queries.Queries.

    Two pools: one thread evaluates rules, so that no crowd of ad-hoc queries delays an alert; a few answer the API.
    """

    def __init__(self, engine: PromqlEngine, workers: int = 2) -> None:
        self.engine = engine
        self._rules = ThreadPoolExecutor(1, thread_name_prefix="promql-rules")
        self._adhoc = ThreadPoolExecutor(workers, thread_name_prefix="promql")

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        """Evaluate a rule's expression; see alerts.interfaces.Querier. Raises QueryFailed."""
        try:
            value = await self._run(self._rules, partial(self.engine.instant, expr, at))
        except QueryError as error:
            raise QueryFailed(f"{error.kind}: {error}") from error
        return samples_of(value)

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate an ad-hoc query at unix second `at`; see Queries."""
        return await self._run(self._adhoc, partial(self.engine.instant, expr, at))

    async def instant_json(
        self, expr: str, at: float, *, limit: int = 0, timeout_s: float | None = None, lookback_s: float | None = None
    ) -> Rendered:
        """Evaluate an ad-hoc query and write its answer; see Queries."""
        # A result of many series is megabytes of JSON: written in the thread, so that the loop goes on scraping.
        call = partial(self.engine.instant, expr, at, timeout_s, lookback_s)
        return await self._run(self._adhoc, lambda: render(call(), limit), timeout_s)

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
        call = partial(self.engine.range, expr, start, end, step, timeout_s, lookback_s)
        return await self._run(self._adhoc, lambda: render(call(), limit), timeout_s)

    async def series(self, selectors: Sequence[str], start: float | None, end: float | None) -> list[LabelSet]:
        """Return label sets; see Queries."""
        return await self._run(self._adhoc, partial(api_views.series, self.engine.store, selectors, start, end))

    async def label_names(self, selectors: Sequence[str], start: float | None, end: float | None) -> list[str]:
        """Return label names; see Queries."""
        return await self._run(self._adhoc, partial(api_views.label_names, self.engine.store, selectors, start, end))

    async def label_values(
        self, name: str, selectors: Sequence[str], start: float | None, end: float | None
    ) -> list[str]:
        """Return the values of a label; see Queries."""
        return await self._run(
            self._adhoc, partial(api_views.label_values, self.engine.store, name, selectors, start, end)
        )

    async def metadata(self, metric: str, limit: int) -> dict[str, list[LabelSet]]:
        """Return type and help of metric families; see Queries."""
        return await self._run(self._adhoc, partial(api_views.metadata, self.engine.store, metric, limit))

    async def _run(
        self, pool: ThreadPoolExecutor, call: Callable[[], Answer], timeout_s: float | None = None
    ) -> Answer:
        longest_s = self.engine.limits.timeout_s + GRACE_S
        timeout_s = longest_s if timeout_s is None else min(timeout_s, longest_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().run_in_executor(pool, call)
        except TimeoutError as error:
            raise QueryError("timeout", f"query timed out in query execution after {timeout_s:g}s") from error

    def close(self) -> None:
        """Take no further queries. Running ones end by their own deadline."""
        self._rules.shutdown(wait=False, cancel_futures=True)
        self._adhoc.shutdown(wait=False, cancel_futures=True)
