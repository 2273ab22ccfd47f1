"""The dashboard of a model: its versions side by side, by canonical metrics."""

from __future__ import annotations

from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.common import FAILED, mapped, rate, ratio, share, timed
from dashboards.panels import GREEN, RED, YELLOW, Limit, Lines, Link, Number, Query, Rows
from dashboards.settings import Settings

_CHOSEN = chosen("model", "version")
_ENGINE = ('source="engine"', _CHOSEN)
_OUTSIDE = ('source!="engine"', _CHOSEN)
_BY = "model, version, source"
_LEGEND = "{{model}} {{version}} ({{source}})"
_WHOLE, _FIRST = "llm_request_duration_seconds", "llm_time_to_first_token_seconds"
_VERSION = "{{model}} {{version}}"


def model(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-model",
        title="LLM model",
        description="One model, or a few: requests, latency, tokens and backends of each version.",
        variables={
            "model": values_of("llm_requests_total", "model"),
            "version": values_of("llm_requests_total", "version", chosen("model")),
            "node": values_of("llm_requests_total", "node", chosen("model")),
        },
        sections=[_now(settings), _requests(settings), _latency(settings), _tokens(settings), _backends(settings)],
    )


def _now(settings: Settings) -> Section:
    failed, asked = select(FAILED, *_OUTSIDE), select(*_OUTSIDE)
    worst = "model_version_source:llm_request_duration_seconds:p99" + select(_CHOSEN)
    first = "model_version_source:llm_time_to_first_token_seconds:p95" + select(_CHOSEN)
    return "Now", [
        Number(
            title="Requests per second",
            description="Finished requests, as the engines count.",
            queries=[Query(f"sum(rate(llm_requests_total{select(*_ENGINE)}[$__rate_interval]))")],
            unit="reqps",
        ),
        Number(
            title="Errors",
            description="Failed requests as a share of all, as the probe and the gateway see them. Red is where "
            "LLMErrorRateHigh fires.",
            queries=[
                Query(
                    f"sum(rate(llm_requests_total{failed}[$__rate_interval])) "
                    f"/ (sum(rate(llm_requests_total{asked}[$__rate_interval])) > 0)"
                )
            ],
            unit="percentunit",
            limits=[Limit(settings.limit("error_rate"))],
        ),
        Number(
            title="Slowest P99",
            description="Of all versions and sources, over five minutes. Red is where LLMLatencyP99High fires.",
            queries=[Query(f"max({worst})")],
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
    total = rate("llm_requests_total", "model", 'source="engine"', chosen("model"))
    each = rate("llm_requests_total", "model, version", *_ENGINE)
    return [
        Lines(
            title="Requests per second by version",
            description="Finished requests, as the engines count.",
            queries=[Query(each, _VERSION)],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Share of the requests by version",
            description="What each version answers of a model's requests: the split of a canary as the engines count "
            "it.",
            queries=[
                Query(
                    f"{each} / on (model) group_left () ({total} > 0)",
                    _VERSION,
                )
            ],
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
        Lines(
            title="Errors and timeouts",
            description="Failed requests as a share of all, as the probe and the gateway see them. The line is the "
            "limit of LLMErrorRateHigh.",
            queries=[Query(share(FAILED, _BY, *_OUTSIDE), _LEGEND)],
            unit="percentunit",
            minimum=0,
            limits=[Limit(settings.limit("error_rate"))],
        ),
        Lines(
            title="Outcomes",
            description="Finished requests per second by outcome, as each source sees them. `unknown`: the engine does "
            "not say.",
            queries=[Query(rate("llm_requests_total", "source, outcome", _CHOSEN), "{{outcome}} ({{source}})")],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Reasons of failures",
            description="Failed requests per second by the reason that the source gives.",
            queries=[
                Query(
                    rate("llm_requests_total", "source, outcome, reason", 'outcome!~"success|unknown"', _CHOSEN),
                    "{{outcome}} {{reason}} ({{source}})",
                )
            ],
            unit="reqps",
            minimum=0,
        ),
    ]


def _latency(settings: Settings) -> Section:
    by, legend = "model, version, engine, source", "{{model}} {{version}} ({{engine}}, {{source}})"
    apart = "By version, engine and source, since buckets differ between engines."
    stripes = (
        "Requests per second in each bucket, as the gateway and the probe count. Two stripes are two kinds of "
        "requests, or a slow backend."
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
            mapped(f"{title}, as clients see it", f"{text} {stripes}", metric, *_OUTSIDE)
            for title, metric, text in (
                ("Whole request", _WHOLE, "From arrival to the end."),
                ("Time to first token", _FIRST, "From arrival to the first token."),
            )
        ),
    ]


def _tokens(settings: Settings) -> Section:
    return "Tokens and cache", [*_of_answers(), *_of_the_cache(settings)]


def _of_answers() -> list[Lines]:
    return [
        Lines(
            title="Tokens per second",
            description="Input and output tokens by version, as the engines count. Cached input is a part of the "
            "input.",
            queries=[Query(rate("llm_tokens_total", "model, version, type", *_ENGINE), _VERSION + " {{type}}")],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Output tokens per request",
            description="Mean length of an answer. A jump after a rollout means that a version answers differently.",
            queries=[
                Query(
                    ratio(
                        rate("llm_tokens_total", "model, version", 'type="output"', *_ENGINE),
                        rate("llm_requests_total", "model, version", *_ENGINE),
                    ),
                    _VERSION,
                )
            ],
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
