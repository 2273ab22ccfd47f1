"""The SGLang dashboard: SGLang's own metrics (0.5), under their own names."""

from __future__ import annotations

from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.common import near, rate, stages
from dashboards.panels import Lines, Query
from dashboards.settings import Settings

_CHOSEN = chosen("model_name", "instance")
_BY = "model_name, instance"
_LEGEND = "{{model_name}} {{instance}}"
_STAGES = (
    ("End to end", "e2e_request_latency", "From arrival to the last token. Requests that clients left count too."),
    ("Time to first token", "time_to_first_token", "From arrival to the first token."),
    ("Between tokens", "inter_token_latency", "Between two tokens of one request."),
    ("In queue", "queue_time", "From arrival until the request is scheduled."),
)


def sglang(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-sglang",
        title="SGLang",
        description="SGLang's own metrics. Requests that clients left count as finished ones, and as HTTP 200.",
        variables={
            "model_name": values_of("sglang:num_running_reqs", "model_name"),
            "instance": values_of("sglang:num_running_reqs", "instance", chosen("model_name")),
        },
        sections=[_requests(), _latency(settings), _tokens(settings)],
        page="/targets",
    )


def _requests() -> Section:
    return "Requests", [
        Lines(
            title="Requests per second",
            description="Finished requests and, apart, those that clients left. The second are a part of the first.",
            queries=[
                Query(rate("sglang:num_requests_total", _BY, _CHOSEN), _LEGEND),
                Query(rate("sglang:num_aborted_requests_total", _BY, _CHOSEN), _LEGEND + " aborted"),
            ],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="Running and waiting",
            description="Requests in execution, and in the queue.",
            queries=[
                Query(f"sum by ({_BY}) (sglang:num_running_reqs{select(_CHOSEN)})", _LEGEND + " running"),
                Query(f"sum by ({_BY}) (sglang:num_queue_reqs{select(_CHOSEN)})", _LEGEND + " waiting"),
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="HTTP answers per second by status",
            description="SGLang's count of errors: its other counters do not tell them.",
            queries=[
                Query(rate("sglang:http_responses_total", "status_code", chosen("instance")), "{{status_code}}"),
            ],
            unit="reqps",
            minimum=0,
        ),
    ]


def _latency(settings: Settings) -> Section:
    return "Latency", stages(settings, "sglang:", _STAGES, "model_name", _CHOSEN, width=6)


def _tokens(settings: Settings) -> Section:
    return "Tokens and cache", [
        Lines(
            title="Tokens per second",
            description="Of prompts, the part of them that the cache had, and generated.",
            queries=[
                Query(rate("sglang:prompt_tokens_total", _BY, _CHOSEN), _LEGEND + " input"),
                Query(rate("sglang:cached_tokens_total", _BY, _CHOSEN), _LEGEND + " cached"),
                Query(rate("sglang:generation_tokens_total", _BY, _CHOSEN), _LEGEND + " output"),
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Token pool",
            description="Used share of the places for tokens. A full pool makes requests wait, or retracts them.",
            queries=[Query(f"max by ({_BY}) (sglang:token_usage{select(_CHOSEN)})", _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=near(settings.limit("kv_cache")),
        ),
        Lines(
            title="Retracted requests per second",
            description="Requests that lost their place because the pool was full. They start again.",
            queries=[Query(rate("sglang:num_retracted_requests_total", _BY, _CHOSEN), _LEGEND)],
            unit="none",
            minimum=0,
        ),
    ]
