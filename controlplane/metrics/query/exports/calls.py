"""The exports by name, for requests to the query workers."""

from __future__ import annotations

import json
from typing import Any, Literal

from controlplane.metrics.query.exports.cardinality import cardinality
from controlplane.metrics.query.exports.federation import federate
from controlplane.metrics.query.exports.remote_read import ReadQuery, remote_read
from controlplane.metrics.series.budget import Budget
from controlplane.metrics.series.matchers import Matcher, MatchOp
from controlplane.metrics.series.store_reader import StoreReader

Export = Literal["federate", "remote_read", "cardinality"]


def export(store: StoreReader, call: Export, args: list[Any], budget: Budget) -> bytes:
    """Return an export's body. `args` are the arguments of its function between store and budget.

    Raises QueryError when the export fails.
    """
    match call:
        case "federate":
            selectors, at, lookback_s = args
            return federate(store, selectors, at, lookback_s, budget)
        case "remote_read":
            return remote_read(store, queries_of(args), budget)
        case "cardinality":
            (limit,) = args
            return json.dumps(cardinality(store, limit, budget), separators=(",", ":")).encode()


def args_of(queries: list[ReadQuery]) -> list[Any]:
    """Return queries as arguments of `remote_read` that JSON can hold."""
    return [[q.start_ms, q.end_ms, [[m.name, m.op.value, m.value] for m in q.matchers]] for q in queries]


def queries_of(args: list[Any]) -> list[ReadQuery]:
    """Return the queries from the result of `args_of`."""
    return [
        ReadQuery(start, end, tuple(Matcher(name, MatchOp(op), value) for name, op, value in matchers))
        for start, end, matchers in args
    ]
