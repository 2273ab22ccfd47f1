"""A cluster of Kubernetes as a proxy of versions: an object that splits requests, read by a watch and written whole.

docs/adr/0020-kubernetes.md says why: every write is a merge patch under the resourceVersion from which it was made, so
no other writer's change is lost, and a status is never believed to be traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from collectors.catalogue.model import load_catalogue
from controlplane.config.auth import auth_of
from controlplane.config.models import ModelSection
from controlplane.config.traffic.kubernetes import KubernetesTraffic
from controlplane.errors import ControlPlaneError, Unavailable
from controlplane.traffic.driver import Capabilities, EngineRefused
from controlplane.traffic.engines.counters import Counter
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.pods import Pods
from controlplane.traffic.kubernetes.refusals import Changed, Missing
from controlplane.traffic.kubernetes.resource import Json, Resource
from controlplane.traffic.kubernetes.selector import WHOLE_ONLY, SelectorSplit
from controlplane.traffic.kubernetes.splits import split_of
from controlplane.traffic.kubernetes.splitting import States, Unfit
from controlplane.traffic.kubernetes.watching import WatchedObject
from controlplane.traffic.proxies.routing import Check, InstanceSeen
from controlplane.traffic.proxies.shares import near

NAME = "kubernetes"
TRIES = 5
"""Attempts at a write while others change the object. Chosen: controllers write a status once after each change."""


class Kubernetes:
    """The objects of a model in one cluster."""

    name = NAME

    def __init__(self, section: ModelSection, *, timeout_s: float = 5.0) -> None:
        """`timeout_s` is the deadline of one call of the API server."""
        traffic = section.traffic
        assert isinstance(traffic, KubernetesTraffic)  # the registry chooses by it
        self._versions = tuple(section.versions)
        self._services = {v: traffic.services.get(v, f"{section.name}-{v}") for v in section.versions}
        self._split = split_of(traffic, self._services)
        notes = () if self._split.weights else (WHOLE_ONLY,)
        self.capabilities = Capabilities(weights=self._split.weights, prewarm=True, notes=notes)
        self._cluster = Cluster(traffic.kubeconfig, traffic.context, timeout_s=timeout_s)
        self._watched = {one: WatchedObject(self._cluster, one) for one in self._split.resources}
        self._place = f"{traffic.namespace}/{self._split.resources[0].name}"
        self._pods = Pods(
            self._cluster,
            traffic.namespace,
            self._services,
            _counters(section),
            {name: urlsplit(version.backends[0].url).scheme for name, version in section.versions.items()},
            monotonic=lambda: asyncio.get_running_loop().time(),
        )

    async def look(self) -> Sequence[InstanceSeen]:
        """Return the shares that the objects order, and what the versions' pods have counted."""
        try:
            states = await self._states()
            weights, pending = self._split.shares(states), self._split.pending(states)
            pending = pending or await self._behind(weights)
        except (Unfit, ControlPlaneError) as error:
            return (InstanceSeen(self._place, None, str(error)),)
        counted = await self._pods.counted(weights)
        return (InstanceSeen(self._place, weights, "", pending, counted.totals, counted.open, NAME),)

    async def check(self, version: str) -> Check:
        """Check the objects, the rights of the account, and that the pods of both sides are ready."""
        try:
            states = await self._states(now=True)
            found = self._split.setup(states)
            dry = await self._dry_run(states)
            await asyncio.gather(*(one.settle() for one in self._watched.values()))
        except (Unfit, ControlPlaneError) as error:
            return Check((str(error),))
        reasons, known = [*found.reasons, *dry], list(found.known)
        for name in self._versions:
            fault = await self._endpoint_fault(name)
            if fault and name == version:
                reasons.append(fault)
            elif fault:
                known.append(fault)
        known += [f"{one.fault}; it is read at each look instead" for one in self._watched.values() if one.fault]
        return Check(tuple(reasons), (), tuple(known), found.whole_only, found.least_share)

    async def apply(self, weights: Mapping[str, float]) -> None:
        """Write the weights and read them back. Raises EngineRefused, NotSent and Unavailable."""
        if missing := [version for version in weights if version not in self._versions]:
            raise EngineRefused(f"{missing[0]} is no version in fleet.yaml")
        for writes_left in reversed(range(TRIES + 1)):
            states = await self._states(now=True)
            try:
                patches = self._split.changes(states, weights)
                if not patches:
                    return self._require(states, weights)
                if not writes_left:
                    break
                for resource, patch in patches:
                    self._watched[resource].seen(await self._cluster.patch(resource, patch))
            except Changed:
                continue  # read what the other writer left, and write the weights into that
            except Unfit as error:
                raise EngineRefused(str(error)) from error
        raise Unavailable(f"{self._place} was changed by other writers {TRIES} times in a row; the order is repeated")

    async def persist(self, weights: Mapping[str, float]) -> Sequence[str]:
        """Return what keeps the weights: the cluster's own store. Raises EngineRefused where it has others."""
        states = await self._states(now=True)
        try:
            shares = self._split.shares(states)
        except Unfit as error:
            raise EngineRefused(str(error)) from error
        if not near(shares, weights):
            raise EngineRefused(f"{self._place} has other weights than ordered; does another program set them back?")
        return [f"the cluster keeps these weights in {resource}" for resource in self._split.resources]

    def _require(self, states: States, weights: Mapping[str, float]) -> None:
        """Raise EngineRefused when the objects have other shares, although nothing is left to write."""
        if not near(self._split.shares(states), weights):
            reasons = "; ".join(self._split.setup(states).reasons) or "another version or backend has a share of them"
            raise EngineRefused(f"{self._place} cannot split the requests as ordered: {reasons}")

    async def close(self) -> None:
        """End the watches and close connections."""
        await asyncio.gather(*(one.close() for one in self._watched.values()))
        await self._cluster.close()

    async def _states(self, *, now: bool = False) -> States:
        """Return the state of every object. `now`: as the server has it, not as the watch has shown it.

        An object of a group that is missing has none: the others must still take orders. Raises as Cluster.get does.
        """
        reads = (one.read_now() if now else one.read() for one in self._watched.values())
        found = await asyncio.gather(*reads, return_exceptions=True)
        states: dict[Resource, Json] = {}
        for resource, state in zip(self._watched, found, strict=True):
            if isinstance(state, Missing) and len(self._watched) > 1:
                continue
            if isinstance(state, BaseException):
                raise state
            states[resource] = state
        return states

    async def _dry_run(self, states: States) -> list[str]:
        """Return why the objects could not be written: each gets a patch without changes, as a dry run."""
        faults: list[str] = []
        for resource in states:
            try:
                await self._cluster.patch(resource, {"metadata": {}}, dry_run=True)
            except EngineRefused as error:
                faults.append(str(error))
            except Changed:
                continue  # the account may write it: another writer was quicker
        return faults

    async def _endpoint_fault(self, version: str) -> str:
        """Return why the pods of a version cannot take requests, or why that is not known; "" when they can."""
        name = self._services[version]
        try:
            found = await self._pods.of(version)
        except ControlPlaneError as error:
            return f"whether Service {name} has ready pods is not known: {error}"
        if found.ready:
            return ""
        many = f"{len(found.unready)} pods, and none is ready" if found.unready else "no pods"
        return f"Service {name} of {version} has {many}; name the Service with the version's pods under services:"

    async def _behind(self, weights: Mapping[str, float]) -> str:
        """Return why the endpoints of a selected Service do not follow its selector yet; "" when they do."""
        if not isinstance(self._split, SelectorSplit) or len(weights) != 1:
            return ""
        (version,) = weights
        selected = self._split.resources[0]
        names = list(self._services)
        sent, *found = await asyncio.gather(self._pods.endpoints(selected.name), *map(self._pods.of, names))
        if not sent.ready:
            return f"{selected} has no ready endpoints"
        hosts = {
            name: {_host(place) for place in (*one.ready, *one.unready)} for name, one in zip(names, found, strict=True)
        }
        mine = hosts.pop(version)
        # Without a Service for the version, only the pods of others are known to be none of its own.
        others = set[str]().union(*hosts.values()) - mine
        strange = [
            place for place in sorted(sent.ready) if _host(place) not in mine and (mine or _host(place) in others)
        ]
        return f"{selected} still sends requests to {strange[0]}, which is no pod of {version}" if strange else ""


def _host(place: str) -> str:
    return place.rpartition(":")[0]


def _counters(section: ModelSection) -> dict[str, Counter]:
    catalogue = load_catalogue()
    found: dict[str, Counter] = {}
    for name, version in section.versions.items():
        backend = version.backends[0]
        assert backend.engine is not None  # the configuration requires its name
        found[name] = Counter(catalogue, backend.engine, section.served_model(name), name, auth_of(backend))
    return found
