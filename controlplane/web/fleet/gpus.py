"""The grid of GPUs: a tile for each GPU or MIG instance, by node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from controlplane.fleet.views import AlertView, GpuView
from controlplane.web.languages import noted as _

Colour = Literal["memory", "utilization", "temperature"]
COLOURS: dict[Colour, str] = {"memory": _("memory"), "utilization": _("in use"), "temperature": _("temperature")}
"""Numbers that may colour the grid, with their names."""
COOL_C = 25.0
"""Temperature at which the scale of colours begins, in °C."""
LEVELS = 5
"""Number of steps of the scale below the limit."""
LIMITS: Mapping[Colour, str] = {"memory": "vram_ratio", "temperature": "temperature"}
"""Thresholds beyond which a tile is red, by their names in fleet.yaml."""


class Tile(NamedTuple):
    """One GPU or MIG instance."""

    gpu: GpuView
    level: str
    """u0 to u4 by the chosen number, `hot` beyond its limit, or `unknown`."""
    text: str
    """The chosen number: percent, or °C."""
    memory: int | None
    """Percent of its memory in use."""
    utilization: int | None
    """Percent of the time in use."""
    slice: str
    """Name of a MIG instance, such as GI1; "" for a whole GPU."""
    alerts: tuple[AlertView, ...]


class Node(NamedTuple):
    """The GPUs of one node."""

    name: str
    simulated: bool
    cells: tuple[tuple[Tile, ...], ...]
    """One cell a GPU: its tile, or those of its MIG instances."""
    alerts: int
    """GPUs with an active alert."""


def nodes_of(
    gpus: Sequence[GpuView], alerts: Iterable[AlertView], colour: Colour, limits: Mapping[str, float]
) -> list[Node]:
    """Return the nodes in the order of the GPUs. `limits` are thresholds by their names in fleet.yaml."""
    by_gpu: dict[str, list[AlertView]] = {}
    for alert in alerts:
        by_gpu.setdefault(alert.labels.get("gpu", ""), []).append(alert)
    boards: dict[str, dict[str, list[GpuView]]] = {}
    for gpu in sorted(gpus, key=_place):
        boards.setdefault(gpu.node, {}).setdefault(gpu.gpu.partition("/")[0], []).append(gpu)
    found = []
    for name, of_node in boards.items():
        cells = []
        for parts in of_node.values():
            told = [a for gpu in parts for a in by_gpu.get(gpu.gpu, ()) if a.labels.get("node", name) == name]
            cells.append(tuple(_tile(gpu, tuple(told), colour, limits) for gpu in _slices(parts)))
        simulated = all(gpu.simulated for parts in of_node.values() for gpu in parts)
        found.append(Node(name, simulated, tuple(cells), sum(bool(cell[0].alerts) for cell in cells)))
    return found


def _slices(parts: Sequence[GpuView]) -> Sequence[GpuView]:
    """Return a GPU's MIG instances with the numbers that only the whole GPU has; without instances, the GPU."""
    whole, slices = [gpu for gpu in parts if "/" not in gpu.gpu], [gpu for gpu in parts if "/" in gpu.gpu]
    if not slices or not whole:
        return slices or whole
    board = {"temperature_celsius": whole[0].temperature_celsius, "power_watts": whole[0].power_watts}
    return [
        gpu.model_copy(update={name: value for name, value in board.items() if getattr(gpu, name) is None})
        for gpu in slices
    ]


def _place(gpu: GpuView) -> tuple[str, int, str]:
    index = gpu.index or ""
    return gpu.node, int(index) if index.isdigit() else 1 << 16, gpu.gpu


def _tile(gpu: GpuView, alerts: tuple[AlertView, ...], colour: Colour, limits: Mapping[str, float]) -> Tile:
    memory = None
    if gpu.memory_used_bytes is not None and gpu.memory_total_bytes:
        memory = gpu.memory_used_bytes / gpu.memory_total_bytes
    value = {"memory": memory, "utilization": gpu.utilization_ratio, "temperature": gpu.temperature_celsius}[colour]
    limit = limits.get(LIMITS.get(colour, ""))
    level, text = "unknown", "–"
    if value is not None:
        scale = value
        if colour == "temperature":
            scale = (value - COOL_C) / ((limit or 100.0) - COOL_C)
        beyond = limit is not None and value > limit
        level = "hot" if beyond else f"u{min(LEVELS - 1, max(0, int(scale * LEVELS)))}"
        text = f"{value:.0f}°" if colour == "temperature" else f"{100 * value:.0f}"
    uuid, _slash, instance = gpu.gpu.partition("/")
    return Tile(gpu, level, text, _percent(memory), _percent(gpu.utilization_ratio), instance if uuid else "", alerts)


def _percent(ratio: float | None) -> int | None:
    return None if ratio is None else round(100 * min(max(ratio, 0.0), 1.0))
