"""The interface of metrics for the rest of the control plane, wherever queries are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from alerts.interfaces import Querier, VectorSample
from controlplane.errors import QueryError
from controlplane.metrics.promql.values import QueryValue, Scalar, Vector
from controlplane.metrics.query.exports.calls import Export
from controlplane.metrics.query.render import Rendered

LabelSet = dict[str, str]


class Queries(Querier, Protocol):
    """PromQL queries, and the metadata of series. Times are unix seconds. None means no bound.

    All methods except `instant` raise QueryError with Prometheus's error type when the query fails. A failed query
    never has an empty answer. `asker` is the client that a query counts for, such as a token's id: the queries of one
    asker do not delay those of another. Cancel the call to end a query.
    """

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate at one instant, for the control plane's own readers."""
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
        """Evaluate at one instant, for the HTTP API. `limit` is the maximum number of series. 0 means all.

        `lookback_s` is the maximum age of a sample in seconds. None means the usual five minutes.
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
        """Return the labels of the series that match any selector and have data in the interval, sorted."""
        ...

    async def label_names(
        self, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[str]:
        """Return the label names of the matching series, sorted. No selector means all series."""
        ...

    async def label_values(
        self, name: str, selectors: Sequence[str], start: float | None, end: float | None, *, asker: str = ""
    ) -> list[str]:
        """Return the values of a label in the matching series, sorted. No selector means all series."""
        ...

    async def metadata(self, metric: str, limit: int) -> dict[str, list[LabelSet]]:
        """Return type and help of all metric families, or of one. `limit` caps the families unless it is negative."""
        ...

    def close(self) -> None:
        """Accept no further queries."""
        ...


class Exports(Protocol):
    """Exports of the embedded store. Another metrics server has none of them here."""

    async def export(self, call: Export, args: list[Any], *, asker: str = "") -> bytes:
        """Return an export's body; see exports.calls. Raises QueryError when it fails."""
        ...


def samples_of(value: QueryValue) -> Sequence[VectorSample]:
    """Return a result as samples for a rule. A scalar is one sample without labels.

    Raises QueryError when the result is neither an instant vector nor a scalar.
    """
    if isinstance(value, Vector):
        return value.samples
    if isinstance(value, Scalar):
        return [VectorSample((), value.value)]
    raise QueryError("bad_data", "a rule's expression must yield an instant vector or a scalar")
