"""All objects of one kind in a namespace or a cluster, as lists and a watch show them.

The last good objects stay while the API server is away. A watch that is lost goes on where it ended; a server that has
forgotten that place is asked for a new list.
"""

from __future__ import annotations

import asyncio
import marshal
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from controlplane.discovery.kubernetes.kept import kept
from controlplane.discovery.kubernetes.labels import key_of
from controlplane.errors import ControlPlaneError, Unavailable
from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.refusals import Gone, event_error
from controlplane.traffic.kubernetes.resource import Json, Resource, listed_at, text_at, value_at, version_of

PAGE = 250
"""Objects in a page of a list. Chosen: pods of 20 KiB fit into the client's largest answer."""
MAX_OBJECTS = 50_000
"""Maximum number of objects. Chosen: ten times the pods of a large cluster of GPUs, and 500 MiB with their targets."""
MAX_BYTES = 128 * 2**20
"""Largest size of the kept parts of all objects. Chosen: 50,000 pods have about 2.5 KiB each."""
MAX_PAGES = 2 * MAX_OBJECTS // PAGE
"""Largest number of pages of a list. Chosen: a server may make pages shorter than asked for, but not endlessly."""
WATCH_S, SILENCE_S = 300, 330.0
"""Seconds that the server keeps a watch open, and after which a silent connection counts as lost."""
PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the next attempt after so many failures in a row."""
LASTS_S = 5.0
"""Seconds after which a watch that ends is no failure: a server in trouble ends every one at once."""


class Collection:
    """Objects by `namespace/name`. `run` keeps them up to date; `snapshot` may be called by any thread."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        query: Mapping[str, str],
        changed: Callable[[], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        spread: Callable[[], float] = lambda: random.uniform(0.5, 1.5),  # noqa: S311 - no secret
    ) -> None:
        """`query` has the selectors. `changed` is called after each change of objects or of the fault."""
        self._cluster, self._resource, self._query, self._changed = cluster, resource, dict(query), changed
        self._sleep, self._spread = sleep, spread
        self._objects: dict[str, Json] = {}
        self._sizes: dict[str, int] = {}
        """Bytes of each object."""
        self._bytes = 0
        self._at = ""
        """resourceVersion from which the next watch begins; "" begins with a list."""
        self._opened_at = float("inf")
        self.version = 0
        """Number of changes; 0 until the first list is complete."""
        self.fault = ""
        """Why the objects may not be up to date; "" when they are."""

    def snapshot(self) -> Mapping[str, Json]:
        """Return the objects now. They are never changed in place."""
        return dict(self._objects)

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures, now = 0, asyncio.get_running_loop().time
        while True:
            self._opened_at, fault = float("inf"), ""
            try:
                await self._follow()
            except Gone:
                self._at = ""
            except EngineRefused as error:
                self._at, fault = "", str(error)  # where only the watch is refused, lists keep the objects fresh
            except ControlPlaneError as error:
                # One call that fails is no news where a list is known.
                is_news = failures or not self.version or not isinstance(error, Unavailable)
                fault = str(error) if is_news else ""
            failures = 0 if now() - self._opened_at >= LASTS_S else failures + 1
            if fault:
                self._tell(fault)
            await self._sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)] * self._spread())

    def _tell(self, fault: str) -> None:
        if fault != self.fault:
            self.fault = fault
            self._changed()

    async def _follow(self) -> None:
        """List where needed, then watch until the server ends the watch. Raises what the calls raise."""
        if not self._at:
            self._objects, self._sizes, self._at = await self._listed()
            self._bytes = sum(self._sizes.values())
            self._note()
        query = {**self._query, "resourceVersion": self._at, "timeoutSeconds": str(WATCH_S)}
        query["allowWatchBookmarks"] = "true"
        async with self._cluster.watch(self._resource, query, SILENCE_S) as lines:
            self._opened_at = asyncio.get_running_loop().time()
            self._tell("")
            await self._events(lines)

    async def _listed(self) -> tuple[dict[str, Json], dict[str, int], str]:
        """Return all objects page by page, their sizes in bytes, and the resourceVersion of the list."""
        found: dict[str, Json] = {}
        sizes: dict[str, int] = {}
        total = 0
        query = {**self._query, "limit": str(PAGE)}
        for _ in range(MAX_PAGES):
            page = await self._cluster.listed(self._resource, query)
            for one in self._items(page):
                key = key_of(one)
                found[key] = self._known(key, self._kept(one))
                size = self._size(key, found[key])
                total, sizes[key] = total + size - sizes.get(key, 0), size
            self._check_bound(len(found), total)
            rest = text_at(page, "metadata", "continue")
            if not rest:
                return found, sizes, version_of(page)
            query["continue"] = rest
        raise EngineRefused(f"{self._resource}: the API server sent {MAX_PAGES} pages of a list without an end")

    def _items(self, page: Json) -> list[Json]:
        """Return the objects of a page. Raises Unavailable for an answer that is no list: it is no empty one."""
        items = page.get("items")
        if not text_at(page, "kind").endswith("List") or not (items is None or isinstance(items, list)):
            raise Unavailable(f"the API server answered list of {self._resource} with something that is no list")
        return listed_at(page, "items")

    def _kept(self, found: Json) -> Json:
        """Return what is kept of an object. Raises Unavailable for one without a name."""
        if not text_at(found, "metadata", "name"):
            raise Unavailable(f"the API server sent an object of {self._resource} without a name")
        return kept(found)

    def _size(self, key: str, found: Json) -> int:
        """Return the bytes of a kept object. Those of an object that is known already are not counted anew."""
        if found is self._objects.get(key) and key in self._sizes:
            return self._sizes[key]
        try:
            return len(marshal.dumps(found))  # a fiftieth of the time that JSON takes, and of about its size
        except (ValueError, RecursionError) as error:
            raise Unavailable(f"the API server sent an object of {self._resource} that is nested too deeply") from error

    def _known(self, key: str, found: Json) -> Json:
        """Return the object that is known already where it is equal: the addresses of the same object stay."""
        last = self._objects.get(key)
        try:
            return last if last is not None and last == found else found
        except RecursionError:
            return found

    async def _events(self, lines: AsyncIterator[Json]) -> None:
        async for line in lines:
            kind, found = text_at(line, "type"), value_at(line, "object")
            if not isinstance(found, dict):
                raise Unavailable(f"the API server sent an event of {self._resource} without an object")
            if kind == "ERROR":
                raise event_error(found, self._resource)
            if kind not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK") or _is_known(version_of(found), self._at):
                continue
            if kind == "BOOKMARK":
                self._at = version_of(found)
                continue
            self._change(kind, found)
            self._at = version_of(found)
            self._note()

    def _change(self, kind: str, found: Json) -> None:
        """Take an event. Raises what the bounds raise; the objects are then as before."""
        key, now = key_of(found), None if kind == "DELETED" else self._kept(found)
        size = 0 if now is None else self._size(key, now)
        total = self._bytes - self._sizes.get(key, 0) + size
        self._check_bound(len(self._objects) + (now is not None and key not in self._objects), total)
        if now is None:
            self._objects.pop(key, None)
            self._sizes.pop(key, None)
        else:
            self._objects[key], self._sizes[key] = now, size
        self._bytes = total

    def _note(self) -> None:
        self.version += 1
        self._changed()

    def _check_bound(self, count: int, size: int) -> None:
        if count > MAX_OBJECTS:
            raise EngineRefused(
                f"{self._resource}: more than {MAX_OBJECTS} objects; choose fewer by namespaces: or selectors:"
            )
        if size > MAX_BYTES:
            raise EngineRefused(
                f"{self._resource}: objects of more than {MAX_BYTES} bytes; choose fewer by namespaces: or selectors:"
            )


def _is_known(version: str, at: str) -> bool:
    """Return whether an event is one that was already seen: a watch tells changes in the order of their versions."""
    return version.isdecimal() and at.isdecimal() and int(version) <= int(at)
