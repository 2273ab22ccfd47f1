"""The objects, their resourceVersions, and the events of every write."""

import asyncio
import copy
import secrets
import string
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.fakes.kubernetes.kinds import Kind

Json = dict[str, Any]


class Key(NamedTuple):
    """Where an object is. The namespace of a cluster-wide object is ""."""

    group: str
    plural: str
    namespace: str
    name: str


class Event(NamedTuple):
    """One write. `before` is the object that it replaced, or None."""

    version: int
    type: str
    key: Key
    object: Json
    before: Json | None


class Given:
    """What the server makes up: uids, addresses, suffixes of names and the time. A test may replace each part."""

    def __init__(self) -> None:
        self.uid: Callable[[], str] = lambda: str(uuid.uuid4())
        self.cluster_ip: Callable[[], str] = lambda: f"10.96.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
        self.suffix: Callable[[], str] = lambda: "".join(
            secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5)
        )
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def now(self) -> str:
        """Return the time as a metav1.Time, in whole seconds."""
        return self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Objects by key. Each write takes the next resourceVersion and is kept as an event for watches.

    `oldest` is the oldest resourceVersion that a watch or a list may name: expire() moves it.
    """

    def __init__(self) -> None:
        self.version = 1000
        self.oldest = 0
        self.objects: dict[Key, Json] = {}
        self.events: list[Event] = []
        self._base: dict[Key, Json] = {}
        self.pulse = asyncio.Event()
        """Set by the next write, which puts a new one in its place."""

    def get(self, key: Key) -> Json | None:
        """Return a copy of the object, or None."""
        found = self.objects.get(key)
        return copy.deepcopy(found) if found is not None else None

    def put(self, key: Key, found: Json) -> Json:
        """Write the object under the next resourceVersion and return a copy of it."""
        before = self.objects.get(key)
        kept = copy.deepcopy(found)
        self.version += 1
        kept["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = kept
        self._tell(Event(self.version, "MODIFIED" if before else "ADDED", key, kept, before))
        return copy.deepcopy(kept)

    def remove(self, key: Key) -> Json:
        """Delete the object and return its last state, under the resourceVersion of the deletion."""
        before = self.objects.pop(key)
        last = copy.deepcopy(before)
        self.version += 1
        last["metadata"]["resourceVersion"] = str(self.version)
        self._tell(Event(self.version, "DELETED", key, last, before))
        return copy.deepcopy(last)

    def select(self, kind: Kind, namespace: str, version: int | None = None) -> list[tuple[Key, Json]]:
        """Return copies of the objects of a kind in the order of their keys. An empty namespace is all namespaces."""
        return [(key, copy.deepcopy(found)) for key, found in self.held(kind, namespace, version)]

    def held(self, kind: Kind, namespace: str, version: int | None = None) -> list[tuple[Key, Json]]:
        """Return the objects themselves, which must not be changed, as `select` returns copies of them."""
        held = self.objects if version is None else self._at(version)
        return [
            (key, held[key])
            for key in sorted(held)
            if key[:2] == (kind.group, kind.plural) and (not namespace or key.namespace == namespace)
        ]

    def expire(self) -> None:
        """Forget all events: a watch or a list from before now is too old, and so is every open watch."""
        self.version += 1
        self.oldest = self.version
        self._base = dict(self.objects)
        self.events = []
        self._beat()

    def _at(self, version: int) -> dict[Key, Json]:
        held = dict(self._base)
        for event in self.events:
            if event.version > version:
                break
            if event.type == "DELETED":
                held.pop(event.key, None)
            else:
                held[event.key] = event.object
        return held

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self._beat()

    def _beat(self) -> None:
        pulse, self.pulse = self.pulse, asyncio.Event()
        pulse.set()
