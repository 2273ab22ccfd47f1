"""The fleet dashboard: every model of every engine, by canonical metrics."""

from __future__ import annotations

from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.common import ERROR_RATIO, TIMEOUT_RATIO, TRAFFIC, VERSIONS, quantile, recorded, traffic
from dashboards.boards.logs import logs
from dashboards.panels import RED, YELLOW, Bars, Limit, Lines, Link, Number, Query, Rows
from dashboards.settings import Settings

_MODEL = chosen("model")
_ENGINE = ('source="engine"', _MODEL)
_FIRING = select('alertstate="firing"', 'severity=~"warning|critical"')
_ACTIVE = select('alertstate=~"pending|firing"')
_STEPS = (
    f"sum(max by (node, ensemble, served_model) (llm_ensemble_step{select(_MODEL)}) * on (node, ensemble) group_left "
    f"label_replace(sum by (node, served_model) (rate(llm_requests_total{select(*_ENGINE)}[$__rate_interval])), "
    '"ensemble", "$1", "served_model", "(.+)"))'
)
"""Requests that reach the steps of ensembles, from the ensembles' own."""
_TOKENS = traffic("model", ("engine", "gateway", "proxy"), 'type="output"', _MODEL, metric="llm_tokens_total")


def fleet(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-fleet",
        title="LLM fleet",
        description="Models, versions, alerts and capacity over all engines; sources are never summed.",
        variables={"model": values_of("llm_requests_total|llm_backend_ready", "model")},
        sections=[_now(settings), _slos(), _traffic(settings), _latency(settings), _capacity(settings), logs()],
    )


def model_link(settings: Settings) -> tuple[Link, ...]:
    """Return the links of values that have a model: the console's page, and the dashboard of the model."""
    return (
        Link("Model in the console", settings.page("/models/${__field.labels.model:percentencode}")),
        Link(
            "Dashboard of the model",
            f"/d/{settings.uid('llm-model')}?var-model=${{__field.labels.model:percentencode}}&${{__url_time_range}}"
            "&var-datasource=${datasource}&${fleet:queryparam}",
        ),
    )


def _now(settings: Settings) -> Section:
    return "Now", [*_numbers(), *_lists(settings)]


def _numbers() -> list[Number]:
    return [
        Number(
            title="Alerts firing",
            description="Warnings and critical alerts that fire now. Information is left out.",
            queries=[Query(f"count(ALERTS{_FIRING}) or vector(0)")],
            unit="none",
            limits=[Limit(1)],
        ),
        Number(
            title="Targets down",
            description="Scrape targets whose last scrape failed.",
            queries=[Query(f"count(up{select()} == 0) or vector(0)")],
            unit="none",
            limits=[Limit(1)],
        ),
        Number(
            title="Backends not ready",
            description="Counts versions that should be loaded. An idle version counts too.",
            queries=[Query(f"count(llm_backend_ready{select(_MODEL)} == 0) or vector(0)")],
            unit="none",
            limits=[Limit(1, YELLOW)],
        ),
        Number(
            title="Requests per second",
            description="As the gateway counts, else a proxy of others, else the engines. A request to an ensemble "
            "counts once, and not in its steps, where the Triton's API is a backend.",
            queries=[Query(f"sum({traffic('model', TRAFFIC, _MODEL)}) - ({_STEPS} or vector(0))")],
            unit="reqps",
        ),
        Number(
            title="Requests running",
            description="Requests in execution, as the engines count. Triton has no such number.",
            queries=[Query(f"sum(llm_requests_running{select(*_ENGINE)})")],
            unit="none",
        ),
        Number(
            title="Tokens per second",
            description="Output tokens, as the engines count, else the gateway, else a proxy of others. Engines that "
            "count no tokens are not in it.",
            queries=[Query(f"sum({_TOKENS})")],
            unit="none",
        ),
    ]


def _lists(settings: Settings) -> list[Rows]:
    alert = "${__data.fields.alertname:percentencode}"
    return [
        Rows(
            title="Alerts",
            description="Alerts that fire, or whose condition holds and has not held long enough (pending).",
            queries=[Query(f"ALERTS{_ACTIVE}", instant=True)],
            unit="none",
            columns=["alertname", "alertstate", "severity", "model", "version", "instance", "gpu"],
            links=[
                Link("Runbook", settings.runbook(alert)),
                Link("Alerts in the console", settings.page("/alerts")),
            ],
            width=24,
            height=7,
        ),
    ]


def _slos() -> Section:
    return "SLOs", [
        Lines(
            title="Error budget left",
            description="Of models[].slos in fleet.yaml. 0: the budget of the window is spent.",
            queries=[Query(f"slo:error_budget:remaining_ratio{select(_MODEL)}", "{{model}} {{slo}}")],
            unit="percentunit",
            width=12,
        ),
        Lines(
            title="Burn rate over an hour",
            description="1 uses up the budget exactly in the window. Of 30 days, 14.4 spends 2% of it in an hour.",
            queries=[Query(f"slo:burn_rate1h{select(_MODEL)}", "{{model}} {{slo}}")],
            unit="none",
            minimum=0,
            limits=[Limit(1, YELLOW), Limit(14.4)],
            width=12,
        ),
    ]


def _traffic(settings: Settings) -> Section:
    return "Traffic", [
        Lines(
            title="Requests per second by version",
            description="Finished requests, as the gateway counts, else the engines; of a model that neither counts, "
            "all versions together as a proxy of others does.",
            queries=[Query(traffic("model, version", VERSIONS, _MODEL), "{{model}} {{version}}")],
            unit="reqps",
            minimum=0,
            links=model_link(settings),
        ),
        *(
            Lines(
                title=f"{title}, as clients see them",
                description=text,
                queries=[Query(recorded(metric, _MODEL), "{{model}} {{version}} ({{source}})")],
                unit="percentunit",
                minimum=0,
                limits=[Limit(settings.limit(limit))],
                links=model_link(settings),
            )
            for title, text, metric, limit in (
                (
                    "Errors",
                    "Errors, rejections and answers that broke off, as a share of all requests, over five minutes, by "
                    "source. Engines are left out, because most failures never reach their counters. The line is the "
                    "limit of LLMErrorRateHigh.",
                    ERROR_RATIO,
                    "error_rate",
                ),
                (
                    "Timeouts",
                    "Requests that timed out as a share of all, over five minutes, by source. The line is the limit of "
                    "LLMTimeoutRateHigh.",
                    TIMEOUT_RATIO,
                    "timeout_rate",
                ),
            )
        ),
    ]


def _latency(settings: Settings) -> Section:
    by = "model, version, engine, source"
    legend = "{{model}} {{version}} ({{engine}}, {{source}})"
    return "Latency", [
        Lines(
            title="P99 latency",
            description="99 of 100 requests take less. By engine and source, since buckets differ between them. The "
            "line is the limit of LLMLatencyP99High.",
            queries=[Query(quantile(0.99, "llm_request_duration_seconds", by, _MODEL), legend)],
            unit="s",
            minimum=0,
            limits=[Limit(settings.limit("latency_p99"))],
            links=model_link(settings),
        ),
        Lines(
            title="P95 time to first token",
            description="From a request's arrival to its first token. The line is the limit of "
            "LLMTimeToFirstTokenHigh.",
            queries=[Query(quantile(0.95, "llm_time_to_first_token_seconds", by, _MODEL), legend)],
            unit="s",
            minimum=0,
            limits=[Limit(settings.limit("ttft_p95"))],
            links=model_link(settings),
        ),
        Lines(
            title="P95 between tokens",
            description="Time between two tokens of one request: how smoothly an answer appears.",
            queries=[Query(quantile(0.95, "llm_inter_token_latency_seconds", by, _MODEL), legend)],
            unit="s",
            minimum=0,
            links=model_link(settings),
        ),
    ]


def _capacity(settings: Settings) -> Section:
    return "Capacity", [
        Lines(
            title="Running and waiting",
            description="Requests in execution and in queues, as the engines count.",
            queries=[
                Query(
                    f"sum by (model, version) (llm_requests_running{select(*_ENGINE)})", "{{model}} {{version}} running"
                ),
                Query(
                    f"sum by (model, version) (llm_requests_waiting{select(*_ENGINE)})", "{{model}} {{version}} waiting"
                ),
            ],
            unit="none",
            minimum=0,
            links=model_link(settings),
        ),
        Bars(
            title="KV cache",
            description="Used share of each engine's KV cache. A full one makes requests wait or preempts them.",
            queries=[
                Query(
                    f"max by (model, version, instance) (llm_kv_cache_usage_ratio{select(_MODEL)})",
                    "{{model}} {{instance}}",
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=[Limit(0.8, YELLOW), Limit(settings.limit("kv_cache"), RED)],
        ),
        Bars(
            title="GPU memory",
            description="Used and reserved memory of each GPU as a share of all. A GPU counts once, whoever reports "
            "it.",
            queries=[
                Query(
                    f"max by (gpu) (gpu_memory_used_bytes{select()}) / max by (gpu) (gpu_memory_total_bytes{select()})"
                    f" * on (gpu) group_left (node) gpu:node:info{select()}",
                    "{{node}} {{gpu}}",
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=[Limit(0.9, YELLOW), Limit(settings.limit("vram_ratio"), RED)],
        ),
    ]
