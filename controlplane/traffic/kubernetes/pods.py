"""The pods of each version, by the EndpointSlices of its Service, and the requests that they have counted.

Weights are an order to gateways, and no gateway's API tells how many requests it sent where. The engines count theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

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
_HTTP = ("http", "api")
"""Names by which a Service with several ports tells its API."""
_SERVICE = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Endpoints:
    """The endpoints of a Service: host:port of each."""

    ready: frozenset[str] = frozenset()
    unready: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PodsCounted:
    """Requests that the pods of all versions have counted. Maps are by version."""

    totals: Mapping[str, int] | None = None
    """Requests since this process first read each pod. A pod that goes takes none away. None: no pod could be read."""
    open: Mapping[str, int] | None = None
    """Open requests at ready pods. None: a pod does not tell, or could not be read."""


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
        self._turn = asyncio.Lock()
        self._weights: Mapping[str, float] | None = None
        self._since = self._read_at = float("-inf")
        self._counted = PodsCounted()
        self._last: dict[tuple[str, str], int] = {}
        """The last count of each version's pod since the weights changed, by its address."""
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
        async with self._turn:  # another caller must not get what was counted before the change
            now = self._monotonic()
            if weights != self._weights:
                # What was asked before the change must not count for it: every pod begins with its next reading.
                self._weights, self._since, self._read_at = dict(weights), now, float("-inf")
                self._last.clear()
            if len(weights) < 2 and now - self._since > COUNT_S:
                return PodsCounted()
            if now - self._read_at >= AGAIN_S:
                self._counted = await self._read()
                self._read_at = now
            return self._counted

    async def _read(self) -> PodsCounted:
        versions = list(self._services)
        found = dict(zip(versions, await asyncio.gather(*map(self._version, versions)), strict=True))
        read = [(v, place, one) for v, pods in found.items() for place, one in pods.items() if one is not None]
        for version, place, counted in read:
            self._add(version, place, counted.requests)
        return PodsCounted(dict(self._sums), _opened(found)) if read else PodsCounted()

    def _add(self, version: str, place: str, requests: int) -> None:
        """Add what a pod has counted since its last reading. A pod that is new begins with this reading."""
        before = self._last.get((version, place), requests)
        self._sums[version] += requests - before if requests >= before else requests  # less: its engine started anew
        self._last[version, place] = requests

    async def _version(self, version: str) -> dict[str, Counted | None]:
        """Return what each ready pod of a version has counted, by its address. None: it was not read."""
        try:
            ready = sorted(_one_family((await self.of(version)).ready))
        except ControlPlaneError:
            return {self._services[version]: None}
        bases = [f"{self._schemes[version]}://{place}" for place in ready[:MOST_PODS]]
        found = await asyncio.gather(*(self._counters[version].read(base, READ_S) for base in bases))
        return dict(zip_longest(ready, found))


def _opened(found: Mapping[str, Mapping[str, Counted | None]]) -> dict[str, int] | None:
    """Return the open requests of each version, or None where a pod was not read or tells none."""
    total = dict.fromkeys(found, 0)
    for version, pods in found.items():
        for counted in pods.values():
            if counted is None or counted.open is None:
                return None
            total[version] += counted.open
    return total


def _one_family(places: Iterable[str]) -> list[str]:
    """Return the IPv4 endpoints, or the others where there are none: a pod of a dual-stack Service has one of each."""
    found = list(places)
    return [place for place in found if not place.startswith("[")] or found


def endpoints_in(slices: list[Json]) -> Endpoints:
    """Return the endpoints in EndpointSlices. An endpoint without conditions counts as ready, as the API defines."""
    ready, unready = set[str](), set[str]()
    for one in slices:
        ports = [port for port in listed_at(one, "ports") if isinstance(port.get("port"), int)]
        port = next((p["port"] for p in sorted(ports, key=lambda p: p.get("name") not in _HTTP)), None)
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
