"""One object of a cluster as a watch shows it.

A list gives the state, and a watch from its resourceVersion every change after it. A watch that hangs looks like one
where nothing happens: a state older than FRESH_S is read anew before it is believed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from controlplane.errors import ControlPlaneError, Unavailable
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.refusals import Gone, event_error
from controlplane.traffic.kubernetes.resource import Json, Resource, listed_at, text_at, value_at, version_of

FRESH_S = 10.0
"""Seconds for which a state is believed after the server last said something. Chosen: one read in ten seconds of an
object where nothing happens is a small load, and a rollout's step takes longer."""
WATCH_S, SILENCE_S = 300, 330.0
"""Seconds that the server keeps a watch open, and after which a silent connection counts as lost."""
FIRST_S = 5.0
"""Seconds that a reader waits for the first list."""
PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the next attempt after so many failures in a row. A watch that ends at once counts as a failure: a
server in trouble ends every one."""
LASTS_S = 5.0
"""Seconds after which a watch that ended by itself is no failure."""


class WatchedObject:
    """The latest state of one object. The watch begins with the first read, and ends with `close`."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        *,
        monotonic: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`monotonic` is the clock by which states grow old. Default: the event loop's."""
        self.resource = resource
        self._cluster, self._sleep = cluster, sleep
        self._monotonic = monotonic or (lambda: asyncio.get_running_loop().time())
        self._state: Json | None = None
        self._said_at = float("-inf")
        self._fault = ""
        self._awaited: set[str] = set()
        """resourceVersions that reads and writes have shown, until the watch has shown them too: events before them
        are older than what is known."""
        self._task: asyncio.Task[None] | None = None
        self._listed, self._tried = asyncio.Event(), asyncio.Event()
        self._opened_at = float("inf")
        self._closed = False

    @property
    def fault(self) -> str:
        """Why the object is not watched at the moment; "" when it is. It is then read whenever it is needed."""
        return self._fault

    async def read(self) -> Json:
        """Return the object's latest state. Raises as Cluster.get does; a missing object is EngineRefused."""
        if self._begin():
            try:
                await asyncio.wait_for(self._listed.wait(), FIRST_S)
            except TimeoutError:
                self._fault = f"the API server has not listed {self.resource} within {FIRST_S:g} s"
        fresh = not self._fault and not self._awaited and self._monotonic() - self._said_at < FRESH_S
        if self._state is not None and fresh:
            return self._state
        return await self.read_now()

    async def read_now(self) -> Json:
        """Return the object as the server has it now. Raises as Cluster.get does."""
        before = set(self._awaited)
        found = await self._cluster.get(self.resource)
        self._awaited -= before  # what was known when the read began is not newer than what it shows
        self.seen(found)
        return found

    def seen(self, found: Json) -> None:
        """Note a state that a read or a write has shown. The watch may still show older ones."""
        if self._state is not None and version_of(found) == version_of(self._state):
            self._said_at = self._monotonic()
        else:
            self._awaited.add(version_of(found))

    async def settle(self) -> None:
        """Begin the watch, and wait until it is open or `fault` says why it is not, at most FIRST_S."""
        self._begin()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), FIRST_S)

    async def close(self) -> None:
        """End the watch. A reader that waits for its first list reads by itself."""
        self._closed, self._state = True, None
        self._listed.set()
        self._tried.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self) -> bool:
        """Begin the watch. Returns whether this call did."""
        if self._task is not None or self._closed:
            return False
        self._task = asyncio.create_task(self._run(), name=f"watch {self.resource}")
        return True

    async def _run(self) -> None:
        failures = 0
        while True:
            self._opened_at = float("inf")
            try:
                await self._follow()
            except Gone:
                self._fault = ""  # the next list begins anew
            except ControlPlaneError as error:
                self._fault = str(error)
            self._listed.set()
            self._tried.set()
            lasted = self._monotonic() - self._opened_at >= LASTS_S
            failures = (1 if self._fault else 0) if lasted else failures + 1
            await self._sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])

    async def _follow(self) -> None:
        """List the object, then watch it until the server ends the watch. Raises what the calls raise."""
        named = {"fieldSelector": f"metadata.name={self.resource.name}"}
        before = set(self._awaited)
        found = await self._cluster.listed(self.resource, named)
        items = listed_at(found, "items")
        self._awaited -= before  # a list without a resourceVersion is as new as every call before it
        self._state = items[0] if items else None
        self._said_at = self._monotonic()
        self._listed.set()
        query = {**named, "resourceVersion": version_of(found), "timeoutSeconds": str(WATCH_S)}
        query["allowWatchBookmarks"] = "true"
        async with self._cluster.watch(self.resource, query, SILENCE_S) as lines:
            self._opened_at = self._monotonic()
            self._fault = ""  # not before: an account that may list and not watch would look well at each attempt
            self._tried.set()
            await self._events(lines)

    async def _events(self, lines: AsyncIterator[Json]) -> None:
        async for line in lines:
            kind, found = text_at(line, "type"), value_at(line, "object")
            if not isinstance(found, dict):
                raise Unavailable(f"the API server sent an event of {self.resource} without an object")
            if kind == "ERROR":
                raise event_error(found, self.resource)
            self._said_at = self._monotonic()
            if kind == "DELETED":
                self._state = None
            elif kind in ("ADDED", "MODIFIED"):
                self._state = found
                self._awaited.discard(version_of(found))
