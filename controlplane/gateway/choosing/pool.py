"""One model: the way of a request to a version and a backend, its queue, and what is decided beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from controlplane.gateway.choosing import refusals
from controlplane.gateway.choosing.cache import ResponseCache
from controlplane.gateway.choosing.context import ModelContext, Worker
from controlplane.gateway.choosing.hedging import HedgeBudget, Portion
from controlplane.gateway.choosing.held import Held
from controlplane.gateway.choosing.lane import Lane, Way
from controlplane.gateway.choosing.overload.pressure import SHEDDING_S, shed_chance
from controlplane.gateway.choosing.overload.queue import Waiter
from controlplane.gateway.choosing.version import Version
from controlplane.gateway.desired.document import ModelSpec
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Ask, Caller, Outcome
from controlplane.gateway.seams import Choice

log = logging.getLogger(__name__)


class Pool:
    """Live state of one model."""

    def __init__(self, spec: ModelSpec, worker: Worker) -> None:
        self.context = ModelContext(spec, worker)
        self.versions: dict[str, Version] = {}
        self.cache: ResponseCache | None = None
        self._lane = Lane(spec.name, "", worker.memory)
        self._adapters: dict[str, Lane] = {}
        self._memory = worker.memory
        self._hedges = HedgeBudget()
        self._mirrored = Portion()
        self._pressed_at = -SHEDDING_S
        """Last time at which a request had to wait or was refused."""

    @property
    def spec(self) -> ModelSpec:
        """The specification in force."""
        return self.context.spec

    @property
    def adapters(self) -> list[str]:
        """Names of the LoRA adapters that backends of the model have."""
        return list(self._adapters)

    def apply(self, spec: ModelSpec, now: float) -> list[tuple[Waiter, Refusal]]:
        """Take a desired state. Return the waiting requests that no version can take any more, with their refusals.

        Requests that wait keep their version if it still takes requests, and get another one otherwise.
        """
        self.context.spec = spec
        gone = {name: self.versions.pop(name) for name in self.versions.keys() - {one.name for one in spec.versions}}
        for one in spec.versions:
            version = self.versions.get(one.name)
            if version is None:
                version = self.versions[one.name] = Version(one.name, self.context)
            version.apply(one, now)
        for version in gone.values():
            version.close(now)
        self._apply_lanes()
        self._apply_cache()
        self.context.wake()
        return self._move([*gone.values(), *self.versions.values()])

    def close(self, now: float) -> list[tuple[Waiter, Refusal]]:
        """The model is gone. Return the waiting requests with their refusals."""
        refused = []
        for version in self.versions.values():
            for waiter in list(version.queue):
                version.queue.remove(waiter)
                refused.append((waiter, refusals.removed(self.spec.name)))
            version.close(now)
        for lane in (self._lane, *self._adapters.values()):
            lane.close()
        return refused

    def place(self) -> bool:
        """Find rows in shared memory for what has none. Return whether nothing is missing."""
        lanes = [lane.place() for lane in (self._lane, *self._adapters.values())]
        return all(lanes + [version.place() for version in self.versions.values()])

    def route(self, ask: Ask, caller: Caller) -> Way | Refusal:
        """Return the version of a request: that of a tester's wish, of its session, or of the next ticket."""
        lane = self._adapters.get(ask.model, self._lane) if self._adapters else self._lane
        if ask.version:
            return self._pinned(ask, caller, lane)
        return lane.way(caller.tenant, ask.session) or refusals.no_backend(self.spec.name)

    def take(self, route: Way, ask: Ask, caller: Caller, now: float) -> Held | None:
        """Acquire a backend at once. None: all are full, or others wait for the version already."""
        version = route.version
        if version.queue.count:
            return None
        held = version.acquire(ask, caller.tenant, now, adapter=route.adapter)
        if held is not None and self.context.spec.hedge is not None:
            self._hedges.request()
        return held

    def is_free(self, now: float) -> bool:
        """Return whether a request would be taken at once, whichever version it gets."""
        return self._lane.is_free(now)

    def wait(
        self,
        route: Way,
        ask: Ask,
        caller: Caller,
        now: float,
        number: int,
        granted: Callable[[Choice | Refusal], None],
    ) -> tuple[Waiter | Refusal, Waiter | None]:
        """Queue a request. Return its place or a refusal, and the waiting request that must leave for it, if any."""
        self._pressed_at = now
        waiting = sum(version.waiting for version in self.versions.values())
        backends = sum(version.backends for version in self.versions.values())
        if caller.priority < 0 and self.context.draw() < shed_chance(waiting, backends):
            return self._overloaded("requests of a low priority are shed.", now), None
        given_up = None
        if waiting >= self.spec.queue.max_waiting:
            given_up = self._last(now)
            if given_up is None or given_up.rank(now) >= caller.priority:
                return self._overloaded(f"{waiting} requests wait already.", now), None
            given_up.cancel()
        waiter = Waiter(
            ask,
            caller,
            granted,
            adapter=route.adapter,
            pinned=route.pinned,
            since=now,
            deadline=now + self.spec.queue.max_wait_s,
            number=number,
        )
        route.version.queue.add(waiter)
        if self._adapters:
            # Requests for an adapter whose backends are full may be in front of this one.
            self.context.wake()
        return waiter, given_up

    def given_up(self, now: float) -> Refusal:
        """Return the refusal of a waiting request that leaves its place to one of a higher priority."""
        return self._overloaded("the queue is full, and a request of a higher priority came.", now)

    def serve(self, now: float) -> None:
        """Grant waiting requests while there are free backends."""
        for version in list(self.versions.values()):
            full: set[str] = set()
            while (waiter := version.queue.next(now, full)) is not None:
                held = version.acquire(waiter.ask, waiter.caller.tenant, now, adapter=waiter.adapter)
                if held is None:
                    full.add(waiter.adapter)
                    continue
                version.queue.remove(waiter)
                if self.spec.hedge is not None:
                    self._hedges.request()
                grant(waiter, held, now)

    def expire(self, now: float) -> list[tuple[Waiter, Refusal]]:
        """Take requests whose deadline has passed out of the queue, and return them with their refusals."""
        refused = []
        for version in self.versions.values():
            for waiter in version.queue.expired(now):
                version.queue.remove(waiter)
                why = f"the request waited {now - waiter.since:.0f} s in the queue."
                refused.append((waiter, self._overloaded(why, now)))
                self._pressed_at = now
        return refused

    def again(self, ask: Ask, failed: Held, now: float) -> Held | Refusal:
        """Acquire a backend for a retry: one that was not tried, or the same again where no other is free."""
        version = self.versions.get(failed.version)
        if version is None or not version.accepts(failed.adapter):
            return refusals.no_backend(self.spec.name, failed.version)
        tried = (*failed.tried, failed.replica)
        held = version.acquire(ask, failed.tenant, now, adapter=failed.adapter, without=tried) or version.acquire(
            ask, failed.tenant, now, adapter=failed.adapter
        )
        if held is None:
            return refusals.no_other(self.spec.name, failed.version, self._retry_after(now))
        held.tried = tried
        held.degraded_from = failed.degraded_from
        return held

    def is_shedding(self, now: float) -> bool:
        """Return whether requests wait, or did so or were refused a short time ago."""
        return self.context.waiting > 0 or now - self._pressed_at < SHEDDING_S

    def hedge_after(self, choice: Held) -> float | None:
        """Return the seconds after which a request without a first event deserves a second attempt. None: never."""
        spec, version = self.spec.hedge, self.versions.get(choice.version)
        if spec is None or version is None or version.backends < 2:
            return None
        return version.first[choice.stream].quantile(spec.quantile)

    def hedge(self, ask: Ask, first: Held, now: float) -> Held | None:
        """Acquire another backend of the version for a second attempt. None: not allowed, or none is free."""
        spec, version = self.spec.hedge, self.versions.get(first.version)
        if spec is None or version is None or self.is_shedding(now) or not self._hedges.allows(spec):
            return None
        tried = (*first.tried, first.replica)
        second = version.acquire(ask, "", now, adapter=first.adapter, without=tried)
        if second is not None:
            self._hedges.hedge()
            second.tried = tried
        return second

    def mirror(self, ask: Ask, choice: Held, now: float) -> Held | None:
        """Acquire a backend for a copy of a request. None: not one of the share, or the model is under pressure."""
        spec = self.spec.mirror
        if spec is None or choice.version == spec.version or not self._mirrored.take(spec.share):
            return None
        version = self.versions.get(spec.version)
        if version is None or self.is_shedding(now) or not version.accepts(choice.adapter):
            return None
        return version.acquire(ask, "", now, adapter=choice.adapter)

    def _apply_lanes(self) -> None:
        versions = list(self.versions.values())
        names = {name for one in self.spec.versions for backend in one.backends for name in backend.adapters}
        names -= {self.spec.name, *self.spec.aliases}
        for name in [name for name in self._adapters if name not in names]:
            self._adapters.pop(name).close()
        for name in names - self._adapters.keys():
            self._adapters[name] = Lane(self.spec.name, name, self._memory)
        for lane in (self._lane, *self._adapters.values()):
            lane.apply(versions)

    def _apply_cache(self) -> None:
        spec = self.spec.cache
        if spec is None:
            self.cache = None
        elif self.cache is None:
            self.cache = ResponseCache(spec)
        else:
            self.cache.spec = spec

    def _move(self, versions: list[Version]) -> list[tuple[Waiter, Refusal]]:
        """Move waiting requests away from versions that get no new ones."""
        refused: list[tuple[Waiter, Refusal]] = []
        for version in versions:
            for waiter in sorted(version.queue, key=lambda one: one.number):
                lane = self._adapters.get(waiter.ask.model, self._lane)
                stays = version.name in self.versions and version.accepts(waiter.adapter)
                if stays and (waiter.pinned or lane.has(version)):
                    continue
                version.queue.remove(waiter)
                route = self.route(waiter.ask, waiter.caller)
                if isinstance(route, Refusal):
                    refused.append((waiter, route))
                else:
                    waiter.adapter = route.adapter
                    route.version.queue.add(waiter)
        return refused

    def _pinned(self, ask: Ask, caller: Caller, lane: Lane) -> Way | Refusal:
        if caller.role != "tester":
            return refusals.no_tester(ask.version)
        version = self.versions.get(ask.version) or self._by_path(ask.version)
        if version is None:
            return refusals.unknown_version(self.spec.name, ask.version, list(self.versions))
        if not version.accepts(lane.adapter):
            return refusals.no_backend(self.spec.name, version.name)
        return Way(version, lane.adapter, True)

    def _by_path(self, path_version: str) -> Version | None:
        """Return the version that Triton has under a version directory."""
        for version in self.versions.values():
            if any(replica.spec.path_version == path_version for replica in version.replicas):
                return version
        return None

    def _last(self, now: float) -> Waiter | None:
        tails = [one for version in self.versions.values() if (one := version.queue.last(now)) is not None]
        return min(tails, key=lambda one: (one.rank(now), -one.number), default=None)

    def _overloaded(self, why: str, now: float) -> Refusal:
        return refusals.overloaded(self.spec.name, why, self._retry_after(now))

    def _retry_after(self, now: float) -> float:
        return self.context.drain.retry_after(self.context.waiting, self.spec.queue.max_wait_s, now)


def grant(waiter: Waiter, answer: Held | Refusal, now: float) -> None:
    """Tell a request that waited what became of it."""
    try:
        waiter.granted(answer)
    except Exception:  # the boundary of a callback: a fault of one request must not keep the others waiting
        log.exception("a request that waited could not go on")
        if isinstance(answer, Held) and answer.held:
            answer.release(Outcome.ABORTED, now)
