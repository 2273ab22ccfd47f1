"""Reads the memory of a model's GPUs from the series store, for the capacity gate."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from collectors.engines.kinds import BACKENDS
from controlplane.config.models import ModelSection
from controlplane.config.traffic.base import Backend
from controlplane.errors import ControlPlaneError
from controlplane.metrics.promql.values import QueryValue, Vector
from controlplane.rollout.planning.capacity import Gpu, ServerMemory
from controlplane.rollout.planning.order import servers

READ_S = 5.0
"""Deadline of one reading, in seconds. A slow metrics server must not delay a promotion. Chosen."""
TOTAL = "max by (node, instance, gpu) (gpu_memory_total_bytes)"
USED = "max by (node, instance, gpu) (gpu_memory_used_bytes)"
RESERVED = "max by (node, instance, gpu) (gpu_memory_reserved_bytes)"
_Place = tuple[str, str, str]
"""Labels node, instance and gpu of a series."""


class Queries(Protocol):
    """Ad-hoc PromQL. Raises QueryError and other errors of the control plane."""

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate at unix second `at`."""
        ...


class GpuMemory:
    """Reads the GPUs of a model's servers. Never raises: `ServerMemory.unknown` says why nothing could be read."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def read(self, section: ModelSection, sections: Mapping[str, ModelSection], at: float) -> list[ServerMemory]:
        """Return the memory of the servers that serve every version of a model, at unix second `at`."""
        backends = section.traffic.backends
        try:
            async with asyncio.timeout(READ_S):
                total, used, reserved = await asyncio.gather(
                    *(self._by_gpu(each, at) for each in (TOTAL, USED, RESERVED))
                )
        except TimeoutError:
            return [ServerMemory(b.url, unknown=f"the metrics could not be read within {READ_S:g} s") for b in backends]
        except ControlPlaneError as error:
            return [ServerMemory(b.url, unknown=f"the metrics cannot be read: {error}") for b in backends]
        others = [other for name, other in sections.items() if name != section.name]
        return [_server(backend, section, others, total, used, reserved) for backend in backends]

    async def _by_gpu(self, expr: str, at: float) -> dict[_Place, float]:
        value = await self._queries.instant_value(expr, at)
        assert isinstance(value, Vector)  # every query of this class is an aggregation
        found = {}
        for sample in value.samples:
            labels = dict(sample.labels)
            if math.isfinite(sample.value):
                found[labels.get("node", ""), labels.get("instance", ""), labels.get("gpu", "")] = sample.value
        return found


def _server(
    backend: Backend,
    section: ModelSection,
    others: Sequence[ModelSection],
    total: Mapping[_Place, float],
    used: Mapping[_Place, float],
    reserved: Mapping[_Place, float],
) -> ServerMemory:
    host = _host(backend.url)
    own, node = metrics_address(backend), backend.labels.get("node", host)
    # A server's own series name exactly the GPUs that it uses. An exporter of the host names all of the host.
    places = [place for place in total if place[1] == own] or [place for place in total if place[0] == node]
    best: dict[str, Gpu] = {}
    for place in places:
        if place not in used:
            continue
        taken = used[place] + reserved.get(place, 0.0)
        gpu = Gpu(place[2], total[place], taken)
        # Two exporters of one host may report one GPU: the larger use counts.
        if place[2] not in best or best[place[2]].used < taken:
            best[place[2]] = gpu
    gpus = tuple(sorted(best.values(), key=lambda gpu: gpu.name))
    if not gpus:
        return ServerMemory(backend.url, unknown=f"no collector reports the memory of GPUs on {node}")
    if backend.gpus and len(gpus) != backend.gpus:
        what = f"{node} has {len(gpus)} GPUs, the server uses {backend.gpus:g} of them, and which is not known"
        return ServerMemory(backend.url, unknown=what)
    alone = not any(_host(url) == host for other in others for url in servers(other))
    mine = [url for url in servers(section) if _host(url) == host]
    return ServerMemory(backend.url, gpus, alone and len(mine) == 1)


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def metrics_address(backend: Backend) -> str:
    """Return `host:port` of a server's metrics, which is the label `instance` of its series. Default engine: Triton."""
    if backend.metrics:
        return urlsplit(backend.metrics).netloc.rpartition("@")[2]
    port = BACKENDS[backend.engine or "triton"].metrics_port
    if port is None:
        return urlsplit(backend.url).netloc
    host = _host(backend.url)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
