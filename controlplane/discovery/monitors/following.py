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
from controlplane.discovery.monitors.secrets import FAULT, secrets_named, unread
from controlplane.errors import ControlPlaneError
from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.kubernetes.account import IN_POD
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.resource import Json, Resource

PAUSE_S = 1.0
"""Least seconds between two answers. Chosen: a deployment of monitors changes many of them in each second."""
AT_ONCE = 4
"""Number of Secrets that are read at the same time. Chosen: a server that hangs must not delay each of them."""
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
        self._secrets: dict[str, Json] = {}
        """The last good content of each Secret, by namespace/name."""

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
        secrets, secret_faults = await self._read_secrets(found)
        if secrets:
            found[SECRETS] = secrets
        of_kinds = [collection.fault for collection in self._collections if collection.fault]
        faults = list(dict.fromkeys([*of_kinds, *secret_faults]))
        is_news = found != self._found
        if is_news:
            self._found, self._answers = found, self._answers + 1
        if found and (is_news or not faults):
            heard.took((), self._answers, found)
        if faults:
            heard.failed(DiscoveryError(f"{self._sd.place}: {joined_faults(faults)}"))
        return bool(secrets)

    async def _read_secrets(self, found: _Found) -> tuple[tuple[Json, ...], list[str]]:
        """Return the Secrets that monitors need, and why some of them may not be up to date."""
        names = await self._means.in_thread(_named, found)
        places = asyncio.Semaphore(AT_ONCE)
        faults: list[str] = []

        async def one(name: str) -> Json:
            async with places:
                return await self._secret(name, faults)

        read = await asyncio.gather(*map(one, names))
        self._secrets = {name: each for name, each in zip(names, read, strict=True) if FAULT not in each}
        return tuple(read), sorted(faults)

    async def _secret(self, name: str, faults: list[str]) -> Json:
        namespace, _, own = name.partition("/")
        try:
            found = await self._cluster.get(secret(namespace, own))
        except EngineRefused as error:  # it is not there, or may not be read
            return unread(namespace, own, str(error))
        except ControlPlaneError as error:
            if (last := self._secrets.get(name)) is None:
                return unread(namespace, own, str(error))
            faults.append(str(error))
            return last
        return {"metadata": {"namespace": namespace, "name": own}, "data": found.get("data")}


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
