"""The vLLM dashboard: vLLM's own metrics (0.11 and newer), under their own names."""

from __future__ import annotations

from typing import Any

from dashboards.board import FLEET, Section, chosen, dashboard, select, values_of
from dashboards.boards.common import rate, ratio, stages
from dashboards.panels import YELLOW, Limit, Lines, Query
from dashboards.settings import Settings

_CHOSEN = chosen("model_name", "instance")
_BY = "model_name, instance"
_LEGEND = "{{model_name}} {{instance}}"
_MEMORY = (
    f"process_resident_memory_bytes{select(chosen('instance'))} "
    f'and on (job, instance) target_up{{engine="vllm", {FLEET}}}'
)
"""A metric that every process has: the engine's kind tells vLLM's."""
_STAGES = (
    (
        "End to end",
        "e2e_request_latency",
        "From arrival to the last token. Requests that clients abandoned are missing.",
    ),
    ("Time to first token", "time_to_first_token", "From arrival to the first token, abandoned requests included."),
    ("Between tokens", "inter_token_latency", "Between two tokens of one request."),
    ("In queue", "request_queue_time", "From arrival until the request is scheduled."),
    ("Prefill", "request_prefill_time", "Time in which the prompt is computed."),
    ("Decode", "request_decode_time", "From the first token to the last."),
)


def vllm(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-vllm",
        title="vLLM",
        description="vLLM's own metrics. The end-to-end histogram lacks requests that clients abandoned, so its P99 is "
        "too low.",
        variables={
            "model_name": values_of("vllm:num_requests_running", "model_name"),
            "instance": values_of("vllm:num_requests_running", "instance", chosen("model_name")),
        },
        sections=[_requests(), _latency(settings), _tokens(settings)],
        page="/targets",
    )


def _requests() -> Section:
    return "Requests", [
        Lines(
            title="Finished requests per second by reason",
            description="`stop` and `length` are good answers. `abort`: the client left, or the server stopped.",
            queries=[
                Query(rate("vllm:request_success_total", "model_name, finished_reason", _CHOSEN), "{{finished_reason}}")
            ],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Running",
            description="Requests in execution.",
            queries=[Query(f"vllm:num_requests_running{select(_CHOSEN)}", _LEGEND)],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Waiting",
            description="Requests in the queue.",
            queries=[Query(f"vllm:num_requests_waiting{select(_CHOSEN)}", _LEGEND)],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="HTTP answers per second by status",
            description="Of the API's routes. vLLM's own counters lack requests that it refuses.",
            queries=[
                Query(rate("http_requests_total", "status", 'handler=~"/v1/.*"', chosen("instance")), "{{status}}"),
            ],
            unit="reqps",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Rejected requests per second",
            description="Requests that the engine did not admit, by reason.",
            queries=[Query(rate("vllm:admission_rejections_total", "reason", chosen("model_name")), "{{reason}}")],
            unit="reqps",
            minimum=0,
            width=12,
        ),
    ]


def _latency(settings: Settings) -> Section:
    return "Latency", stages(settings, "vllm:", _STAGES, "model_name", _CHOSEN, width=8)


def _tokens(settings: Settings) -> Section:
    return "Tokens and cache", [
        Lines(
            title="Tokens per second",
            description="Of prompts, cached ones included, and generated.",
            queries=[
                Query(rate("vllm:prompt_tokens_total", _BY, _CHOSEN), _LEGEND + " input"),
                Query(rate("vllm:generation_tokens_total", _BY, _CHOSEN), _LEGEND + " output"),
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="KV cache",
            description="Used share of the cache's blocks. LLMKVCachePressure fires above the red line while requests "
            "are preempted.",
            queries=[Query(f"vllm:kv_cache_usage_perc{select(_CHOSEN)}", _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=[Limit(0.8, YELLOW), Limit(settings.limit("kv_cache"))],
        ),
        Lines(
            title="Preemptions per second",
            description="Requests that lost their place because the cache was full. They start again.",
            queries=[Query(rate("vllm:num_preemptions_total", _BY, _CHOSEN), _LEGEND)],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Prefix cache hits",
            description="Share of the prompts' tokens that the prefix cache had.",
            queries=[
                Query(
                    ratio(
                        rate("vllm:prefix_cache_hits_total", _BY, _CHOSEN),
                        rate("vllm:prefix_cache_queries_total", _BY, _CHOSEN),
                    ),
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
            description="Memory of the server's process on the host. Growth without an end is a leak.",
            queries=[Query(_MEMORY, "{{instance}}")],
            unit="bytes",
            minimum=0,
            width=12,
        ),
    ]
