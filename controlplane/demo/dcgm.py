"""A simulated DCGM exporter: four GPUs that work, warm up and draw power as the simulated engines keep them busy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controlplane.demo.faults import DemoFault

GPUS = 4
MEMORY_MIB = 81559
"""An 80 GB H100 as DCGM reports it: used + free + reserved."""
RESERVED_MIB = 551
LOADED_MIB = 61000
"""Weights and KV cache of a loaded engine, which allocates them at its start."""
UTILISATION_TAU_S, THERMAL_TAU_S, FAULT_TAU_S = 4.0, 20.0, 1.5
"""Time constants of first-order lags: the sampling of utilisation, a heat sink, a heat sink whose fan has failed."""
HOT_GPU, HOT_CELSIUS = 3, 93.5
_LABELS = (
    'gpu="{i}",UUID="{uuid}",pci_bus_id="00000000:{bus:02X}:00.0",device="nvidia{i}",'
    'modelName="NVIDIA H100 80GB HBM3 (simulated)",Hostname="simulated-gpu-host",DCGM_FI_DRIVER_VERSION="580.95.05"'
)


@dataclass
class Gpu:
    """One GPU's state: utilisation 0 to 1, °C, joules since boot."""

    index: int
    utilisation: float = 0.0
    celsius: float = 56.0
    joules: float = 0.0
    vram_full: bool = False

    def step(self, seconds: float, busy: float, *, hot: bool) -> None:
        """Advance by `seconds` at a load of `busy` (0 to 1). 55 °C idle, 70 °C at full load; `hot` drives it to 93."""
        self.utilisation += (busy - self.utilisation) * (1 - math.exp(-seconds / UTILISATION_TAU_S))
        target = HOT_CELSIUS if hot else 55.0 + 0.5 * self.index + 13.0 * self.utilisation
        self.celsius += (target - self.celsius) * (1 - math.exp(-seconds / (FAULT_TAU_S if hot else THERMAL_TAU_S)))
        self.joules += self.watts * seconds

    @property
    def watts(self) -> float:
        """An H100's board power: about 120 W with weights loaded and idle, 700 W at most."""
        return 120.0 + 580.0 * self.utilisation

    @property
    def used_mib(self) -> int:
        """Framebuffer in use, without the reserved part."""
        return math.floor(MEMORY_MIB * 0.97) if self.vram_full else LOADED_MIB + 400 * self.index


class DcgmSimulator:
    """The exporter. `loads` gives each GPU's load (0 to 1) now, in order; time comes from `clock` (seconds)."""

    def __init__(
        self,
        loads: Callable[[], Sequence[float]],
        active: Callable[[], frozenset[DemoFault]],
        *,
        clock: Callable[[], float],
    ) -> None:
        self.gpus = [Gpu(index) for index in range(GPUS)]
        self._loads, self._active, self._clock = loads, active, clock
        self._at = clock()

    def advance(self) -> None:
        """Bring every GPU up to the clock."""
        now, active = self._clock(), self._active()
        for gpu, busy in zip(self.gpus, self._loads(), strict=True):
            gpu.step(now - self._at, min(max(busy, 0.0), 1.0), hot=gpu.index == HOT_GPU and DemoFault.GPU_HOT in active)
            gpu.vram_full = gpu.index == HOT_GPU and DemoFault.VRAM_FULL in active
        self._at = now

    def exposition(self) -> bytes:
        """The text that /metrics answers: fields, types and labels of dcgm-exporter's default list."""
        self.advance()
        lines = []
        for name, kind, text, value in _FIELDS:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            extra = ',err_code="0",err_msg="No Error"' if name == "DCGM_FI_DEV_XID_ERRORS" else ""
            lines += [f"{name}{{{_labels(gpu)}{extra}}} {value(gpu)}" for gpu in self.gpus]
        return ("\n".join(lines) + "\n").encode()


def _labels(gpu: Gpu) -> str:
    uuid = f"GPU-51000000-0000-4000-8000-{gpu.index:012d}"
    return _LABELS.format(i=gpu.index, uuid=uuid, bus=0x18 + 0x10 * gpu.index)


_Field = tuple[str, str, str, Callable[[Gpu], float]]
_FIELDS: tuple[_Field, ...] = (
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz).", lambda g: 1980),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).", lambda g: 2619),
    ("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C).", lambda g: round(g.celsius + 6)),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C).", lambda g: round(g.celsius)),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W).", lambda g: round(g.watts, 3)),
    (
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "counter",
        "Total energy consumption since boot (in mJ).",
        lambda g: round(g.joules * 1000),
    ),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries.", lambda g: 0),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %).", lambda g: round(100 * g.utilisation)),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %).", lambda g: round(55 * g.utilisation)),
    ("DCGM_FI_DEV_ENC_UTIL", "gauge", "Encoder utilization (in %).", lambda g: 0),
    ("DCGM_FI_DEV_DEC_UTIL", "gauge", "Decoder utilization (in %).", lambda g: 0),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered.", lambda g: 0),
    (
        "DCGM_FI_DEV_FB_FREE",
        "gauge",
        "Framebuffer memory free (in MiB).",
        lambda g: MEMORY_MIB - RESERVED_MIB - g.used_mib,
    ),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB).", lambda g: g.used_mib),
    ("DCGM_FI_DEV_FB_RESERVED", "gauge", "Framebuffer memory reserved (in MiB).", lambda g: RESERVED_MIB),
    (
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
        "counter",
        "Number of remapped rows for uncorrectable errors",
        lambda g: 0,
    ),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "counter", "Number of remapped rows for correctable errors", lambda g: 0),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed", lambda g: 0),
    (
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "gauge",
        "Ratio of time the graphics engine is active (in %).",
        lambda g: round(g.utilisation, 6),
    ),
)
