"""Follows the monitors of a cluster: watches of their kinds, of the namespaces where asked for, and named Secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from collectors.discovery.asking import Follower, Hears
from collectors.discovery.monitors.operator_sd import OperatorSd
from collectors.discovery.polling import Means
from collectors.errors import DiscoveryError
from controlplane.discovery.kubernetes.collection import Collection
from controlplane.discovery.kubernetes.reaching import joined_faults, reached
from controlplane.discovery.kubernetes.resources import monitors_of, namespaces, secret
from controlplane.discovery.monitors.listing import NAMESPACES, SECRETS
from controlplane.discovery.monitors.monitor import Kind, Monitor
from controlplane.discovery.monitors.secrets import secrets_named, unread
from controlplane.errors import ControlPlaneError
from controlplane.traffic.kubernetes.account import IN_POD
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.resource import Json, Resource

PAUSE_S = 1.0
"""Least seconds between two answers. Chosen: a deployment of monitors changes many of them in each second."""
SECRETS_S = 30.0
"""Seconds after which Secrets are read again. Chosen: kubelets show a changed one after about a minute."""

_Found = dict[str, tuple[Json, ...]]


def operator_follower(sd: OperatorSd, means: Means, in_pod: Path = IN_POD) -> Follower:
    """Return what watches a cluster's monitors. `in_pod` is the folder of the pod's own account."""

    async def follow(heard: Hears) -> None:
        async with reached(sd.at, sd.place, heard, means, in_pod) as (cluster, spaces):
            await _Watched(sd, spaces, cluster, means).run(heard)

    return follow


class _Watched:
    """The collections of a source, and the Secrets that its monitors name."""

    def __init__(self, sd: OperatorSd, spaces: Sequence[str], cluster: Cluster, means: Means) -> None:
        self._sd, self._cluster, self._means = sd, cluster, means
        self._changed = asyncio.Event()
        self._of_kinds: Mapping[str, list[Collection]] = {
            plural: [
                Collection(cluster, resource, {}, self._changed.set, sleep=means.sleep)
                for resource in _resources(plural, spaces)
            ]
            for plural in sd.kinds
        }
        self._collections = list(chain.from_iterable(self._of_kinds.values()))
        self._found: _Found | None = None
        self._answers = 0

    async def run(self, heard: Hears) -> None:
        """Watch, and tell the objects after changes, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for collection in self._collections:
                tasks.create_task(collection.run())
            has_secrets = False
            while True:
                await self._wait(SECRETS_S if has_secrets else None)
                if all(collection.version or collection.fault for collection in self._collections):
                    has_secrets = await self._tell(heard)
                    await self._means.sleep(PAUSE_S)

    async def _wait(self, limit_s: float | None) -> None:
        """Wait for a change, or for so many seconds."""
        try:
            async with asyncio.timeout(limit_s):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    async def _tell(self, heard: Hears) -> bool:
        """Tell what is known. Return whether some of it are Secrets."""
        found: _Found = {
            plural: tuple(chain.from_iterable(collection.snapshot().values() for collection in those))
            for plural, those in self._of_kinds.items()
            if any(collection.version for collection in those)
        }
        if secrets := await self._secrets(found):
            found[SECRETS] = secrets
        faults = list(dict.fromkeys(collection.fault for collection in self._collections if collection.fault))
        is_news = found != self._found
        if is_news:
            self._found, self._answers = found, self._answers + 1
        if found and (is_news or not faults):
            heard.took((), self._answers, found)
        if faults:
            heard.failed(DiscoveryError(f"{self._sd.place}: {joined_faults(faults)}"))
        return bool(secrets)

    async def _secrets(self, found: _Found) -> tuple[Json, ...]:
        names = await self._means.in_thread(_named, found)
        return tuple([await self._secret(*name.split("/")) for name in names])

    async def _secret(self, namespace: str, name: str) -> Json:
        try:
            found = await self._cluster.get(secret(namespace, name))
            return {"metadata": {"namespace": namespace, "name": name}, "data": found.get("data")}
        except ControlPlaneError as error:
            return unread(namespace, name, str(error))


def _named(found: _Found) -> list[str]:
    """Return the `namespace/name` of the Secrets that monitors need."""
    monitors = (Monitor(kind, each) for kind in Kind for each in found.get(kind.value.plural, ()))
    return sorted(frozenset().union(*map(secrets_named, monitors)))


def _resources(plural: str, spaces: Sequence[str]) -> Iterator[Resource]:
    """Yield the collections of a kind."""
    if plural == NAMESPACES:
        yield namespaces()
        return
    kind = next(kind for kind in Kind if kind.value.plural == plural)
    for space in spaces:
        yield monitors_of(plural, f"{kind.value.title}s", space, f"write {kind.value.field}_selector: null")
