"""The GPU dashboard. A GPU that several exporters report counts once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.common import near
from dashboards.panels import YELLOW, Bars, Limit, Lines, Link, Number, Panel, Query, Rows
from dashboards.settings import Settings

_NODE = f"* on (gpu) group_left (node) gpu:node:info{select(chosen('node'))}"
"""The node of each GPU, one whatever the exporters call it. The pack builtin:gpu records it."""
_LEGEND = "{{node}} {{gpu}}"


def _max(metric: str) -> str:
    return f"max by (gpu) ({metric}{select()}) {_NODE}"


_MEMORY = f"max by (gpu) (gpu_memory_used_bytes{select()}) / max by (gpu) (gpu_memory_total_bytes{select()}) {_NODE}"


def gpu(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-gpu",
        title="GPUs",
        description="From dcgm-exporter, NVML and Triton. A GPU that several of them report counts once.",
        variables={"node": values_of("gpu:node:info", "node")},
        sections=[_now(settings), _load(settings), _health(settings), _errors(), _slices()],
    )


def _now(settings: Settings) -> Section:
    return "Now", [
        Number(
            title="GPUs",
            description="GPUs that an exporter reports. A MIG instance is part of its GPU.",
            queries=[Query(f"count(gpu:node:info{select(chosen('node'))})")],
            unit="none",
        ),
        Number(
            title="GPUs lost",
            description="GPUs that the driver lost: they answer no more until the host starts again.",
            queries=[Query(f"count(max by (gpu) (gpu_up{select(chosen('node'))}) == 0) or vector(0)")],
            unit="none",
            limits=[Limit(1)],
        ),
        Number(
            title="Hottest",
            description="Temperature of the hottest GPU. Red is where GPUTemperatureHigh fires.",
            queries=[Query(f"max({_max('gpu_temperature_celsius')})")],
            unit="celsius",
            limits=near(settings.limit("temperature")),
        ),
        Rows(
            title="GPUs",
            description="Each GPU once, whoever reports it. Shares are from 0 to 1.",
            queries=[
                Query(_max("gpu_utilization_ratio"), instant=True),
                Query(_MEMORY, instant=True),
                Query(_max("gpu_temperature_celsius"), instant=True),
                Query(_max("gpu_power_watts"), instant=True),
            ],
            unit="none",
            columns=["node", "gpu"],
            values=["in use (0-1)", "memory (0-1)", "temperature (°C)", "power (W)"],
            links=[Link("Targets in the console", settings.page("/targets"))],
            width=12,
        ),
    ]


def _load(settings: Settings) -> Section:
    return "Load", [
        Lines(
            title="In use",
            description="Share of the time with a kernel running. 1 does not mean that all of the GPU works.",
            queries=[Query(_max("gpu_utilization_ratio"), _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
            width=12,
        ),
        Lines(
            title="Memory",
            description="Used memory as a share of used, reserved and free. vLLM reserves its share at start. The line "
            "is the limit of GPUMemoryHigh.",
            queries=[Query(_MEMORY, _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
            limits=[Limit(settings.limit("vram_ratio"))],
            width=12,
        ),
    ]


def _health(settings: Settings) -> Section:
    return "Heat and power", [
        Lines(
            title="Temperature",
            description="Of the GPU's core. The line is the limit of GPUTemperatureHigh.",
            queries=[Query(_max("gpu_temperature_celsius"), _LEGEND)],
            unit="celsius",
            limits=[Limit(settings.limit("temperature"))],
        ),
        Lines(
            title="Temperature of the memory",
            description="The line is the limit of GPUMemoryTemperatureHigh. Not every GPU reports it.",
            queries=[Query(_max("gpu_memory_temperature_celsius"), _LEGEND)],
            unit="celsius",
            limits=[Limit(settings.limit("memory_temperature"))],
        ),
        Lines(
            title="Power",
            description="Power drawn now.",
            queries=[Query(_max("gpu_power_watts"), _LEGEND)],
            unit="watt",
            minimum=0,
        ),
        *_slowed(),
    ]


def _slowed() -> Sequence[Panel]:
    """Return the panels of GPUs that are slowed down, and of the energy that they use."""
    return [
        Bars(
            title="Slowed down now",
            description="GPUs whose clocks are held down, by reason: heat, power, or the board. From NVML.",
            queries=[
                Query(f"max by (gpu, reason) (gpu_throttle_active{select()}) {_NODE} > 0", _LEGEND + " {{reason}}")
            ],
            unit="none",
            minimum=0,
            maximum=1,
            limits=[Limit(1, YELLOW)],
        ),
        Lines(
            title="Time slowed down",
            description="Share of the time for which the clocks were held down, by reason. From DCGM.",
            queries=[
                Query(
                    f"max by (gpu, reason) (rate(gpu_throttle_seconds_total{select()}[$__rate_interval])) {_NODE}",
                    _LEGEND + " {{reason}}",
                )
            ],
            unit="percentunit",
            minimum=0,
        ),
        Lines(
            title="Slowed down in the exporter's own window",
            description="What dcgm-exporter counted within its window, by reason. It is no counter: it falls again.",
            queries=[Query(f"max by (gpu, reason) (gpu_recent_throttles{select()}) {_NODE}", _LEGEND + " {{reason}}")],
            unit="none",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Energy per hour",
            description="Energy used within the last hour, in joules. 3.6 million are a kilowatt hour.",
            queries=[Query(f"max by (gpu) (rate(gpu_energy_joules_total{select()}[1h])) * 3600 {_NODE}", _LEGEND)],
            unit="joule",
            minimum=0,
            width=12,
        ),
    ]


def _errors() -> Section:
    return "Errors", [
        Lines(
            title="Errors in the last hour by type",
            description="ECC, remapped rows, NVLink, PCIe and XID errors that the GPU counts.",
            queries=[
                Query(
                    f"max by (gpu, type) (increase(gpu_errors_total{select()}[1h])) {_NODE}",
                    _LEGEND + " {{type}}",
                )
            ],
            unit="none",
            minimum=0,
            width=12,
        ),
        Lines(
            title="XIDs in the exporter's own window",
            description="What dcgm-exporter counted within its window, by XID. It is no counter: it falls again.",
            queries=[Query(f"max by (gpu, type) (gpu_recent_errors{select()}) {_NODE}", _LEGEND + " {{type}}")],
            unit="none",
            minimum=0,
            width=12,
        ),
    ]


def _slices() -> Section:
    slices = select('gpu=~".+/GI.+"', chosen("node"))
    used, all_of = (f"max by (node, gpu) (gpu_memory_{name}_bytes{slices})" for name in ("used", "total"))
    return "MIG and pods", [
        Lines(
            title="Memory of MIG instances",
            description="Used memory of each instance as a share of its own.",
            queries=[
                Query(
                    f"{used} / {all_of}",
                    _LEGEND,
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
        ),
        Lines(
            title="MIG instances in use",
            description="Share of each instance's engines that work.",
            queries=[Query(f"max by (node, gpu) (gpu_utilization_ratio{slices})", _LEGEND)],
            unit="percentunit",
            minimum=0,
            maximum=1,
        ),
        Rows(
            title="Pods",
            description="The pod that has each GPU, as DCGM's labels say.",
            queries=[Query(f"gpu_pod_info{select(chosen('node'))}", instant=True)],
            unit="none",
            columns=["node", "gpu", "namespace", "pod", "container"],
            values=["now"],
        ),
    ]
