"""What the rest of the control plane asks of metrics, wherever they are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from alerts.errors import QueryFailed
from alerts.interfaces import Querier, VectorSample
from controlplane.metrics.promql.values import QueryValue, Scalar, Vector
from controlplane.metrics.query.exports.calls import Export
from controlplane.metrics.query.render import Rendered

LabelSet = dict[str, str]


class Queries(Querier, Protocol):
    """PromQL and what describes series. Times are unix seconds, None where unbounded.

    All but `instant` raise QueryError, whose kind is Prometheus's error type: a failed query is never an empty answer.
    `asker` names whose share a query counts to, such as a token's id: no asker's queries hold up another's. Whoever no
    longer waits cancels; the query then ends.
    """

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate at one instant, for a reader of ours."""
        ...

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
        """Evaluate at one instant, for the HTTP API. `limit` cuts the series (0: all).

        `lookback_s` is how old the newest sample of a selector may be, None for the usual five minutes.
        """
        ...

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
        """Evaluate at `start`, `start + step`, … up to `end`, for the HTTP API."""
        ...

    async def series(
        self, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[LabelSet]:
        """Return the labels of the series that any selector picks and that have data in the interval, sorted."""
        ...

    async def label_names(
        self, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[str]:
        """Return the label names of the picked series (of all, without a selector), sorted."""
        ...

    async def label_values(
        self, name: str, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[str]:
        """Return the values of a label among the picked series, sorted."""
        ...

    async def metadata(self, metric: str, limit: int) -> dict[str, list[LabelSet]]:
        """Return type and help of each metric family, or of one; `limit` caps the families unless it is negative."""
        ...

    def close(self) -> None:
        """Take no further queries."""
        ...


class Exports(Protocol):
    """What only a store of ours tells."""

    async def export(self, call: Export, args: list[Any], *, asker: str = "") -> bytes:
        """Return an export's body; see exports.calls. Raises QueryError."""
        ...


def samples_of(value: QueryValue) -> Sequence[VectorSample]:
    """Return what a rule sees of a result. Raises QueryFailed for what is neither an instant vector nor a scalar."""
    if isinstance(value, Vector):
        return value.samples
    if isinstance(value, Scalar):
        return [VectorSample((), value.value)]
    raise QueryFailed("bad_data: a rule's expression must yield an instant vector or a scalar")
