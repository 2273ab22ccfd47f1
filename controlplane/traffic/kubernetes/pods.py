"""The pods of each version, by the EndpointSlices of its Service, and the requests that they have counted.

Weights are an order to gateways, and no gateway's API tells how many requests it sent where. The engines count theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controlplane.errors import ControlPlaneError
from controlplane.traffic.engines.counters import Counted, Counter
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.resource import Json, endpoint_slices, listed_at, text_at

MOST_PODS = 16
"""Most pods of a version whose metrics are read. Chosen: one counted request on any of them confirms a share."""
AGAIN_S = 3.0
"""Least seconds between two readings. Chosen: engines' counters are read as often by a usual scrape."""
COUNT_S = 900.0
"""Seconds after a change of the weights in which requests are counted. Nobody asks for the count of a share that has
held for longer."""
READ_S = 3.0
"""Deadline of one pod's metrics."""
_SERVICE = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Endpoints:
    """The endpoints of a Service: host:port of each."""

    ready: frozenset[str] = frozenset()
    unready: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PodsCounted:
    """Counts of the pods of all versions. Maps are by version."""

    totals: Mapping[str, int] | None = None
    """Requests since this process first read each pod. A pod that goes takes none away. None: no pod could be read."""
    open: Mapping[str, int] | None = None
    """Open requests. None: a pod does not tell."""


class Pods:
    """The pods of a model's versions. `services` maps a version to the Service that has its pods."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        services: Mapping[str, str],
        counters: Mapping[str, Counter],
        schemes: Mapping[str, str],
        *,
        monotonic: Callable[[], float],
    ) -> None:
        """`schemes` has http or https for each version."""
        self._cluster, self._namespace, self._services = cluster, namespace, dict(services)
        self._counters, self._schemes, self._monotonic = counters, schemes, monotonic
        self._weights: Mapping[str, float] | None = None
        self._since = self._read_at = float("-inf")
        self._counted = PodsCounted()
        self._last: dict[tuple[str, str], int] = {}
        """The last count of each version's pod, by its address."""
        self._sums = dict.fromkeys(services, 0)

    async def endpoints(self, service: str) -> Endpoints:
        """Return the endpoints of a Service. Raises as Cluster.listed does."""
        query = {"labelSelector": f"{_SERVICE}={service}"}
        found = await self._cluster.listed(endpoint_slices(self._namespace), query)
        return endpoints_in(listed_at(found, "items"))

    async def of(self, version: str) -> Endpoints:
        """Return the endpoints of a version's Service. Raises as Cluster.listed does."""
        return await self.endpoints(self._services[version])

    async def counted(self, weights: Mapping[str, float]) -> PodsCounted:
        """Return the requests that the pods have counted, while `weights` are new or split. Nothing is raised."""
        now = self._monotonic()
        if weights != self._weights:
            # What was asked before the change must not count for it, so the pods are read at once.
            self._weights, self._since, self._read_at = dict(weights), now, float("-inf")
        if len(weights) < 2 and now - self._since > COUNT_S:
            return PodsCounted()
        if now - self._read_at >= AGAIN_S:
            self._read_at = now
            self._counted = await self._read()
        return self._counted

    async def _read(self) -> PodsCounted:
        versions = list(self._services)
        found = dict(zip(versions, await asyncio.gather(*map(self._version, versions)), strict=True))
        if all(counted is None for counted in found.values()):
            return PodsCounted()
        for version, counted in found.items():
            for place, one in (counted or {}).items():
                self._add(version, place, one.requests)
        told = [one.open for counted in found.values() for one in (counted or {}).values()]
        opened = {v: sum(one.open or 0 for one in (counted or {}).values()) for v, counted in found.items()}
        return PodsCounted(dict(self._sums), opened if None not in told else None)

    def _add(self, version: str, place: str, requests: int) -> None:
        """Add what a pod has counted since its last reading. A pod that is new begins with this reading."""
        before = self._last.get((version, place), requests)
        self._sums[version] += requests - before if requests >= before else requests  # less: its engine started anew
        self._last[version, place] = requests

    async def _version(self, version: str) -> dict[str, Counted] | None:
        """Return what each pod of a version has counted, by its address. None: no pod could be read."""
        try:
            ready = sorted((await self.of(version)).ready)[:MOST_PODS]
        except ControlPlaneError:
            return None
        bases = [f"{self._schemes[version]}://{place}" for place in ready]
        found = await asyncio.gather(*(self._counters[version].read(base, READ_S) for base in bases))
        counted = {place: one for place, one in zip(ready, found, strict=True) if one is not None}
        return counted or None


def endpoints_in(slices: list[Json]) -> Endpoints:
    """Return the endpoints in EndpointSlices. An endpoint without conditions counts as ready, as the API defines."""
    ready, unready = set[str](), set[str]()
    for one in slices:
        ports = listed_at(one, "ports")
        port = next((p.get("port") for p in ports if isinstance(p.get("port"), int)), None)
        if port is None:
            continue
        for endpoint in listed_at(one, "endpoints"):
            addresses = endpoint.get("addresses")
            conditions = endpoint.get("conditions")
            is_ready = not isinstance(conditions, dict) or conditions.get("ready") is not False
            for address in addresses if isinstance(addresses, list) else ():
                place = f"[{address}]:{port}" if text_at(one, "addressType") == "IPv6" else f"{address}:{port}"
                (ready if is_ready else unready).add(place)
    return Endpoints(frozenset(ready), frozenset(unready - ready))
