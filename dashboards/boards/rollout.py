"""The dashboard of rollouts: the stable version beside the candidate."""

from __future__ import annotations

from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.common import CLIENTS, ERRORS, nearest, quantile, rate, ratio, share
from dashboards.boards.fleet import model_link
from dashboards.panels import YELLOW, Limit, Lines, Link, Number, Query, Rows, States
from dashboards.settings import Settings

_MODEL = chosen("model")
_CHOSEN = chosen("model", "version")
_OUTSIDE = (CLIENTS, _CHOSEN)
_BY = "model, version, source"
_LEGEND = "{{model}} {{version}} ({{source}})"


def rollout(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-rollout",
        title="LLM rollouts",
        description="Choose one model: its versions side by side while traffic moves. The console has the verdicts.",
        variables={
            "model": values_of("controlplane_rollout_attention", "model"),
            "version": values_of("llm_requests_total", "version", _MODEL),
        },
        sections=[_now(settings), _split(settings), _compared(settings), _answers()],
        page="/rollouts",
    )


def _now(settings: Settings) -> Section:
    return "Now", [
        Number(
            title="Running",
            description="Rollouts that have not ended, at most one a model.",
            queries=[Query(f"count(controlplane_rollout_running{select(_MODEL)} == 1) or vector(0)")],
            unit="none",
        ),
        Number(
            title="Need a person",
            description="Models whose newest rollout needs attention, other than one that only went back.",
            queries=[
                Query(
                    "count(max by (model) (controlplane_rollout_attention"
                    + select('need!="went_back"', _MODEL)
                    + ") == 1) or vector(0)"
                )
            ],
            unit="none",
            limits=[Limit(1)],
        ),
        States(
            title="Rollouts over time",
            description="A bar while a rollout from one version to another runs.",
            queries=[
                Query(
                    f"max by (model, from_version, to_version) (controlplane_rollout_running{select(_MODEL)})",
                    "{{model}}: {{from_version}} to {{to_version}}",
                )
            ],
            unit="none",
            limits=[Limit(1, YELLOW)],
            width=16,
        ),
        Rows(
            title="Running rollouts",
            description="The rollouts that run now. Their steps, verdicts and buttons are in the console.",
            queries=[Query(f"controlplane_rollout_running{select(_MODEL)} == 1", instant=True)],
            unit="none",
            columns=["model", "from_version", "to_version", "strategy"],
            values=["now"],
            links=[Link("Model in the console", settings.page("/models/${__data.fields.model:percentencode}"))],
            width=12,
            height=6,
        ),
        Rows(
            title="Rollouts that need attention",
            description="By need: `person`, `waiting` (no progress), `decision` (an approval), `went_back`.",
            queries=[Query(f"controlplane_rollout_attention{select(_MODEL)} == 1", instant=True)],
            unit="none",
            columns=["model", "need"],
            values=["now"],
            links=[Link("Model in the console", settings.page("/models/${__data.fields.model:percentencode}"))],
            width=12,
            height=6,
        ),
    ]


def _split(settings: Settings) -> Section:
    def share_of(source: str) -> str:
        each = rate("llm_requests_total", "model, version", source, _CHOSEN)
        return f"{each} / on (model) group_left () ({rate('llm_requests_total', 'model', source, _MODEL)} > 0)"

    return "Split", [
        Lines(
            title="Share of the requests by version",
            description="What each version gets of the clients' requests, as the gateways count; where a model has "
            "none, what each version answers, as the engines count.",
            queries=[Query(nearest(share_of, ("gateway", "engine")), "{{model}} {{version}}")],
            unit="percentunit",
            minimum=0,
            maximum=1,
            links=model_link(settings),
            width=12,
        ),
        Lines(
            title="Backends that serve each version",
            description="Backends that are ready with the version. An idle version is ready on none.",
            queries=[
                Query(
                    f"sum by (model, version) (llm_backend_ready{select(_CHOSEN)})",
                    "{{model}} {{version}}",
                )
            ],
            unit="none",
            minimum=0,
            links=model_link(settings),
            width=12,
        ),
    ]


def _compared(settings: Settings) -> Section:
    found = [
        Lines(
            title="Errors",
            description="Errors, rejections and answers that broke off, as a share of a version's requests, as the "
            "gateway, a proxy of others and the probe see them. The line is the limit of LLMErrorRateHigh; a rollout's "
            "own limits are in its analysis.",
            queries=[Query(share(ERRORS, _BY, 'version!=""', *_OUTSIDE), _LEGEND)],
            unit="percentunit",
            minimum=0,
            limits=[Limit(settings.limit("error_rate"))],
        )
    ]
    for title, q, metric, limit in (
        ("P99 of the whole request", 0.99, "llm_request_duration_seconds", "latency_p99"),
        ("P95 until the first token", 0.95, "llm_time_to_first_token_seconds", "ttft_p95"),
    ):
        found.append(
            Lines(
                title=title,
                description="As the gateway, a proxy of others and the probe see it. Lines that drift apart after a "
                "step are the candidate's doing. The dashed line is the alert's limit.",
                queries=[Query(quantile(q, metric, _BY, *_OUTSIDE), _LEGEND)],
                unit="s",
                minimum=0,
                limits=[Limit(settings.limit(limit))],
            )
        )
    return "Stable and candidate", found


def _answers() -> Section:
    by, legend = "model, version", "{{model}} {{version}}"
    clients = ('traffic="client"', _CHOSEN)
    whole = rate("controlplane_gateway_answers_total", by, *clients)
    return "Answers by their content", [
        Lines(
            title="Empty answers",
            description="Answers without text, reasoning, tool call or refusal, as a share of the whole ones.",
            queries=[Query(ratio(rate("controlplane_gateway_empty_answers_total", by, *clients), whole), legend)],
            unit="percentunit",
            minimum=0,
        ),
        Lines(
            title="Refused answers",
            description="Answers that a filter ended, or that the engine marks as refusals, as a share of the whole "
            "ones.",
            queries=[Query(ratio(rate("controlplane_gateway_refused_answers_total", by, *clients), whole), legend)],
            unit="percentunit",
            minimum=0,
        ),
        Lines(
            title="Tokens of an answer",
            description="The median. A candidate that talks more costs more.",
            queries=[Query(quantile(0.5, "controlplane_gateway_answer_tokens", by, *clients), legend)],
            unit="none",
            minimum=0,
        ),
    ]
