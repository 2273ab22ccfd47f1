"""The section of a model's engines: what each of them says of itself."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.board import Section, chosen, select
from dashboards.boards.common import quantile
from dashboards.panels import YELLOW, Limit, Lines, Panel, Query, Rows

_CHOSEN = chosen("model", "version")
_BY = "model, version, engine"
_LEGEND = "{{model}} {{version}} ({{engine}})"


def engines() -> Section:
    """Return the section."""
    return "Engines", [
        *(
            Lines(
                title=title,
                description=f"{text} By engine, since buckets differ between engines.",
                queries=[Query(quantile(0.95, metric, _BY, 'source="engine"', _CHOSEN), _LEGEND)],
                unit="s",
                minimum=0,
            )
            for title, metric, text in (
                ("P95 in queue", "llm_queue_duration_seconds", "Time that a request waited before it was scheduled."),
                (
                    "P95 of the time per output token",
                    "llm_time_per_output_token_seconds",
                    "Mean time of a token of one request, the first excluded.",
                ),
            )
        ),
        Lines(
            title="Quantiles that engines compute",
            description="Of the whole request, of the slowest server: quantiles of several servers cannot be averaged. "
            "Triton has them, and no buckets.",
            queries=[
                Query(
                    "max by (model, version, engine, quantile) "
                    f"(llm_request_duration_quantile_seconds{select(_CHOSEN)})",
                    _LEGEND + " {{quantile}}",
                )
            ],
            unit="s",
            minimum=0,
        ),
        *_servers(),
    ]


def _servers() -> Sequence[Panel]:
    """Return the panels of the servers: starts, loaded models, adapters, readiness."""
    return [
        Lines(
            title="Restarts per hour",
            description="Starts of each engine's process within the last hour. LLMCrashLoop fires for many.",
            queries=[
                Query(
                    f"max by (engine, instance) (changes(llm_engine_start_time_seconds{select(chosen('node'))}[1h]))",
                    "{{engine}} {{instance}}",
                )
            ],
            unit="none",
            minimum=0,
            limits=[Limit(1, YELLOW)],
            width=6,
        ),
        Lines(
            title="Memory of loaded models",
            description="By kind: `gpu`, or `host` where a model does not fit. Ollama tells it.",
            queries=[
                Query(
                    f"sum by (model, instance, memory) (llm_model_memory_bytes{select(chosen('model'))})",
                    "{{model}} {{instance}} {{memory}}",
                )
            ],
            unit="bytes",
            minimum=0,
            width=6,
        ),
        Lines(
            title="LoRA adapters",
            description="Adapters of each engine by state.",
            queries=[
                Query(
                    f"sum by (instance, state) (llm_lora_adapters{select(chosen('model'))})", "{{instance}} {{state}}"
                )
            ],
            unit="none",
            minimum=0,
            width=6,
        ),
        Rows(
            title="Engines not ready",
            description="Engines that report themselves not ready, as load balancers see it.",
            queries=[Query(f"llm_engine_ready{select(chosen('node'))} == 0", instant=True)],
            unit="none",
            columns=["engine", "backend", "node"],
            values=["ready"],
            width=6,
        ),
    ]
