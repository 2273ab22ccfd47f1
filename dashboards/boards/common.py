"""Queries that several dashboards ask."""

from __future__ import annotations

from dashboards.board import select
from dashboards.panels import RED, YELLOW, Limit, Query

RATE = "$__rate_interval"


def rate(metric: str, by: str, *matchers: str, window: str = RATE) -> str:
    """Return the sum of a counter's rates by labels."""
    return f"sum by ({by}) (rate({metric}{select(*matchers)}[{window}]))"


def ratio(top: str, bottom: str) -> str:
    """Return a quotient that is absent, and not NaN, where nothing was counted."""
    return f"{top} / ({bottom} > 0)"


def quantile(q: float, metric: str, by: str, *matchers: str) -> str:
    """Return a quantile of a histogram, without `_bucket` in `metric`."""
    return f"histogram_quantile({q}, {rate(metric + '_bucket', 'le, ' + by, *matchers)})"


def quantiles(metric: str, by: str, legend: str, *matchers: str) -> list[Query]:
    """Return the median and the quantiles that limits are set for, each with its name in the legend."""
    return [
        Query(quantile(q, metric, by, *matchers), f"{legend} {name}")
        for q, name in ((0.5, "P50"), (0.95, "P95"), (0.99, "P99"))
    ]


def heat(metric: str, *matchers: str) -> list[Query]:
    """Return the query of a heatmap: requests in each bucket, a step at a time."""
    return [Query(rate(metric + "_bucket", "le", *matchers), "{{le}}", buckets=True)]


def near(limit: float, share: float = 0.85) -> tuple[Limit, Limit]:
    """Return the limits of a value that is worth a look at a share of the limit where its alert fires."""
    return Limit(limit * share, YELLOW), Limit(limit, RED)
