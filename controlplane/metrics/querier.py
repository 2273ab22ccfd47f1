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
from controlplane.metrics.engine import PromqlEngine
from controlplane.metrics.values import Matrix, QueryValue, Scalar, Vector

Answer = TypeVar("Answer")

GRACE_S = 1.0
"""How long past its own deadline a query is waited for: it looks at the clock between nodes only."""


class MetricsQuerier:
    """Answers queries without holding up the event loop. Implements alerts.interfaces.Querier.

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
        if isinstance(value, Vector):
            return value.samples
        if isinstance(value, Scalar):
            return [VectorSample((), value.value)]
        raise QueryFailed("bad_data: a rule's expression must yield an instant vector or a scalar")

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate an ad-hoc query at unix second `at`. Raises QueryError."""
        return await self._run(self._adhoc, partial(self.engine.instant, expr, at))

    async def range_value(self, expr: str, start: float, end: float, step: float) -> Matrix:
        """Evaluate an ad-hoc query over time; see PromqlEngine.range. Raises QueryError."""
        return await self._run(self._adhoc, partial(self.engine.range, expr, start, end, step))

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[], Answer]) -> Answer:
        timeout_s = self.engine.limits.timeout_s + GRACE_S
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().run_in_executor(pool, call)
        except TimeoutError as error:
            raise QueryError("timeout", f"query timed out after {timeout_s:g}s") from error

    def close(self) -> None:
        """Take no further queries. Running ones end by their own deadline."""
        self._rules.shutdown(wait=False, cancel_futures=True)
        self._adhoc.shutdown(wait=False, cancel_futures=True)
