"""The pages of DCGM exporters: nodes of eight GPUs, each with its own load, heat, memory and pod."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from collectors.samples import FloatArray
from tests.e2e.bad_day.curves import Grid, counted
from tests.e2e.bad_day.pages import Page

PER_NODE = 8
TOTAL_MIB, RESERVED_MIB = 81559.0, 551.0
HOT, FULL = 5, 11
"""Numbers of the GPU that is at 91 °C, and of the one whose memory is full."""


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG instance of it."""

    number: int
    """Counts all GPUs of the fleet."""
    pod: str
    """"" for none."""
    slice: str = ""
    """GPU_I_ID of a MIG instance."""

    @property
    def labels(self) -> dict[str, str]:
        """Labels as dcgm-exporter gives them."""
        index, node = self.number % PER_NODE, self.number // PER_NODE
        found = {
            "gpu": str(index),
            "UUID": f"GPU-5ca1ab1e-{node:04x}-4{index:03x}-8000-{self.number:012x}",
            "device": f"nvidia{index}",
            "modelName": "NVIDIA H100 80GB HBM3",
            "Hostname": node_name(node),
            "DCGM_FI_DRIVER_VERSION": "580.95.05",
        }
        if self.slice:
            found |= {"GPU_I_PROFILE": "3g.40gb", "GPU_I_ID": self.slice}
        if self.pod:
            found |= {"container": "engine", "namespace": "llm", "pod": self.pod}
        return found


def node_name(node: int) -> str:
    """Return the name of a node by its number from 0."""
    return f"gpu-{node + 1:02d}"


def gpus_of(node: int, gpus: int, pods: Sequence[str]) -> list[Gpu]:
    """Return the GPUs of a node. `pods` has the pod of each GPU of the fleet, as far as there are pods.

    The last GPU of the fleet is cut into two MIG instances.
    """
    found = []
    for number in range(node * PER_NODE, min((node + 1) * PER_NODE, gpus)):
        pod = pods[number] if number < len(pods) else ""
        if number == gpus - 1:
            found += [Gpu(number, pod, "1"), Gpu(number, "", "2")]
        else:
            found.append(Gpu(number, pod))
    return found


def dcgm(gpus: Sequence[Gpu], grid: Grid) -> Page:
    """Return the page of a node's exporter."""
    page, loads = Page(grid), {gpu: _load(gpu, grid) for gpu in gpus}

    def add(name: str, kind: str, value: Callable[[Gpu, FloatArray], FloatArray]) -> None:
        page.family(name, kind, [(gpu.labels, value(gpu, loads[gpu])) for gpu in gpus])

    add("DCGM_FI_DEV_GPU_TEMP", "gauge", lambda gpu, load: np.round(_celsius(gpu, load, grid)))
    add("DCGM_FI_DEV_MEMORY_TEMP", "gauge", lambda gpu, load: np.round(_celsius(gpu, load, grid) + 3.0))
    add("DCGM_FI_DEV_POWER_USAGE", "gauge", lambda gpu, load: np.round(_watts(load), 1))
    add("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", lambda gpu, load: counted(_watts(load) * 1000.0))
    whole = [gpu for gpu in gpus if not gpu.slice]
    page.family("DCGM_FI_DEV_GPU_UTIL", "gauge", [(gpu.labels, np.round(100.0 * loads[gpu])) for gpu in whole])
    add("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", lambda gpu, load: np.round(load, 4))
    add("DCGM_FI_DEV_FB_USED", "gauge", _used)
    add("DCGM_FI_DEV_FB_FREE", "gauge", lambda gpu, load: _total(gpu) - RESERVED_MIB - _used(gpu, load))
    add("DCGM_FI_DEV_FB_RESERVED", "gauge", lambda gpu, load: np.full(len(load), RESERVED_MIB))
    add("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", lambda gpu, load: np.zeros(len(load)))
    return page.finish()


def _load(gpu: Gpu, grid: Grid) -> FloatArray:
    if not gpu.pod:
        return np.full(len(grid.times), 0.0)
    peak = 0.35 + 0.6 * ((gpu.number * 7) % 11) / 10.0
    found: FloatArray = np.clip(peak * grid.day() * grid.noise(f"gpu {gpu.number}", 0.12), 0.02, 1.0)
    return found


def _celsius(gpu: Gpu, load: FloatArray, grid: Grid) -> FloatArray:
    if gpu.number == HOT:
        return 68.0 + 23.0 * grid.bump(-2700.0, 1e9, 600.0)
    found: FloatArray = 40.0 + (gpu.number % 5) + 36.0 * load
    return found


def _watts(load: FloatArray) -> FloatArray:
    found: FloatArray = 95.0 + 590.0 * load
    return found


def _total(gpu: Gpu) -> float:
    return TOTAL_MIB / 2 if gpu.slice else TOTAL_MIB


def _used(gpu: Gpu, load: FloatArray) -> FloatArray:
    share = 0.975 if gpu.number == FULL else 0.2 + 0.72 * ((gpu.number * 5) % 13) / 12.0 if gpu.pod else 0.2
    used: FloatArray = np.round(
        _total(gpu) * share - RESERVED_MIB * (gpu.number == FULL) + 900.0 * load * (share < 0.9)
    )
    return used
