"""The capacity gate: sizes that are declared, measured or unknown, GPUs out of real series, and predicted downtimes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from controlplane.config.models import ModelSection
from controlplane.errors import QueryError
from controlplane.metrics.promql.values import QueryValue
from controlplane.rollout.model import Phase, Plan, Rollout, RolloutKind, RolloutLimits, Step, StepKind
from controlplane.rollout.planning import memory
from controlplane.rollout.planning.capacity import GIB, Gpu, ServerMemory, capacity, size
from controlplane.rollout.planning.history import loads_of
from controlplane.rollout.planning.memory import GpuMemory
from tests.unit.controlplane.metrics.conftest import load

A = "http://a:8000"


def section(name: str = "chat", url: str = A, gpus: float = 2, **v2: Any) -> ModelSection:
    return ModelSection.model_validate(
        {
            "name": name,
            "stable": "v1",
            "traffic": {"driver": "triton", "backends": [{"url": url, "gpus": gpus}]},
            "versions": {"v1": {}, "v2": v2},
        }
    )


def gpus(*used: float, total: float = 80) -> tuple[Gpu, ...]:
    return tuple(Gpu(f"GPU-{number}", total * GIB, each * GIB) for number, each in enumerate(used))


def told(chosen: ModelSection, *servers: ServerMemory, loads: tuple[float, ...] = ()) -> tuple[str, str, float | None]:
    found = capacity(chosen, "v1", "v2", servers, loads)
    return found.fit.value, found.sentence, found.downtime_s


@pytest.mark.parametrize(
    ("memory", "used", "fit", "sentence"),
    [
        (
            {"memory": "40GB"},
            (30, 59),
            "beside",
            "v2 needs 20 GiB on each GPU of http://a:8000 (40 GiB of weights by fleet.yaml), and GPU GPU-1 has 21 GiB "
            "free: it fits beside v1",
        ),
        (
            {"memory": "40GB", "kv_cache": "4GB"},
            (30, 59),
            "drain",
            "v2 needs 22 GiB on each GPU of http://a:8000 (40 GiB of weights and 4 GiB of KV cache by fleet.yaml), and "
            "GPU GPU-1 has 21 GiB free: it does not fit beside v1; to unload v1 first interrupts the service for as "
            "long as the load takes; no earlier load of this model was recorded",
        ),
        (
            {"memory": "170GB"},
            (0, 0),
            "never",
            "v2 needs 85 GiB on each GPU of http://a:8000 (170 GiB of weights by fleet.yaml), and GPU GPU-0 has only "
            "80 GiB in all",
        ),
        (
            {},
            (30, 30),
            "unknown",
            "whether v2 fits on http://a:8000 is unknown: its size is not known; declare it as versions.v2.memory in "
            "fleet.yaml",
        ),
    ],
)
def test_a_declared_size(memory: dict[str, Any], used: tuple[float, ...], fit: str, sentence: str) -> None:
    assert told(section(**memory), ServerMemory(A, gpus(*used)))[:2] == (fit, sentence)


def test_without_a_declared_size_the_stable_version_is_measured_where_it_is_alone() -> None:
    fit, sentence, _ = told(section(), ServerMemory(A, gpus(30, 34), alone=True))
    assert (fit, sentence) == (
        "beside",
        "v2 needs 32 GiB on each GPU of http://a:8000 (as much as v1 takes there now), and GPU GPU-1 has 46 GiB free: "
        "it fits beside v1",
    )
    assert told(section(), ServerMemory(A, gpus(0, 0), alone=True))[0] == "unknown", "nothing is loaded there"


def test_the_downtime_is_predicted_by_earlier_loads() -> None:
    fit, sentence, downtime = told(section(memory="40GB"), ServerMemory(A, gpus(70, 70)), loads=(200.0, 180.0, 600.0))
    assert (fit, downtime) == ("drain", 200.0)
    assert sentence.endswith(
        "interrupts the service for about 200 s (median of 3 earlier loads; the longest took 600 s)"
    )
    one = told(section(memory="40GB"), ServerMemory(A, gpus(70, 70)), loads=(61.0,))[1]
    assert one.endswith("for about 61 s (median of 1 earlier load; the longest took 61 s)")


def test_the_tightest_server_decides() -> None:
    free, full = ServerMemory(A, gpus(10, 10)), ServerMemory("http://b:8000", gpus(70, 70))
    silent = ServerMemory("http://c:8000", unknown="no route")
    chosen = section(memory="40GB")
    assert told(chosen, free, full, silent)[0] == "drain"
    assert told(chosen, free, silent)[:2] == ("unknown", "whether v2 fits on http://c:8000 is unknown: no route")
    assert told(chosen)[0] == "unknown"


def test_a_version_with_servers_of_its_own_takes_no_memory_of_the_others() -> None:
    own = section(backends=[{"url": "http://b:1", "engine": "triton"}])
    assert told(own)[:2] == ("beside", "v2 has servers of its own, which hold its memory already")


def test_sizes() -> None:
    assert (size(40 * GIB), size(1.25 * GIB), size(GIB / 4)) == ("40 GiB", "1.25 GiB", "256 MiB")


# --- out of the series


class Series:
    def __init__(self, text: str = "", fault: Exception | None = None) -> None:
        self._engine, self._fault = load(text), fault

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        if self._fault:
            raise self._fault
        return self._engine.instant(expr, at)


def series(gpu: str, total: float, used: float, node: str = "a", instance: str = "a:9400", reserved: float = 0) -> str:
    labels = f'node="{node}",instance="{instance}",gpu="{gpu}"'
    text = f"gpu_memory_total_bytes{{{labels}}} {total}\ngpu_memory_used_bytes{{{labels}}} {used}\n"
    return text + (f"gpu_memory_reserved_bytes{{{labels}}} {reserved}\n" if reserved else "")


async def read(text: str, chosen: ModelSection, *others: ModelSection) -> ServerMemory:
    sections = {each.name: each for each in (chosen, *others)}
    (found,) = await GpuMemory(Series(text)).read(chosen, sections, 0.0)
    return found


async def test_the_gpus_of_a_host_are_the_servers_if_it_uses_all() -> None:
    text = series("g0", 100, 10, reserved=2) + series("g1", 100, 20) + series("g9", 100, 99, node="other")
    found = await read(text, section())
    assert found == ServerMemory(A, (Gpu("g0", 100, 12), Gpu("g1", 100, 20)), alone=True)


async def test_the_gpus_that_a_server_itself_reports_are_its_own() -> None:
    host = series("g0", 100, 10) + series("g1", 100, 20) + series("g2", 100, 30)
    own = series("g1", 100, 21, instance="a:8002")
    assert (await read(host + own, section(gpus=1))).gpus == (Gpu("g1", 100, 21),)
    unclear = await read(host, section(gpus=1))
    assert unclear.unknown == "a has 3 GPUs, the server uses 1 of them, and which is not known"


async def test_a_gpu_that_two_exporters_report_counts_once_with_its_larger_use() -> None:
    text = series("g0", 100, 10) + series("g0", 100, 15, instance="a:9401")
    assert (await read(text, section(gpus=1))).gpus == (Gpu("g0", 100, 15),)


async def test_another_model_on_the_host_may_hold_the_memory() -> None:
    text = series("g0", 100, 10) + series("g1", 100, 20)
    assert not (await read(text, section(), section("other", "http://a:9000"))).alone
    assert (await read(text, section(), section("other", "http://b:8000"))).alone


async def test_a_host_without_a_collector_is_unknown() -> None:
    assert (await read("", section())).unknown == "no collector reports the memory of GPUs on a"
    half = 'gpu_memory_total_bytes{node="a",instance="a:9400",gpu="g0"} 100\n'
    assert (await read(half, section(gpus=1))).gpus == ()


async def test_metrics_that_cannot_be_read_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = section()
    (found,) = await GpuMemory(Series(fault=QueryError("timeout", "too slow"))).read(chosen, {"chat": chosen}, 0.0)
    assert found.unknown == "the metrics cannot be read: too slow"

    class Silent(Series):
        async def instant_value(self, expr: str, at: float) -> QueryValue:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(memory, "READ_S", 0.01)
    (found,) = await GpuMemory(Silent()).read(chosen, {"chat": chosen}, 0.0)
    assert found.unknown == "the metrics could not be read within 0.01 s"


# --- earlier loads


def test_loads_are_the_times_of_earlier_steps_on_one_backend() -> None:
    steps = (Step(StepKind.BRING_UP), Step(StepKind.ASK), Step(StepKind.WATCH))
    plan = Plan(
        "chat", "v1", "v2", RolloutKind.PROMOTE, "blue-green", ("a", "b"), True, "", RolloutLimits(1, 1, 1), steps, ()
    )
    done = Rollout("r-1", plan, Phase.SUCCEEDED, "s", "ann", 0, 0, 0, steps_at=(100.0, 160.0, 161.0))
    at_once = replace(done, plan=replace(plan, steps=(replace(steps[0], at_once=True), *steps[1:])))
    loading = replace(done, phase=Phase.PREPARING, steps_at=(100.0,))
    older = replace(done, steps_at=())
    assert loads_of([done, at_once, loading, older]) == [30.0, 60.0]
