"""Answers of Prometheus's metadata endpoints: series, labels, label values, metadata. Times are unix seconds."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.tree import parse_selector
from controlplane.metrics.series.matchers import Matcher, MatchOp
from controlplane.metrics.series.store_reader import StoreReader

EVERYTHING = (Matcher("__name__", MatchOp.NOT_EQUAL, ""),)

ALWAYS_S = 1e11
"""Bound of an open interval, in unix seconds."""


def series(
    store: StoreReader, selectors: Sequence[str], start: float | None = None, end: float | None = None
) -> list[dict[str, str]]:
    """Return the labels of the series that match any selector (`match[]`) and have data in the interval.

    Raises QueryError(bad_data) when there is no selector, or one is not valid.
    """
    if not selectors:
        raise QueryError("bad_data", "no match[] parameter provided")
    return _found(store, selectors, start, end)


def label_names(
    store: StoreReader, selectors: Sequence[str] = (), start: float | None = None, end: float | None = None
) -> list[str]:
    """Return the label names of the matching series, sorted. No selector means all series.

    Raises QueryError(bad_data) when a selector is not valid.
    """
    return sorted({name for one in _found(store, selectors, start, end) for name in one})


def label_values(
    store: StoreReader,
    name: str,
    selectors: Sequence[str] = (),
    start: float | None = None,
    end: float | None = None,
) -> list[str]:
    """Return the values of a label in the matching series, sorted. No selector means all series.

    Raises QueryError(bad_data) when a selector is not valid.
    """
    return sorted({one[name] for one in _found(store, selectors, start, end) if name in one})


def metadata(store: StoreReader, metric: str = "", limit: int = -1) -> dict[str, list[dict[str, str]]]:
    """Return type and help of all metric families, or of one. `limit` caps the families unless it is negative."""
    known = sorted(store.metadata().items())
    picked = [(name, data) for name, data in known if not metric or name == metric]
    if limit >= 0:
        picked = picked[:limit]
    return {name: [{"type": data.type, "help": data.help, "unit": ""}] for name, data in picked}


def _found(
    store: StoreReader, selectors: Sequence[str], start: float | None, end: float | None
) -> list[dict[str, str]]:
    start_ms = round((-ALWAYS_S if start is None else max(start, -ALWAYS_S)) * 1000)
    end_ms = round((ALWAYS_S if end is None else min(end, ALWAYS_S)) * 1000)
    picked = [parse_selector(s) for s in selectors] or [EVERYTHING]
    found = {labels for matchers in picked for labels in store.series_in(matchers, start_ms, end_ms)}
    return [dict(labels) for labels in sorted(found)]
