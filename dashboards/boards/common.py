"""Queries that several dashboards ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dashboards.board import select
from dashboards.panels import RED, YELLOW, Heat, Limit, Lines, Panel, Query
from dashboards.settings import Settings

FAILED = 'outcome=~"error|timeout|rejected|cut"'
"""Matcher of the requests that count as failed in the console."""
ERRORS = 'outcome=~"error|rejected|cut"'
"""Matcher of the requests that count as errors in the alert rules: timeouts have a rule of their own."""
CLIENTS = 'source=~"gateway|proxy|probe"'
"""Matcher of the sources that see what clients see. Engines do not, and clouds count hours late."""
ERROR_RATIO, TIMEOUT_RATIO = (f"model_version_source:llm_requests:{name}_ratio" for name in ("error", "timeout"))
"""Series that the pack builtin:llm records for its alerts. Requests that were refused before a version was chosen are a
share of all requests of the model there."""
TRAFFIC = ("gateway", "proxy", "engine")
"""Sources of traffic, the one that is taken first."""
VERSIONS = ("gateway", "engine", "proxy")
"""Sources of traffic by version. A proxy of others knows no versions, and is taken where nothing else counts."""
SEEN = ("gateway", "proxy", "probe")
"""Sources of what clients see, the one that is taken first."""
STAGE_LIMITS = {"e2e_request_latency": "latency_p99", "time_to_first_token": "ttft_p95"}
"""Threshold of a stage of a request, by the name that engines give the stage."""
Stage = tuple[str, str, str]
"""Title, name in the engine's metrics, and description of a stage of a request."""


PROXY = 'source="proxy"'
"""Matcher of the proxies of others."""


def rate(metric: str, by: str, *matchers: str) -> str:
    """Return the sum of a counter's rates by labels.

    Proxies of two kinds that stand one behind the other count the same requests, so of proxies the kind is taken that
    counted most of a model. Buckets of two kinds may have other bounds, so a maximum of them would be no histogram.
    """
    summed = f"(rate({metric}{select(*matchers)}[$__rate_interval]))"
    if PROXY in matchers and "engine" not in by and not metric.endswith("_bucket"):
        if "model" in by.split(", "):
            return f"max by ({by}) (sum by ({by}, engine) {summed})"
        return f"sum by ({by}) (max by ({by}, model) (sum by ({by}, model, engine) {summed}))"
    return f"sum by ({by}) {summed}"


def by_source(metric: str, by: str, *matchers: str) -> str:
    """Return a counter's rates by labels, `source` among them, of all sources."""
    others = 'source!="proxy"'
    return f"{rate(metric, by, others, *matchers)} or {rate(metric, by, PROXY, *matchers)}"


def ratio(top: str, bottom: str) -> str:
    """Return a quotient that is absent, and not NaN, where nothing was counted."""
    return f"{top} / ({bottom} > 0)"


def share(outcome: str, by: str, *matchers: str) -> str:
    """Return the requests with an outcome as a share of all requests."""
    return ratio(rate("llm_requests_total", by, outcome, *matchers), rate("llm_requests_total", by, *matchers))


def nearest(query: Callable[[str], str], sources: Sequence[str]) -> str:
    """Return a query of the first source that has a model's series, since sources count the same requests.

    `query` takes the matcher of a source, and its series must have the label `model`.
    """
    return " or on (model) ".join(query(f'source="{source}"') for source in sources)


def traffic(by: str, sources: Sequence[str], *matchers: str, metric: str = "llm_requests_total") -> str:
    """Return the rates of a counter by labels, `model` among them, from the first source that counted anything."""
    *first, last = sources
    counted = nearest(lambda source: f"({rate(metric, by, source, *matchers)} > 0)", first)
    return f"{counted} or on (model) {nearest(lambda source: rate(metric, by, source, *matchers), [last])}"


def recorded(metric: str, *matchers: str) -> str:
    """Return a recorded series by model, version and source."""
    return f"max by (model, version, source) ({metric}{select(*matchers)})"


def worst(metric: str, *matchers: str) -> str:
    """Return the greatest value of a recorded ratio, by the source that the alert on it takes."""
    return f"max({nearest(lambda source: recorded(metric, source, *matchers), SEEN)})"


def seen(title: str, text: str, metric: str, *matchers: str) -> Heat:
    """Return a heatmap of a histogram as clients see it: of each model by one source."""
    bucket = f"{metric}_bucket"
    found = nearest(lambda source: rate(bucket, "le, model", source, *matchers), SEEN)
    return Heat(
        title=title,
        description=text,
        queries=[Query(f"sum by (le) ({found})", "{{le}}", buckets=True)],
        unit="s",
        width=12,
    )


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


def timed(
    settings: Settings, title: str, text: str, metric: str, by: str, legend: str, *matchers: str, limit: str, width: int
) -> Lines:
    """Return a panel of a histogram's quantiles. `limit` is the threshold of the alert on it; "" for none."""
    return Lines(
        title=title,
        description=text + (" The line is the alert's limit." if limit else ""),
        queries=quantiles(metric, by, legend, *matchers),
        unit="s",
        minimum=0,
        limits=[Limit(settings.limit(limit))] if limit else (),
        width=width,
    )


def mapped(title: str, text: str, metric: str, *matchers: str) -> Heat:
    """Return a heatmap of a histogram."""
    return Heat(title=title, description=text, queries=heat(metric, *matchers), unit="s", width=12)


def stages(settings: Settings, prefix: str, found: Sequence[Stage], by: str, matchers: str, width: int) -> list[Panel]:
    """Return a panel of quantiles for each stage, and heatmaps of the first two. Metrics: `<prefix><name>_seconds`."""
    lines = [
        timed(
            settings,
            title,
            text,
            f"{prefix}{name}_seconds",
            by,
            "{{" + by + "}}",
            matchers,
            limit=STAGE_LIMITS.get(name, ""),
            width=width,
        )
        for title, name, text in found
    ]
    maps = [
        mapped(
            f"{title}, all requests", f"{text} Requests per second in each bucket.", f"{prefix}{name}_seconds", matchers
        )
        for title, name, text in found[:2]
    ]
    return [*lines, *maps]
