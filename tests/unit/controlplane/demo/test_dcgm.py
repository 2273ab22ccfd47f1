from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controlplane.demo.dcgm import GPUS, MEMORY_MIB, DcgmSimulator
from controlplane.demo.faults import DemoFault


class Exporter:
    def __init__(self, time_: Any) -> None:
        self.loads = [0.0] * GPUS
        self.active: set[DemoFault] = set()
        self.time = time_
        self.simulator = DcgmSimulator(lambda: self.loads, lambda: frozenset(self.active), clock=time_.clock)

    def after(self, seconds: float) -> None:
        self.time.now += seconds
        self.simulator.advance()

    def read(self, field: str) -> list[float]:
        for family in text_string_to_metric_families(self.simulator.exposition().decode()):
            for sample in family.samples:
                if sample.name == f"DCGM_FI_{field}":
                    return [s.value for s in family.samples]
        raise KeyError(field)


@pytest.fixture
def exporter(time_: Any) -> Exporter:
    return Exporter(time_)


def test_utilisation_follows_the_engines_load(exporter: Exporter) -> None:
    assert exporter.read("DEV_GPU_UTIL") == [0, 0, 0, 0]
    exporter.loads = [1.0, 0.5, 0.0, 0.0]
    exporter.after(60)
    assert exporter.read("DEV_GPU_UTIL") == [100, 50, 0, 0]
    assert exporter.read("PROF_GR_ENGINE_ACTIVE")[:2] == pytest.approx([1.0, 0.5], abs=1e-3)
    assert exporter.read("DEV_POWER_USAGE")[0] == pytest.approx(700, abs=0.1)


@pytest.mark.parametrize("load", [0.0, 0.3, 1.0])
def test_temperature_stays_between_55_and_70_at_any_load(exporter: Exporter, load: float) -> None:
    exporter.loads = [load] * GPUS
    for _ in range(300):
        exporter.after(2)
        assert all(55 <= celsius <= 70 for celsius in exporter.read("DEV_GPU_TEMP"))


def test_temperature_lags_behind_the_load(exporter: Exporter) -> None:
    exporter.after(300)
    cold = exporter.read("DEV_GPU_TEMP")[0]
    exporter.loads = [1.0] * GPUS
    exporter.after(5)
    warming = exporter.read("DEV_GPU_TEMP")[0]
    exporter.after(300)
    assert cold < warming < exporter.read("DEV_GPU_TEMP")[0]


def test_gpu_hot_passes_85_within_four_seconds_and_clears_within_fifteen(exporter: Exporter) -> None:
    exporter.after(60)
    exporter.active.add(DemoFault.GPU_HOT)
    for _ in range(4):
        exporter.after(1)
    temperatures = exporter.read("DEV_GPU_TEMP")
    assert temperatures[3] > 85
    assert max(temperatures[:3]) < 70
    for _ in range(10):
        exporter.after(1)
    assert exporter.read("DEV_GPU_TEMP")[3] == 93
    exporter.active.clear()
    for _ in range(15):
        exporter.after(1)
    assert exporter.read("DEV_GPU_TEMP")[3] < 85


def test_used_free_and_reserved_are_always_the_whole_memory(exporter: Exporter) -> None:
    exporter.active.add(DemoFault.VRAM_FULL)
    exporter.after(1)
    used, free, reserved = (exporter.read(f"DEV_FB_{part}") for part in ("USED", "FREE", "RESERVED"))
    assert [sum(parts) for parts in zip(used, free, reserved, strict=True)] == [MEMORY_MIB] * GPUS
    assert [u / MEMORY_MIB > 0.95 for u in used] == [False, False, False, True]


def test_energy_counts_up_in_millijoules_under_the_exporter_s_own_name(exporter: Exporter) -> None:
    exporter.after(10)
    text = exporter.simulator.exposition().decode()
    assert "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter" in text
    line = next(x for x in text.splitlines() if x.startswith("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{"))
    assert float(line.rpartition(" ")[2]) == 10 * 120 * 1000


def test_labels_are_the_exporter_s_and_say_simulated(exporter: Exporter) -> None:
    families = list(text_string_to_metric_families(exporter.simulator.exposition().decode()))
    names = ["gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname", "DCGM_FI_DRIVER_VERSION"]
    for family in families:
        extra = ["err_code", "err_msg"] if family.name == "DCGM_FI_DEV_XID_ERRORS" else []
        assert [list(s.labels) for s in family.samples] == [names + extra] * GPUS
        assert len({s.labels["UUID"] for s in family.samples}) == GPUS
        assert all("(simulated)" in s.labels["modelName"] for s in family.samples)
