"""The GPU dashboard. A GPU that several exporters report counts once."""

from __future__ import annotations

from typing import Any

from dashboards.panels import RED, YELLOW, Bars, Limit, Lines, Number, Query, Rows, Section, dashboard

_NODE = '* on (gpu) group_left (node) gpu:node:info{node=~"$node"}'
"""The node of each GPU, one whatever the exporters call it. The pack builtin:gpu records it."""
_LEGEND = "{{node}} {{gpu}}"


def _max(metric: str) -> str:
    return f"max by (gpu) ({metric}) {_NODE}"


_MEMORY = f"max by (gpu) (gpu_memory_used_bytes) / max by (gpu) (gpu_memory_total_bytes) {_NODE}"


def gpu() -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        uid="llm-gpu",
        title="GPUs",
        description="From dcgm-exporter, NVML and Triton. A GPU that several of them report counts once.",
        variables={"node": "label_values(gpu:node:info, node)"},
        sections=[_now(), _load(), _health()],
    )


def _now() -> Section:
    return "Now", [
        Number(
            title="GPUs",
            queries=[Query(f"count({_max('gpu_utilization_ratio')})")],
            width=4,
            height=8,
        ),
        Number(
            title="Hottest",
            queries=[Query(f"max({_max('gpu_temperature_celsius')})")],
            unit="celsius",
            limits=[Limit(75, YELLOW), Limit(85, RED)],
            width=4,
        ),
        Rows(
            title="GPUs",
            queries=[
                Query(_max("gpu_utilization_ratio"), instant=True),
                Query(_MEMORY, instant=True),
                Query(_max("gpu_temperature_celsius"), instant=True),
            ],
            columns=["node", "gpu"],
            values=["in use (0-1)", "memory (0-1)", "temperature (°C)"],
            width=16,
        ),
    ]


def _load() -> Section:
    return "Load", [
        Lines(
            title="In use",
            queries=[Query(_max("gpu_utilization_ratio"), _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
            width=12,
        ),
        Lines(
            title="Memory",
            description="Used memory as a share of used, reserved and free. vLLM reserves its share at start.",
            queries=[Query(_MEMORY, _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=[Limit(0.95)],
            width=12,
        ),
    ]


def _health() -> Section:
    return "Health", [
        Lines(
            title="Temperature",
            queries=[Query(_max("gpu_temperature_celsius"), _LEGEND)],
            unit="celsius",
            limits=[Limit(85)],
        ),
        Lines(title="Power", queries=[Query(_max("gpu_power_watts"), _LEGEND)], unit="watt", minimum=0),
        Bars(
            title="Throttled now",
            queries=[
                Query(
                    f"max by (gpu, reason) (gpu_throttle_active) {_NODE} > 0",
                    _LEGEND + " {{reason}}",
                )
            ],
            minimum=0,
            maximum=1,
            limits=[Limit(1, YELLOW)],
        ),
        Lines(
            title="Errors in the last hour by type",
            queries=[
                Query(
                    f"max by (gpu, type) (increase(gpu_errors_total[1h])) {_NODE}",
                    _LEGEND + " {{type}}",
                )
            ],
            minimum=0,
            width=12,
        ),
        Lines(
            title="Energy per hour",
            queries=[Query(f"max by (gpu) (rate(gpu_energy_joules_total[1h])) * 3600 {_NODE}", _LEGEND)],
            unit="joule",
            minimum=0,
            width=12,
        ),
    ]
