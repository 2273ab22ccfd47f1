"""Follows the addresses of a kubernetes_sd: a watch of every kind of objects that its role needs, in each namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from collectors.discovery.asking import Follower, Hears
from collectors.discovery.entries import Entry
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.polling import Means
from collectors.errors import DiscoveryError
from controlplane.discovery.kubernetes.collection import Collection
from controlplane.discovery.kubernetes.reaching import joined_faults, reached
from controlplane.discovery.kubernetes.remembered import Remembered
from controlplane.discovery.kubernetes.resources import collection_of
from controlplane.discovery.kubernetes.roles import Objects, needed
from controlplane.traffic.kubernetes.account import IN_POD
from controlplane.traffic.kubernetes.cluster import Cluster

PAUSE_S = 1.0
"""Least seconds between two lists of addresses. Chosen: a rollout changes many pods in each second."""
SHARE = 3.0
"""Least pause as a multiple of the time that a list took. Chosen: a huge cluster takes at most a quarter of a core."""

_Snapshot = list[dict[Role, Objects]]
"""The objects of each namespace whose lists are complete."""


def kubernetes_follower(sd: KubernetesSd, means: Means, in_pod: Path = IN_POD) -> Follower:
    """Return what watches a cluster. `in_pod` is the folder of the pod's own account."""

    async def follow(heard: Hears) -> None:
        async with reached(sd, sd.place, heard, means, in_pod) as (cluster, namespaces):
            await _Watched(sd, namespaces, cluster, means).run(heard)

    return follow


class _Watched:
    """The collections of a source."""

    def __init__(self, sd: KubernetesSd, namespaces: Sequence[str], cluster: Cluster, means: Means) -> None:
        self._sd, self._means = sd, means
        self._changed = asyncio.Event()
        kinds = needed(sd.role, with_nodes=sd.with_nodes)
        nodes = self._collection(cluster, Role.NODE, "") if Role.NODE in kinds else None
        self._of_namespaces: list[Mapping[Role, Collection]] = [
            {
                kind: nodes if kind is Role.NODE and nodes else self._collection(cluster, kind, namespace)
                for kind in kinds
            }
            for namespace in (("",) if sd.role is Role.NODE else namespaces)
        ]
        every = [collection for held in self._of_namespaces for collection in held.values()]
        self._collections = list(dict.fromkeys(every))
        self._remembered = Remembered(sd.role, with_waiting=sd.with_waiting)
        self._entries: tuple[Entry, ...] | None = None
        self._lists = 0

    def _collection(self, cluster: Cluster, kind: Role, namespace: str) -> Collection:
        selector = self._sd.selector(kind)
        query = {"labelSelector": selector.label, "fieldSelector": selector.field}
        chosen = {name: value for name, value in query.items() if value}
        return Collection(cluster, collection_of(kind, namespace), chosen, self._changed.set, sleep=self._means.sleep)

    async def run(self, heard: Hears) -> None:
        """Watch, and tell the addresses after changes, until cancelled."""
        now = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as tasks:
            for collection in self._collections:
                tasks.create_task(collection.run())
            while True:
                await self._changed.wait()
                self._changed.clear()
                if not all(collection.version or collection.fault for collection in self._collections):
                    continue
                began = now()
                await self._tell(heard)
                await self._means.sleep(max(PAUSE_S, SHARE * (now() - began)))

    async def _tell(self, heard: Hears) -> None:
        snapshot: _Snapshot = [
            {kind: collection.snapshot() for kind, collection in held.items()}
            for held in self._of_namespaces
            if all(collection.version for collection in held.values())  # as in Prometheus, which joins no half
        ]
        faults = list(dict.fromkeys(collection.fault for collection in self._collections if collection.fault))
        if snapshot:
            entries: tuple[Entry, ...] = await self._means.in_thread(self._remembered.entries_of, snapshot)
            is_news = entries is not self._entries
            if is_news:
                self._entries, self._lists = entries, self._lists + 1
            if is_news or not faults:
                heard.took(entries, self._lists)
        if faults:
            heard.failed(DiscoveryError(f"{self._sd.place}: {joined_faults(faults)}"))
