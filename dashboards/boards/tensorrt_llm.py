"""The TensorRT-LLM dashboard: trtllm-serve's own metrics, and those of Triton's TensorRT-LLM backend."""

from __future__ import annotations

from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.common import near, rate, ratio, stages
from dashboards.panels import Lines, Query
from dashboards.settings import Settings

_CHOSEN = chosen("instance")
_BY = "instance"
_LEGEND = "{{instance}}"
_STAGES = (
    ("End to end", "e2e_request_latency", "From arrival to the last token."),
    ("Time to first token", "time_to_first_token", "From arrival to the first token."),
    ("Per output token", "time_per_output_token", "Mean time of an output token of one request, the first excluded."),
    ("In queue", "request_queue_time", "From arrival until the request is scheduled."),
)


def tensorrt_llm(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-tensorrt-llm",
        title="TensorRT-LLM",
        description="trtllm-serve's metrics at /prometheus/metrics (reading its /metrics empties a queue), and those "
        "of Triton's TensorRT-LLM backend.",
        variables={"instance": values_of("target_up", "instance", 'engine=~"trtllm|triton"')},
        sections=[_requests(), _latency(settings), _tokens(settings), _triton(settings)],
        page="/targets",
    )


def _requests() -> Section:
    return "trtllm-serve: requests", [
        Lines(
            title="Finished requests per second by reason",
            description="Good answers by the reason of their end.",
            queries=[Query(rate("trtllm_request_success_total", "finished_reason", _CHOSEN), "{{finished_reason}}")],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Failed requests per second",
            description="Requests that ended with an error.",
            queries=[Query(rate("trtllm_request_error_total", _BY, _CHOSEN), _LEGEND)],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Running and waiting",
            description="Requests in execution, and in the queue.",
            queries=[
                Query(f"trtllm_num_requests_running{select(_CHOSEN)}", _LEGEND + " running"),
                Query(f"trtllm_num_requests_waiting{select(_CHOSEN)}", _LEGEND + " waiting"),
            ],
            unit="none",
            minimum=0,
        ),
    ]


def _latency(settings: Settings) -> Section:
    return "trtllm-serve: latency", stages(settings, "trtllm_", _STAGES, "instance", _CHOSEN, width=6)


def _tokens(settings: Settings) -> Section:
    reused = rate("trtllm_kv_cache_reused_blocks_total", _BY, _CHOSEN)
    missed = rate("trtllm_kv_cache_missed_blocks_total", _BY, _CHOSEN)
    return "trtllm-serve: tokens and cache", [
        Lines(
            title="Tokens per second",
            description="Of prompts, and generated.",
            queries=[
                Query(rate("trtllm_prompt_tokens_total", _BY, _CHOSEN), _LEGEND + " input"),
                Query(rate("trtllm_generation_tokens_total", _BY, _CHOSEN), _LEGEND + " output"),
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="KV cache",
            description="Used share of the cache.",
            queries=[Query(f"trtllm_kv_cache_utilization{select(_CHOSEN)}", _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=near(settings.limit("kv_cache")),
        ),
        Lines(
            title="Reused blocks",
            description="Share of the cache's blocks that an earlier request had computed.",
            queries=[Query(ratio(reused, f"({reused} + {missed})"), _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
        ),
    ]


def _triton(settings: Settings) -> Section:
    fraction, kinds = 'kv_cache_block_type="fraction"', 'request_type=~"waiting|scheduled|active"'
    blocks, requests = select(fraction, _CHOSEN), select(kinds, _CHOSEN)
    return "Triton's TensorRT-LLM backend", [
        Lines(
            title="Requests by state",
            description="`active` is the sum of `scheduled` (in execution) and `waiting`.",
            queries=[
                Query(
                    f"sum by (model, request_type) (nv_trt_llm_request_metrics{requests})", "{{model}} {{request_type}}"
                )
            ],
            unit="none",
            minimum=0,
            width=12,
        ),
        Lines(
            title="KV cache",
            description="Used share of the cache's blocks.",
            queries=[
                Query(f"max by (model, instance) (nv_trt_llm_kv_cache_block_metrics{blocks})", "{{model}} {{instance}}")
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=near(settings.limit("kv_cache")),
            width=12,
        ),
    ]
