"""Reads this host's GPUs through NVML. Blocking, and NVML can hang: call it only in the child process.

Needs only nvidia-ml-py and prometheus-client. A reading that the GPU or the driver does not support is absent, never
zero. A GPU that the driver lost has `gpu_up 0`; the other GPUs are still read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pynvml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from collectors.errors import NvmlUnavailable

_NO_DRIVER = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
_LOST = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_GPU_NOT_FOUND)
_FATAL_XIDS = (48, 64, 74, 79, 94, 95)
"""XIDs that NVIDIA's catalogue calls fatal. Their counters start at 0, so that the first event is an increase."""
_MAX_EVENTS = 1000
"""Maximum number of events per read (chosen): a flood of events must not make a read hang."""
_THROTTLE = {
    "power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "hw_slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
    "sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
    "sw_thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    "hw_thermal": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "hw_power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
}
"""Reasons that slow a busy GPU down. Idle and configured clocks are not among them."""


class _Lost(Exception):
    """The driver has lost the GPU."""


class _Sample(NamedTuple):
    metric: str
    labels: dict[str, str]
    value: float


@dataclass
class _Gpu:
    uuid: str
    index: int
    name: str
    handle: Any


def start_nvml() -> None:
    """Start NVML in this process. Raises NvmlUnavailable, whose message is for operators."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value in _NO_DRIVER:
            raise NvmlUnavailable("no NVIDIA driver on this host") from error
        raise NvmlUnavailable(f"NVML does not start: {error}") from error


class GpuCollector(Collector):
    """A prometheus_client collector of all GPUs of this host. Needs a started NVML.

    It has state: it counts XID events from the first read on, and keeps every GPU once seen, so that a lost one shows.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._known: dict[str, _Gpu] = {}
        self._events: Any = None
        self._xids: dict[str, dict[int, int]] = {}

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the canonical gpu_* families that have samples."""
        samples = list(self._samples())
        for name, (kind, text, labels) in _FAMILIES.items():
            mine = [s for s in samples if s.metric == name]
            if mine:
                family = kind(name, text, labels=["node", *labels])
                for sample in mine:
                    family.add_metric([self._node, *(sample.labels[label] for label in labels)], sample.value)
                yield family

    def _samples(self) -> Iterator[_Sample]:
        driver = _attempt(pynvml.nvmlSystemGetDriverVersion) or ""
        found, down = self._find()
        for gpu in found:
            try:
                yield from [_Sample(m, {"gpu": gpu.uuid, **labels}, v) for m, labels, v in _readings(gpu.handle)]
                yield _Sample("gpu_up", {"gpu": gpu.uuid}, 1)
            except _Lost:
                down.add(gpu.uuid)
        seen = {gpu.uuid for gpu in found}
        for uuid in sorted(down | (set(self._known) - seen)):
            yield _Sample("gpu_up", {"gpu": uuid}, 0)
        for gpu in self._known.values():
            about = {"gpu_index": str(gpu.index), "gpu_name": gpu.name, "driver_version": driver}
            yield _Sample("gpu_info", {"gpu": gpu.uuid, **about}, 1)
        yield from self._xid_samples(found)

    def _find(self) -> tuple[list[_Gpu], set[str]]:
        """Return the GPUs that have a handle, and the ids of those that the driver lists but cannot open."""
        found: list[_Gpu] = []
        down: set[str] = set()
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid = str(pynvml.nvmlDeviceGetUUID(handle))
                gpu = _Gpu(uuid, index, str(_attempt(pynvml.nvmlDeviceGetName, handle) or ""), handle)
            except (pynvml.NVMLError, _Lost):
                before = next((g.uuid for g in self._known.values() if g.index == index), None)
                down.add(before or f"index-{index}")  # lost before its UUID was read
            else:
                found.append(gpu)
                self._known[uuid] = gpu
        return found, down

    def _xid_samples(self, found: Iterable[_Gpu]) -> Iterator[_Sample]:
        """Count XID events and yield the counters, also of lost GPUs: the XID event is often their last sign."""
        if self._events is None:
            self._events = _attempt(pynvml.nvmlEventSetCreate)
        for gpu in found:
            if self._events is not None and gpu.uuid not in self._xids and self._register(gpu):
                self._xids[gpu.uuid] = dict.fromkeys(_FATAL_XIDS, 0)
        if self._xids:
            self._drain_events()
        for uuid, counts in self._xids.items():
            for code, count in counts.items():
                yield _Sample("gpu_errors", {"gpu": uuid, "type": f"xid_{code}"}, count)

    def _register(self, gpu: _Gpu) -> bool:
        try:
            pynvml.nvmlDeviceRegisterEvents(gpu.handle, pynvml.nvmlEventTypeXidCriticalError, self._events)
        except pynvml.NVMLError:
            return False
        return True

    def _drain_events(self) -> None:
        by_handle = {_address(gpu.handle): gpu.uuid for gpu in self._known.values()}
        for _ in range(_MAX_EVENTS):
            try:
                event = pynvml.nvmlEventSetWait_v2(self._events, 0)
            except pynvml.NVMLError:  # a timeout (no more events), or an error that makes events unavailable
                return
            counts = self._xids.get(by_handle.get(_address(event.device), ""))
            if counts is not None:
                counts[event.eventData] = counts.get(event.eventData, 0) + 1


def read_exposition(collector: Collector) -> bytes:
    """Return the text exposition of one read of the GPUs. Raises NvmlUnavailable when NVML itself fails."""
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        return generate_latest(registry)
    except pynvml.NVMLError as error:
        raise NvmlUnavailable(f"NVML does not answer: {error}") from error


_GAUGE, _COUNTER = GaugeMetricFamily, CounterMetricFamily
_FAMILIES: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "gpu_up": (_GAUGE, "1 when the GPU answers, 0 when the driver lost it.", ("gpu",)),
    "gpu_info": (_GAUGE, "Always 1; the labels describe the GPU.", ("gpu", "gpu_index", "gpu_name", "driver_version")),
    "gpu_utilization_ratio": (_GAUGE, "Share of time with a kernel running, 0 to 1.", ("gpu",)),
    "gpu_memory_used_bytes": (_GAUGE, "Device memory in use, driver-reserved memory excluded.", ("gpu",)),
    "gpu_memory_reserved_bytes": (_GAUGE, "Device memory reserved by the driver.", ("gpu",)),
    "gpu_memory_total_bytes": (_GAUGE, "Device memory: used, reserved and free.", ("gpu",)),
    "gpu_temperature_celsius": (_GAUGE, "Temperature of the GPU die.", ("gpu",)),
    "gpu_power_watts": (_GAUGE, "Power drawn.", ("gpu",)),
    "gpu_energy_joules": (_COUNTER, "Energy used since the driver was loaded.", ("gpu",)),
    "gpu_errors": (_COUNTER, "Errors by type: ecc_corrected, ecc_uncorrected, xid_<code>.", ("gpu", "type")),
    "gpu_throttle_active": (_GAUGE, "1 while the clocks are held down for the reason.", ("gpu", "reason")),
}
"""Kind, help and labels by name. The name of a counter has no `_total`."""


def _readings(handle: Any) -> Iterator[_Sample]:
    """Yield the readings that a GPU supports. Raises _Lost when the driver has lost it."""
    if (memory := _memory(handle)) is not None:
        yield _Sample("gpu_memory_used_bytes", {}, memory.used)
        yield _Sample("gpu_memory_total_bytes", {}, memory.total)
        if hasattr(memory, "reserved"):
            yield _Sample("gpu_memory_reserved_bytes", {}, memory.reserved)
    if (utilization := _attempt(pynvml.nvmlDeviceGetUtilizationRates, handle)) is not None:
        yield _Sample("gpu_utilization_ratio", {}, utilization.gpu / 100)
    if (celsius := _temperature(handle)) is not None:
        yield _Sample("gpu_temperature_celsius", {}, celsius)
    if (milliwatts := _attempt(pynvml.nvmlDeviceGetPowerUsage, handle)) is not None:
        yield _Sample("gpu_power_watts", {}, milliwatts / 1000)
    if (millijoules := _attempt(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)) is not None:
        yield _Sample("gpu_energy_joules", {}, millijoules / 1000)
    for kind, error_type in (
        ("ecc_corrected", pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
        ("ecc_uncorrected", pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
    ):
        count = _attempt(pynvml.nvmlDeviceGetTotalEccErrors, handle, error_type, pynvml.NVML_VOLATILE_ECC)
        if count is not None:
            yield _Sample("gpu_errors", {"type": kind}, count)
    if (mask := _throttle_mask(handle)) is not None:
        for reason, bit in _THROTTLE.items():
            yield _Sample("gpu_throttle_active", {"reason": reason}, float(bool(mask & bit)))


def _memory(handle: Any) -> Any:
    """Return the memory counters, of the v2 call if possible: v1's `used` includes memory reserved by the driver."""
    second = _attempt(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    return second if second is not None else _attempt(pynvml.nvmlDeviceGetMemoryInfo, handle)


def _temperature(handle: Any) -> Any:
    sensor = pynvml.NVML_TEMPERATURE_GPU
    value = _attempt(pynvml.nvmlDeviceGetTemperatureV, handle, sensor)
    return value if value is not None else _attempt(pynvml.nvmlDeviceGetTemperature, handle, sensor)


def _throttle_mask(handle: Any) -> Any:
    value = _attempt(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    return value if value is not None else _attempt(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)


def _attempt(call: Callable[..., Any], *args: Any) -> Any:
    """Return the result of an NVML call, or None when it fails. Raises _Lost when the driver has lost the GPU."""
    try:
        return call(*args)
    except pynvml.NVMLError as error:
        if error.value in _LOST:
            raise _Lost from error
        return None


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
