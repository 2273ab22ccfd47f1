"""The addresses of a cluster's objects, each made anew only where an object that it was made of has changed.

An object is never changed in place, so an object that is the same one has the same addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from collectors.discovery.entries import Entry
from collectors.discovery.kubernetes_roles import Role
from controlplane.discovery.kubernetes.pods import pod_entries
from controlplane.discovery.kubernetes.roles import Objects, entries_of_object
from controlplane.traffic.kubernetes.resource import Json

_Used = dict[tuple[Role, str], Json | None]
"""The objects that were looked up for another one's addresses, by kind and key. None: it was not there."""


class _Made(NamedTuple):
    """The addresses of an object."""

    of: Json
    used: _Used
    entries: tuple[Entry, ...]

    def is_of(self, found: Json, objects: Mapping[Role, Objects]) -> bool:
        """Return whether these are the addresses of this object beside those objects."""
        return self.of is found and all(objects[kind].get(key) is one for (kind, key), one in self.used.items())


class Remembered:
    """The addresses of a role's objects. Call it in one thread at a time."""

    def __init__(self, role: Role, *, with_waiting: bool = False) -> None:
        """Remember nothing yet. `with_waiting` adds an empty address for pods without an IP."""
        self._role, self._with_waiting = role, with_waiting
        self._made: dict[str, _Made] = {}
        self._last: tuple[Entry, ...] | None = None

    def entries_of(self, snapshot: Iterable[Mapping[Role, Objects]]) -> tuple[Entry, ...]:
        """Return the addresses of objects of several namespaces: the last ones themselves where none has changed."""
        made: dict[str, _Made] = {}
        for objects in snapshot:
            for key, found in objects[self._role].items():
                last = self._made.get(key)
                made[key] = last if last and last.is_of(found, objects) else self._anew(found, objects)
        self._made = made
        entries = tuple(entry for each in made.values() for entry in each.entries)
        if entries != self._last:
            self._last = entries
        return self._last

    def _anew(self, found: Json, objects: Mapping[Role, Objects]) -> _Made:
        used: _Used = {}
        noted = {kind: _Noted(kind, those, used) for kind, those in objects.items()}
        entries = tuple(e for e in entries_of_object(self._role, found, noted) if e.addresses[0])
        if self._with_waiting and not entries:
            entries = tuple(pod_entries(found, noted.get(Role.NODE, {}), waiting=True))
        return _Made(found, used, entries)


class _Noted(Mapping[str, Json]):
    """Objects of one kind that note which of them are looked up."""

    def __init__(self, kind: Role, objects: Objects, used: _Used) -> None:
        self._kind, self._objects, self._used = kind, objects, used

    def __getitem__(self, key: str) -> Json:
        self._used[self._kind, key] = self._objects.get(key)
        return self._objects[key]

    def __iter__(self) -> Iterator[str]:
        raise TypeError(f"all {self._kind} objects cannot be noted")

    def __len__(self) -> int:
        return len(self._objects)
