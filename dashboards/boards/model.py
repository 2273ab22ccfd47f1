"""The dashboard of a model: its versions side by side, by canonical metrics."""

from __future__ import annotations

from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.common import (
    ERROR_RATIO,
    TIMEOUT_RATIO,
    TRAFFIC,
    VERSIONS,
    by_source,
    nearest,
    rate,
    ratio,
    recorded,
    seen,
    timed,
    traffic,
    worst,
)
from dashboards.boards.engines import engines
from dashboards.panels import GREEN, RED, YELLOW, Limit, Lines, Link, Number, Query, Rows
from dashboards.settings import Settings

_CHOSEN = chosen("model", "version")
_TOKENS = ("engine", "gateway", "proxy")
"""Sources of tokens, the one that is taken first: only engines count those of requests that the gateway never saw."""
_ENGINE = ('source="engine"', _CHOSEN)
_LEGEND = "{{model}} {{version}} ({{source}})"
_WHOLE, _FIRST = "llm_request_duration_seconds", "llm_time_to_first_token_seconds"
_VERSION = "{{model}} {{version}}"
_COUNTED = "as the gateway counts, else a proxy of others, else the engines."
"""End of the description of a number of requests."""
_APART = (
    "as the gateway counts, else the engines; of a model that neither counts, all versions together as a proxy does."
)
"""End of the description of requests by version."""


def model(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-model",
        title="LLM model",
        description="One model, or a few: requests, latency, tokens and backends of each version.",
        variables={
            "model": values_of("llm_requests_total|llm_backend_ready", "model"),
            "version": values_of("llm_requests_total", "version", chosen("model")),
            "node": values_of("llm_requests_total", "node", chosen("model")),
        },
        sections=[
            _now(settings),
            _requests(settings),
            _latency(settings),
            _tokens(settings),
            _backends(settings),
            engines(),
        ],
    )


def _now(settings: Settings) -> Section:
    slowest = "model_version_source:llm_request_duration_seconds:p99" + select(_CHOSEN)
    first = "model_version_source:llm_time_to_first_token_seconds:p95" + select(_CHOSEN)
    return "Now", [
        Number(
            title="Requests per second",
            description=f"Finished requests, {_COUNTED}",
            queries=[Query(f"sum({traffic('model', TRAFFIC, _CHOSEN)})")],
            unit="reqps",
        ),
        Number(
            title="Errors",
            description="Of the version with the most, over five minutes: errors, rejections and answers that broke "
            "off, as a share of its requests. Red is where LLMErrorRateHigh fires.",
            queries=[Query(worst(ERROR_RATIO, _CHOSEN))],
            unit="percentunit",
            limits=[Limit(settings.limit("error_rate"))],
        ),
        Number(
            title="Slowest P99",
            description="Of all versions and sources, over five minutes. Red is where LLMLatencyP99High fires.",
            queries=[Query(f"max({slowest})")],
            unit="s",
            limits=[Limit(settings.limit("latency_p99"))],
        ),
        Number(
            title="Slowest first token (P95)",
            description="Of all versions and sources, over five minutes. Red is where LLMTimeToFirstTokenHigh fires.",
            queries=[Query(f"max({first})")],
            unit="s",
            limits=[Limit(settings.limit("ttft_p95"))],
        ),
        Number(
            title="Error budget left",
            description="Of the objective with the least left. 0: the budget of the window is spent.",
            queries=[Query(f"min(slo:error_budget:remaining_ratio{select(chosen('model'))})")],
            unit="percentunit",
            lowest=RED,
            limits=[Limit(0.0, YELLOW), Limit(0.25, GREEN)],
        ),
        Number(
            title="Backends not ready",
            description="Of the chosen versions. An idle version counts too.",
            queries=[Query(f"count(llm_backend_ready{select(_CHOSEN)} == 0) or vector(0)")],
            unit="none",
            limits=[Limit(1, YELLOW)],
        ),
    ]


def _requests(settings: Settings) -> Section:
    return "Requests", [*_traffic(settings), *_failures(settings)]


def _traffic(settings: Settings) -> list[Lines]:
    def share_of(source: str) -> str:
        each = rate("llm_requests_total", "model, version", source, _CHOSEN)
        total = rate("llm_requests_total", "model", source, chosen("model"))
        return f"{each} / on (model) group_left () ({total} > 0)"

    return [
        Lines(
            title="Requests per second by version",
            description=f"Finished requests, {_APART}",
            queries=[Query(traffic("model, version", VERSIONS, _CHOSEN), _VERSION)],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Share of the requests by version",
            description="What each version answers of a model's requests: the split of a canary as the gateway counts "
            "it, else the engines.",
            queries=[Query(nearest(share_of, ("gateway", "engine")), _VERSION)],
            unit="percentunit",
            minimum=0,
            maximum=1,
        ),
        Lines(
            title="Requests against the baseline",
            description="Requests per second, and the mean of the same hour in the last three weeks. "
            "LLMQpsBelowBaseline fires below the fraction `qps_ratio` of it. A fleet younger than a week has no "
            "baseline.",
            queries=[
                Query(f"model:llm_requests:rate5m{select(chosen('model'))}", "{{model}} now"),
                Query(f"model:llm_requests:baseline{select(chosen('model'))}", "{{model}} baseline"),
                Query(
                    f"{settings.limit('qps_ratio'):g} * model:llm_requests:baseline{select(chosen('model'))}",
                    "{{model}} limit",
                ),
            ],
            unit="reqps",
            minimum=0,
        ),
    ]


def _failures(settings: Settings) -> list[Lines]:
    return [
        *(
            Lines(
                title=title,
                description=f"{text} Over five minutes, by source: the gateway, a proxy of others, the probe. The line "
                f"is the limit of {alert}.",
                queries=[Query(recorded(metric, _CHOSEN), _LEGEND)],
                unit="percentunit",
                minimum=0,
                limits=[Limit(settings.limit(limit))],
                width=6,
            )
            for title, text, metric, limit, alert in (
                (
                    "Errors",
                    "Errors, rejections and answers that broke off, as a share of all requests.",
                    ERROR_RATIO,
                    "error_rate",
                    "LLMErrorRateHigh",
                ),
                (
                    "Timeouts",
                    "Requests that timed out as a share of all.",
                    TIMEOUT_RATIO,
                    "timeout_rate",
                    "LLMTimeoutRateHigh",
                ),
            )
        ),
        Lines(
            title="Outcomes",
            description="Finished requests per second by outcome, as each source sees them. `unknown`: the engine does "
            "not say.",
            queries=[Query(by_source("llm_requests_total", "source, outcome", _CHOSEN), "{{outcome}} ({{source}})")],
            unit="reqps",
            minimum=0,
            width=6,
        ),
        Lines(
            title="Reasons of failures",
            description="Failed requests per second by the reason that the source gives.",
            queries=[
                Query(
                    by_source("llm_requests_total", "source, outcome, reason", 'outcome!~"success|unknown"', _CHOSEN),
                    "{{outcome}} {{reason}} ({{source}})",
                )
            ],
            unit="reqps",
            minimum=0,
            width=6,
        ),
    ]


def _latency(settings: Settings) -> Section:
    by, legend = "model, version, engine, source", "{{model}} {{version}} ({{engine}}, {{source}})"
    apart = "By version, engine and source, since buckets differ between engines."
    stripes = (
        "Requests per second in each bucket, as the gateway counts, else a proxy of others, else the probe. Two "
        "stripes are two kinds of requests, or a slow backend."
    )
    return "Latency", [
        *(
            timed(settings, title, f"{text} {apart}", metric, by, legend, _CHOSEN, limit=limit, width=8)
            for title, metric, text, limit in (
                ("Whole request", _WHOLE, "From arrival to the last token.", "latency_p99"),
                ("Time to first token", _FIRST, "From arrival to the first token.", "ttft_p95"),
                ("Between tokens", "llm_inter_token_latency_seconds", "Between two tokens of one request.", ""),
            )
        ),
        *(
            seen(f"{title}, as clients see it", f"{text} {stripes}", metric, _CHOSEN)
            for title, metric, text in (
                ("Whole request", _WHOLE, "From arrival to the end."),
                ("Time to first token", _FIRST, "From arrival to the first token."),
            )
        ),
    ]


def _tokens(settings: Settings) -> Section:
    return "Tokens and cache", [*_of_answers(), *_of_the_cache(settings)]


def _of_answers() -> list[Lines]:
    def length(source: str) -> str:
        by = "model, version"
        tokens = rate("llm_tokens_total", by, 'type="output"', source, _CHOSEN)
        return ratio(tokens, rate("llm_requests_total", by, source, _CHOSEN))

    return [
        Lines(
            title="Tokens per second",
            description="Input and output tokens by version, as the engines count, else the gateway, else a proxy of "
            "others. Cached input is a part of the input.",
            queries=[
                Query(
                    traffic("model, version, type", _TOKENS, _CHOSEN, metric="llm_tokens_total"),
                    _VERSION + " {{type}}",
                )
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Output tokens per request",
            description="Mean length of an answer. A jump after a rollout means that a version answers differently.",
            queries=[Query(nearest(length, _TOKENS), _VERSION)],
            unit="none",
            minimum=0,
        ),
    ]


def _of_the_cache(settings: Settings) -> list[Lines]:
    hits = rate("llm_prefix_cache_hits_total", "model, version, unit", _CHOSEN)
    return [
        Lines(
            title="KV cache",
            description="Used share of each engine's KV cache. The line is the limit of LLMKVCachePressure.",
            queries=[
                Query(
                    f"max by (model, version, instance) (llm_kv_cache_usage_ratio{select(_CHOSEN, chosen('node'))})",
                    _VERSION + " {{instance}}",
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=[Limit(settings.limit("kv_cache"))],
        ),
        Lines(
            title="Prefix cache hits",
            description="Share of looked-up tokens or blocks that the cache had.",
            queries=[
                Query(
                    ratio(hits, rate("llm_prefix_cache_queries_total", "model, version, unit", _CHOSEN)),
                    _VERSION + " {{unit}}s",
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
            width=12,
        ),
        Lines(
            title="Preemptions per second",
            description="Requests that lost their place because the KV cache was full. They start again.",
            queries=[Query(rate("llm_preemptions_total", "model, version", _CHOSEN), _VERSION)],
            unit="none",
            minimum=0,
            width=12,
        ),
    ]


def _backends(settings: Settings) -> Section:
    console = Link("Model in the console", settings.page("/models/${__data.fields.model:percentencode}"))
    here = select(_CHOSEN, chosen("node"))
    return "Backends", [
        Lines(
            title="Running by backend",
            description="Requests in execution at each engine.",
            queries=[
                Query(
                    f"sum by (model, version, instance) (llm_requests_running{select(*_ENGINE, chosen('node'))})",
                    _VERSION + " {{instance}}",
                )
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Waiting by backend",
            description="Requests in each engine's queue. One long queue beside empty ones is a fault of the balance.",
            queries=[
                Query(
                    f"sum by (model, version, instance) (llm_requests_waiting{select(*_ENGINE, chosen('node'))})",
                    _VERSION + " {{instance}}",
                )
            ],
            unit="none",
            minimum=0,
        ),
        Rows(
            title="Ready",
            description="1: the backend can serve the version now.",
            queries=[Query(f"llm_backend_ready{here}", instant=True)],
            unit="none",
            columns=["model", "version", "backend", "engine"],
            values=["ready"],
            links=[console],
        ),
    ]
