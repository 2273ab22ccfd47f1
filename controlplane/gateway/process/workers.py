"""All workers of a gateway: starts them, replaces the dead, hands the desired state out, spreads the sockets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from controlplane.gateway.errors import GatewayError
from controlplane.gateway.process.child import Child, Ended
from controlplane.gateway.process.restarts import Restarts

log = logging.getLogger(__name__)

TICK_S = 0.25
END_S = 10.0
"""Seconds after the deadline of a drain in which workers may end by themselves."""


class Clear(Protocol):
    """Frees the column of a worker that has ended."""

    def __call__(self, column: int, *, replaced: bool) -> None:
        """Free it. `replaced`: another worker follows in it."""
        ...


class State(NamedTuple):
    """A desired state on its way to the workers."""

    revision: str
    body: bytes


class Place:
    """The place of one worker: its number and column, who fills it, and its deaths."""

    def __init__(self, number: int, column: int) -> None:
        self.number, self.column = number, column
        self.child: Child | None = None
        self.restarts = Restarts()
        self.starts_at: float | None = None
        """Monotonic time of the next start, while the place is empty."""
        self.last_end = ""


class Workers:
    """The workers. Connections wait in the sockets while nobody accepts; the sockets belong to the supervisor."""

    def __init__(
        self,
        columns: Sequence[int],
        sockets: int,
        begin: Callable[[int], tuple[dict[str, Any], Sequence[int]]],
        clear: Clear,
    ) -> None:
        """`begin` returns the first message for a column and the files to inherit. `clear` frees a column."""
        self.places = [Place(number, column) for number, column in enumerate(columns)]
        self._sockets, self._begin, self._clear = sockets, begin, clear
        self._state: State | None = None
        self._listening = False
        self.accepting = asyncio.Event()
        """Set once every socket has a worker that accepts its connections."""
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._all_ended = asyncio.Event()
        self._dead: dict[tuple[str, int], dict[str, int]] = {}
        """Requests by version that dead workers have counted, by model and generation."""
        self.changed = asyncio.Event()
        """Set when what `models` returns may have changed for another reason than time."""
        self._accounts: list[Ended] = []

    @property
    def children(self) -> list[Child]:
        """The workers that live."""
        return [place.child for place in self.places if place.child is not None]

    async def start(self) -> None:
        """Start all. Raises GatewayError when one ends before it has started."""
        await asyncio.gather(*(self._fill(place) for place in self.places))
        for place in self.places:
            child = place.child
            if child is None:
                raise GatewayError(
                    f"worker {place.number} {place.last_end} while it started; the log has its last words"
                )
        self._spawn(self._tick())

    async def apply(self, state: State) -> str:
        """Hand a state out, and return "" once all workers apply it, or the reason of one that refuses it.

        A worker that starts meanwhile gets it too, and serves only when it applies it.
        """
        before, self._state = self._state, state
        asked = [child for child in self.children if child.started.is_set()]
        for child in self.children:
            child.send({"type": "desired", "revision": state.revision}, state.body)
        refusals = [why for why in await asyncio.gather(*(child.applies(state.revision) for child in asked)) if why]
        if refusals and before is not None and self._state is state:
            self._state = before
            for child in self.children:
                child.send({"type": "desired", "revision": before.revision}, before.body)
        self._dead = {key: counts for key, counts in self._dead.items() if key in self._applied()}
        self.changed.set()
        return refusals[0] if refusals else ""

    def veto(self, seconds: Mapping[str, float]) -> None:
        """Let workers send no request to backends, by URL, for so many seconds. 0 ends an earlier veto."""
        for child in self.children:
            child.send({"type": "veto", "seconds": dict(seconds)})

    def listen(self) -> None:
        """Let the workers that apply the state accept connections."""
        self._listening = True
        self._spread()

    def serving(self) -> list[Child]:
        """Return the workers that live and apply the state."""
        state = self._state
        return [child for child in self.children if state is not None and child.revision == state.revision]

    def models(self) -> dict[str, dict[str, Any]]:
        """Return {model: {"generation", "requests": {version: number}}} of the generations that all workers apply.

        While workers differ, the generation is the lowest one and no requests are counted.
        """
        reports = [child.status.get("models", {}) for child in self.serving()]
        found: dict[str, dict[str, Any]] = {}
        for name in reports[0] if reports else ():
            if not all(name in report for report in reports):
                continue
            generations = {int(report[name]["generation"]) for report in reports}
            counts: dict[str, int] = {}
            if len(generations) == 1:
                parts = [report[name]["requests"] for report in reports]
                parts.append(self._dead.get((name, min(generations)), {}))
                for version, number in (pair for part in parts for pair in part.items()):
                    counts[version] = counts.get(version, 0) + number
            found[name] = {"generation": min(generations), "requests": counts}
        return found

    def total(self, name: str) -> int:
        """Return the sum of one number over the last states of all workers: `open` or `connections`."""
        return sum(int(child.status.get(name, 0)) for child in self.children)

    async def drain(self, within_s: float) -> Ended:
        """Let all workers finish and end, and return the sum of their accounts. Kills those that hang."""
        self._stopping = True
        for place in self.places:
            place.starts_at = None
        for child in self.children:
            child.send({"type": "drain"})
        if self.children:
            try:
                await asyncio.wait_for(self._all_ended.wait(), within_s + END_S)
            except TimeoutError:
                for child in self.children:
                    log.error("worker %d did not end within %.0f s and is killed", child.number, within_s + END_S)
                    child.kill()
                await self._all_ended.wait()
        for task in self._tasks:
            task.cancel()
        return Ended(*map(sum, zip(*self._accounts, strict=True))) if self._accounts else Ended()

    def cut(self) -> None:
        """End all open requests, and the workers, at once. Call `drain` too, before or after it."""
        self._stopping = True
        for child in self.children:
            child.send({"type": "cut"})

    async def kill(self) -> None:
        """End all workers at once, also those that start."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        for child in self.children:
            child.kill()
        if self.children:
            await self._all_ended.wait()

    async def _fill(self, place: Place) -> None:
        place.starts_at = None
        child = place.child = Child(place.number, place.column, self._heard, self._ended)
        begin, inherited = self._begin(place.column)
        try:
            await child.start(begin, inherited)
        except GatewayError as error:
            place.child, place.last_end = None, str(error)
            self._again(place, 0.0)
            return
        if self._state is not None:
            child.send({"type": "desired", "revision": self._state.revision}, self._state.body)
        await child.started.wait()

    def _heard(self) -> None:
        self.changed.set()
        self._spread()
        if self._listening and len(frozenset().union(*(child.accepts for child in self.children))) == self._sockets:
            self.accepting.set()

    def _spread(self) -> None:
        """Give each socket to the worker of its number, or to another one while that worker does not serve."""
        able = {child.number: child for child in self.serving()}
        if not self._listening or self._stopping or not able:
            return
        count, names = len(self.places), sorted(able)
        shares: dict[int, set[int]] = {number: set() for number in able}
        for socket in range(self._sockets):
            home = socket % count
            shares[home if home in able else names[home % len(names)]].add(socket)
        for number, child in able.items():
            child.serve(frozenset(shares[number]))

    def _ended(self, child: Child) -> None:
        place = self.places[child.number]
        place.child, place.last_end = None, child.end_of()
        self._clear(place.column, replaced=not self._stopping)
        for name, report in child.status.get("models", {}).items():
            counts = self._dead.setdefault((name, int(report["generation"])), {})
            for version, number in report["requests"].items():
                counts[version] = counts.get(version, 0) + number
        if self._stopping:
            self._accounts.append(child.account)
            if not self.children:
                self._all_ended.set()
            return
        self.changed.set()
        self._again(place, time.monotonic() - child.began)

    def _again(self, place: Place, lived_s: float) -> None:
        delay_s = place.restarts.died(lived_s)
        when = f"is started again in {delay_s:.1f} s" if delay_s else "is replaced"
        log.error("worker %d %s after %.0f s and %s", place.number, place.last_end, lived_s, when)
        if delay_s:
            self._spread()  # the others serve its socket meanwhile
            place.starts_at = time.monotonic() + delay_s
        else:
            self._spawn(self._fill(place))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            for place in self.places:
                if place.child is None and place.starts_at is not None and place.starts_at <= now:
                    self._spawn(self._fill(place))
                    place.starts_at = None
            for child in self.children:
                child.tick()

    def _applied(self) -> set[tuple[str, int]]:
        return {
            (name, int(report["generation"]))
            for child in self.serving()
            for name, report in child.status.get("models", {}).items()
        }

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.critical("internal error: a task of the supervisor ends", exc_info=error)
