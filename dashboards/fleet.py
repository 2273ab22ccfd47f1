"""The fleet dashboard: every model of every engine, by canonical metrics."""

from __future__ import annotations

from typing import Any

from dashboards.panels import RED, YELLOW, Bars, Limit, Lines, Number, Query, Rows, Section, dashboard

_MODEL = 'model=~"$model"'
_ENGINE = f'source="engine", {_MODEL}'
_STEPS = (
    f"sum(max by (node, ensemble, served_model) (llm_ensemble_step{{{_MODEL}}}) * on (node, ensemble) group_left "
    'label_replace(sum by (node, served_model) (rate(llm_requests_total{source="engine"}[$__rate_interval])), '
    '"ensemble", "$1", "served_model", "(.+)"))'
)
"""Requests that reach the steps of ensembles, from the ensembles' own."""
_OUTSIDE = f'source!="engine", {_MODEL}'
"""Selector of samples from the gateway and the probe."""


def fleet() -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        uid="llm-fleet",
        title="LLM fleet",
        description="Models, versions, alerts and cost over all engines; sources are never summed.",
        variables={"model": "label_values(llm_requests_total, model)"},
        sections=[_now(), _slos(), _traffic(), _latency(), _capacity(), _cost()],
    )


def _now() -> Section:
    return "Now", [
        Number(
            title="Alerts firing",
            queries=[Query('count(ALERTS{alertstate="firing", severity=~"warning|critical"}) or vector(0)')],
            limits=[Limit(1)],
            width=4,
            height=5,
        ),
        Number(
            title="Targets down", queries=[Query("count(up == 0) or vector(0)")], limits=[Limit(1)], width=4, height=5
        ),
        Number(
            title="Backends not ready",
            queries=[Query(f"count(llm_backend_ready{{{_MODEL}}} == 0) or vector(0)")],
            description="Counts versions that should be loaded. An idle version counts too.",
            limits=[Limit(1, YELLOW)],
            width=4,
            height=5,
        ),
        Number(
            title="Requests per second",
            queries=[Query(f"sum(rate(llm_requests_total{{{_ENGINE}}}[$__rate_interval])) - ({_STEPS} or vector(0))")],
            description="As the engines count. A request to an ensemble counts once, and not in its steps, where the "
            "Triton's API is a backend.",
            unit="reqps",
            width=4,
            height=5,
        ),
        Number(
            title="Requests running",
            queries=[Query(f"sum(llm_requests_running{{{_MODEL}}})")],
            width=4,
            height=5,
        ),
        Number(
            title="Tokens per second",
            queries=[Query(f'sum(rate(llm_tokens_total{{type="output", {_MODEL}}}[$__rate_interval]))')],
            width=4,
            height=5,
        ),
        Rows(
            title="Alerts",
            queries=[Query('ALERTS{alertstate=~"pending|firing"}', instant=True)],
            columns=["alertname", "alertstate", "severity", "model", "version", "instance", "gpu"],
            width=24,
            height=7,
        ),
    ]


def _slos() -> Section:
    return "SLOs", [
        Lines(
            title="Error budget left",
            description="Of models[].slos in fleet.yaml. 0: the budget of the window is spent.",
            queries=[Query(f"slo:error_budget:remaining_ratio{{{_MODEL}}}", "{{model}} {{slo}}")],
            unit="percentunit",
            width=12,
        ),
        Lines(
            title="Burn rate over an hour",
            description="1 uses up the budget exactly in the window. Of 30 days, 14.4 spends 2% of it in an hour.",
            queries=[Query(f"slo:burn_rate1h{{{_MODEL}}}", "{{model}} {{slo}}")],
            minimum=0,
            limits=[Limit(1, YELLOW), Limit(14.4)],
            width=12,
        ),
    ]


def _traffic() -> Section:
    return "Traffic", [
        Lines(
            title="Requests per second by version",
            queries=[
                Query(
                    f"sum by (model, version) (rate(llm_requests_total{{{_ENGINE}}}[$__rate_interval]))",
                    "{{model}} {{version}}",
                )
            ],
            unit="reqps",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Errors and timeouts, as the probe and the gateway see them",
            description="Engines are left out, because most failures never reach their counters.",
            queries=[
                Query(
                    "sum by (model, version, source) "
                    f'(rate(llm_requests_total{{outcome=~"error|timeout|cut", {_OUTSIDE}}}[$__rate_interval]))'
                    " / sum by (model, version, source) "
                    f"(rate(llm_requests_total{{{_OUTSIDE}}}[$__rate_interval]))",
                    "{{model}} {{version}} ({{source}})",
                )
            ],
            unit="percentunit",
            minimum=0,
            limits=[Limit(0.01)],
            width=12,
        ),
    ]


def _quantile(q: str, metric: str) -> str:
    return (
        f"histogram_quantile({q}, sum by (le, model, version, engine, source) "
        f"(rate({metric}_bucket{{{_MODEL}}}[$__rate_interval])))"
    )


def _latency() -> Section:
    legend = "{{model}} {{version}} ({{engine}}, {{source}})"
    return "Latency", [
        Lines(
            title="P99 latency",
            queries=[Query(_quantile("0.99", "llm_request_duration_seconds"), legend)],
            unit="s",
            minimum=0,
            limits=[Limit(2)],
        ),
        Lines(
            title="P95 time to first token",
            queries=[Query(_quantile("0.95", "llm_time_to_first_token_seconds"), legend)],
            unit="s",
            minimum=0,
        ),
        Lines(
            title="P95 inter-token latency",
            queries=[Query(_quantile("0.95", "llm_inter_token_latency_seconds"), legend)],
            unit="s",
            minimum=0,
        ),
    ]


def _capacity() -> Section:
    return "Capacity", [
        Lines(
            title="Running and waiting",
            queries=[
                Query(f"sum by (model, version) (llm_requests_running{{{_MODEL}}})", "{{model}} {{version}} running"),
                Query(f"sum by (model, version) (llm_requests_waiting{{{_MODEL}}})", "{{model}} {{version}} waiting"),
            ],
            minimum=0,
        ),
        Bars(
            title="KV cache",
            queries=[
                Query(
                    f"max by (model, version, instance) (llm_kv_cache_usage_ratio{{{_MODEL}}})",
                    "{{model}} {{instance}}",
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=[Limit(0.8, YELLOW), Limit(0.95, RED)],
        ),
        Bars(
            title="GPU memory",
            queries=[
                Query(
                    "max by (gpu) (gpu_memory_used_bytes) / max by (gpu) (gpu_memory_total_bytes)"
                    " * on (gpu) group_left (node) gpu:node:info",
                    "{{node}} {{gpu}}",
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=[Limit(0.9, YELLOW), Limit(0.95, RED)],
        ),
    ]


def _cost() -> Section:
    return "Cost", [
        Lines(
            title="Spent against budget so far",
            queries=[
                Query(f"sum by (model, account) (llm_budget_spent_usd{{{_MODEL}}})", "{{model}}{{account}} spent"),
                Query(
                    f"sum by (model, account) (llm_budget_prorated_usd{{{_MODEL}}})",
                    "{{model}}{{account}} budget so far",
                ),
            ],
            unit="currencyUSD",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Forecast for the month",
            queries=[
                Query(
                    f"sum by (model, account) (llm_budget_forecast_usd{{{_MODEL}}})", "{{model}}{{account}} forecast"
                ),
                Query(f"sum by (model, account) (llm_budget_limit_usd{{{_MODEL}}})", "{{model}}{{account}} budget"),
            ],
            unit="currencyUSD",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Charges of providers today",
            queries=[
                Query(
                    f'sum by (job, model, project) (llm_account_cost_usd{{window="day", {_MODEL}}})',
                    "{{job}} {{model}} {{project}}",
                )
            ],
            description="As the providers' reports say, since midnight UTC. They come hours late.",
            unit="currencyUSD",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Rate limits left at hosted APIs",
            queries=[
                Query(
                    f"min by (instance, model, type) (llm_ratelimit_remaining{{{_MODEL}}}) "
                    f"/ min by (instance, model, type) (llm_ratelimit_limit{{{_MODEL}}})",
                    "{{instance}} {{model}} {{type}}",
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
            width=12,
        ),
    ]
