"""The querier of a test's rules: the embedded engine, which is asked ahead for all times of a rule at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from alerts.errors import QueryFailed
from alerts.interfaces import VectorSample
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import QueryValue, Scalar, Vector


class NeedsTurns(Exception):
    """The rules of a test must be evaluated in turn at each time, and not part after part."""


class TestQuerier:
    """The querier of alerting without threads: nothing else runs at the same time."""

    __test__ = False

    def __init__(self, engine: PromqlEngine, suits: Callable[[str], bool]) -> None:
        """`suits` returns whether a query may be asked now."""
        self._engine, self._suits = engine, suits
        self._expr = ""
        self._ahead: Mapping[int, Sequence[VectorSample]] = {}
        """Results of `_expr`, by unix milliseconds."""

    def ask_ahead(self, expr: str, times_ms: Sequence[int]) -> None:
        """Evaluate an expression at unix milliseconds `times_ms`, ascending, for later calls of `instant`.

        The store must already have all samples that it reads. Results of before are forgotten. When a query fails,
        there is no result of any time, and `instant` asks at each time: then it is known which of them fails.
        """
        try:
            found = self._engine.instants(expr, np.array(times_ms, dtype=np.int64))
        except QueryError:
            found = []
        self._expr = expr
        self._ahead = dict(zip(times_ms, map(_samples, found), strict=False))

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        """Evaluate an expression at unix second `at`. Raises QueryFailed.

        Raises NeedsTurns when the query may not be asked now.
        """
        known = self._ahead.get(round(at * 1000)) if expr == self._expr else None
        if known is not None:
            return known
        if not self._suits(expr):
            raise NeedsTurns
        try:
            return self.query(expr, at)
        except QueryError as error:
            raise QueryFailed(f"{error.kind}: {error}") from error

    def query(self, expr: str, at: float) -> Sequence[VectorSample]:
        """Evaluate an expression at unix second `at`. Raises QueryError when that fails or its kind has no samples."""
        return _samples(self._engine.instant(expr, at))


def _samples(value: QueryValue) -> Sequence[VectorSample]:
    if isinstance(value, Vector):
        return value.samples
    if isinstance(value, Scalar):
        return [VectorSample((), value.value)]
    raise QueryError("bad_data", "the result is neither an instant vector nor a scalar")
