"""The vLLM dashboard: vLLM's own metrics (0.11 and newer), under their own names."""

from __future__ import annotations

from typing import Any

from dashboards.panels import RED, YELLOW, Limit, Lines, Query, Section, dashboard

_SELECT = 'model_name=~"$model_name", instance=~"$instance"'
_LEGEND = "{{model_name}} {{instance}}"
_MEMORY = 'process_resident_memory_bytes{instance=~"$instance"} and on (job, instance) target_up{engine="vllm"}'
"""A metric that every process has: the engine's kind tells vLLM's."""


def _rate(metric: str, by: str = "model_name, instance") -> str:
    return f"sum by ({by}) (rate({metric}{{{_SELECT}}}[$__rate_interval]))"


def _quantiles(metric: str) -> list[Query]:
    return [
        Query(f"histogram_quantile({q}, {_rate(metric + '_bucket', 'le, model_name')})", "{{model_name}} " + name)
        for q, name in (("0.5", "P50"), ("0.95", "P95"), ("0.99", "P99"))
    ]


def vllm() -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        uid="llm-vllm",
        title="vLLM",
        description="The end-to-end histogram lacks requests that clients abandoned, so its P99 is too low.",
        variables={
            "model_name": "label_values(vllm:num_requests_running, model_name)",
            "instance": "label_values(vllm:num_requests_running, instance)",
        },
        sections=[_requests(), _latency(), _tokens()],
    )


def _requests() -> Section:
    return "Requests", [
        Lines(
            title="Finished requests per second by reason",
            queries=[
                Query(
                    _rate("vllm:request_success_total", "model_name, finished_reason"),
                    "{{finished_reason}}",
                )
            ],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Running",
            queries=[Query(f"vllm:num_requests_running{{{_SELECT}}}", _LEGEND)],
            minimum=0,
        ),
        Lines(
            title="Waiting",
            queries=[Query(f"vllm:num_requests_waiting{{{_SELECT}}}", _LEGEND)],
            minimum=0,
        ),
        Lines(
            title="HTTP answers per second by status",
            queries=[
                Query(
                    'sum by (status) (rate(http_requests_total{handler=~"/v1/.*", instance=~"$instance"}'
                    "[$__rate_interval]))",
                    "{{status}}",
                )
            ],
            unit="reqps",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Rejected requests per second",
            queries=[
                Query(
                    'sum by (reason) (rate(vllm:admission_rejections_total{model_name=~"$model_name"}'
                    "[$__rate_interval]))",
                    "{{reason}}",
                )
            ],
            unit="reqps",
            minimum=0,
            width=12,
        ),
    ]


def _latency() -> Section:
    return "Latency", [
        Lines(title="End to end", queries=_quantiles("vllm:e2e_request_latency_seconds"), unit="s", minimum=0),
        Lines(
            title="Time to first token",
            queries=_quantiles("vllm:time_to_first_token_seconds"),
            unit="s",
            minimum=0,
        ),
        Lines(
            title="Between tokens",
            queries=_quantiles("vllm:inter_token_latency_seconds"),
            unit="s",
            minimum=0,
        ),
        Lines(title="In queue", queries=_quantiles("vllm:request_queue_time_seconds"), unit="s", minimum=0),
        Lines(title="Prefill", queries=_quantiles("vllm:request_prefill_time_seconds"), unit="s", minimum=0),
        Lines(title="Decode", queries=_quantiles("vllm:request_decode_time_seconds"), unit="s", minimum=0),
    ]


def _tokens() -> Section:
    return "Tokens and cache", [
        Lines(
            title="Tokens per second",
            queries=[
                Query(_rate("vllm:prompt_tokens_total"), _LEGEND + " input"),
                Query(_rate("vllm:generation_tokens_total"), _LEGEND + " output"),
            ],
            minimum=0,
        ),
        Lines(
            title="KV cache",
            queries=[Query(f"vllm:kv_cache_usage_perc{{{_SELECT}}}", _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=[Limit(0.8, YELLOW), Limit(0.95, RED)],
        ),
        Lines(
            title="Preemptions per second",
            queries=[Query(_rate("vllm:num_preemptions_total"), _LEGEND)],
            minimum=0,
        ),
        Lines(
            title="Prefix cache hits",
            queries=[
                Query(
                    f"{_rate('vllm:prefix_cache_hits_total')} / {_rate('vllm:prefix_cache_queries_total')}",
                    _LEGEND,
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
            width=12,
        ),
        Lines(
            title="Resident memory",
            queries=[Query(_MEMORY, "{{instance}}")],
            unit="bytes",
            minimum=0,
            width=12,
        ),
    ]
