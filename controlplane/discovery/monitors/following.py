"""Follows the monitors of a cluster: watches of their kinds, of the namespaces where asked for, and what they name."""

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
from controlplane.discovery.kubernetes.resources import monitors_of, named_object, namespaces
from controlplane.discovery.monitors.listing import NAMESPACES
from controlplane.discovery.monitors.monitor import Kind, Monitor
from controlplane.discovery.monitors.secrets import FAULT, Named, objects_named, unread, values_of
from controlplane.errors import ControlPlaneError, Unavailable
from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.kubernetes.account import IN_POD
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.resource import Json, Resource

PAUSE_S = 1.0
"""Least seconds between two answers. Chosen: a deployment of monitors changes many of them in each second."""
AT_ONCE = 4
"""Number of Secrets and ConfigMaps read at the same time. Chosen: a server that hangs must not delay each of them."""
READ_S = 10.0
"""Seconds after which no more of them are asked for. Chosen: news of monitors waits for them."""
SECRETS_S = 30.0
"""Seconds until Secrets and ConfigMaps are read again. Chosen: kubelets show a changed one after about a minute."""

_Found = dict[str, tuple[Json, ...]]


def operator_follower(sd: OperatorSd, means: Means, in_pod: Path = IN_POD) -> Follower:
    """Return what watches a cluster's monitors. `in_pod` is the folder of the pod's own account."""

    async def follow(heard: Hears) -> None:
        async with reached(sd.at, sd.place, heard, means, in_pod) as (cluster, spaces):
            await _Watched(sd, spaces, cluster, means).run(heard)

    return follow


class _Watched:
    """The collections of a source, and the Secrets and ConfigMaps that its monitors name."""

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
        self._values: dict[Named, Json] = {}
        """The last good content of each Secret and ConfigMap."""

    async def run(self, heard: Hears) -> None:
        """Watch, and tell the objects after changes, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for collection in self._collections:
                tasks.create_task(collection.run())
            has_values = False
            while True:
                await self._wait(SECRETS_S if has_values else None)
                if all(collection.version or collection.fault for collection in self._collections):
                    has_values = await self._tell(heard)
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
        """Tell what is known. Return whether some of it are Secrets or ConfigMaps."""
        found: _Found = {
            plural: tuple(chain.from_iterable(collection.snapshot().values() for collection in those))
            for plural, those in self._of_kinds.items()
            if any(collection.version for collection in those)
        }
        values, value_faults = await self._read_values(found)
        found |= values
        of_kinds = [collection.fault for collection in self._collections if collection.fault]
        faults = list(dict.fromkeys([*of_kinds, *value_faults]))
        is_news = found != self._found
        if is_news:
            self._found, self._answers = found, self._answers + 1
        if found and (is_news or not faults):
            heard.took((), self._answers, found)
        if faults:
            heard.failed(DiscoveryError(f"{self._sd.place}: {joined_faults(faults)}"))
        return bool(values)

    async def _read_values(self, found: _Found) -> tuple[_Found, list[str]]:
        """Return the Secrets and ConfigMaps that monitors need, and why some of them may not be up to date."""
        named = await self._means.in_thread(_named, found)
        places, until = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop().time() + READ_S
        faults: list[str] = []

        async def one(each: Named, keys: set[str]) -> Json:
            async with places:
                return await self._value(each, keys, faults, until)

        read = await asyncio.gather(*(one(each, keys) for each, keys in named.items()))
        answered = dict(zip(named, read, strict=True))
        self._values = {each: value for each, value in answered.items() if FAULT not in value}
        values = {
            kind: tuple(answered[each] for each in sorted(answered) if each.kind == kind)
            for kind in sorted({each.kind for each in answered})
        }
        return values, sorted(faults)

    async def _value(self, named: Named, keys: set[str], faults: list[str], until: float) -> Json:
        try:
            if asyncio.get_running_loop().time() > until:
                raise Unavailable(f"the API server did not answer for all {named.title}s within {READ_S:g} s")
            found = await self._cluster.get(named_object(named.kind, named.title, named.namespace, named.name))
        except EngineRefused as error:  # it is not there, or may not be read
            return unread(named, str(error))
        except ControlPlaneError as error:
            if (last := self._values.get(named)) is None:
                return unread(named, str(error))
            faults.append(str(error))
            return last
        return values_of(named, found, keys)


def _named(found: _Found) -> Mapping[Named, set[str]]:
    """Return the Secrets and ConfigMaps that monitors need, with their keys."""
    return objects_named(Monitor(kind, each) for kind in Kind for each in found.get(kind.value.plural, ()))


def _resources(plural: str, spaces: Sequence[str]) -> Iterator[Resource]:
    """Yield the collections of a kind."""
    if plural == NAMESPACES:
        yield namespaces()
        return
    kind = next(kind for kind in Kind if kind.value.plural == plural)
    for space in spaces:
        cure = f"write {kind.value.field}_selector: null"
        yield monitors_of(plural, f"{kind.value.title}s", space, cure, kind.value.version)
