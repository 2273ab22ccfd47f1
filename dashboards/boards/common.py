"""Queries that several dashboards ask."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.board import select
from dashboards.panels import RED, YELLOW, Heat, Limit, Lines, Panel, Query
from dashboards.settings import Settings

RATE = "$__rate_interval"
STAGE_LIMITS = {"e2e_request_latency": "latency_p99", "time_to_first_token": "ttft_p95"}
"""Threshold of a stage of a request, by the name that engines give the stage."""
Stage = tuple[str, str, str]
"""Title, name in the engine's metrics, and description of a stage of a request."""


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


def stages(
    settings: Settings, prefix: str, found: Sequence[Stage], by: str, matchers: str, width: int = 8
) -> list[Panel]:
    """Return a panel of quantiles for each stage, and heatmaps of the first two. Metrics: `<prefix><name>_seconds`."""
    panels: list[Panel] = []
    for title, name, text in found:
        limit = STAGE_LIMITS.get(name)
        panels.append(
            Lines(
                title=title,
                description=text + (" The line is the alert's limit." if limit else ""),
                queries=quantiles(f"{prefix}{name}_seconds", by, "{{" + by + "}}", matchers),
                unit="s",
                minimum=0,
                limits=[Limit(settings.limit(limit))] if limit else (),
                width=width,
            )
        )
    for title, name, text in found[:2]:
        panels.append(
            Heat(
                title=f"{title}, all requests",
                description=f"{text} Requests per second in each bucket.",
                queries=heat(f"{prefix}{name}_seconds", matchers),
                unit="s",
                width=12,
            )
        )
    return panels
