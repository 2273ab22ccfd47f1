"""The Chooser of one worker: finds the model, takes a version and a backend at once, or queues the request."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count

from controlplane.gateway.choosing import refusals
from controlplane.gateway.choosing.cache import ResponseCache
from controlplane.gateway.choosing.context import Worker
from controlplane.gateway.choosing.held import Held
from controlplane.gateway.choosing.lane import Way
from controlplane.gateway.choosing.memory import Memory
from controlplane.gateway.choosing.overload.queue import Waiter
from controlplane.gateway.choosing.pool import Pool, grant
from controlplane.gateway.choosing.replica import Replicas
from controlplane.gateway.choosing.vetoes import Vetoes
from controlplane.gateway.desired.document import Desired, ModelSpec
from controlplane.gateway.recording import Counters
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Ask, Caller
from controlplane.gateway.seams import Area, Choice, Route, Wheel

TICK_S = 0.1
"""Interval, in seconds, at which waiting requests are looked at: for deadlines, for backends that come back, and for
places that another worker freed."""
PLACE_S = 5.0
"""Interval, in seconds, at which rows in shared memory are searched that could not be had."""


class WorkerChooser:
    """Version first, backend second. All calls are made on the event loop of the worker."""

    def __init__(
        self,
        area: Area,
        column: int,
        *,
        wheel: Wheel,
        soon: Callable[[Callable[[], None]], object],
        clock: Callable[[], float],
        counters: Counters,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`soon` calls back in the next turn of the event loop (`loop.call_soon`), `clock` is `loop.time`, and `draw`
        returns random numbers in [0, 1)."""
        self.vetoes = Vetoes()
        """Opinions of engines' own metrics on their backends."""
        self._memory = Memory(area, column)
        self._worker = Worker(
            self._memory, Replicas(self._memory), self.vetoes, counters, weights={}, draw=draw, wake=self._wake
        )
        self._wheel = wheel
        self._soon = soon
        self._clock = clock
        self._models: tuple[ModelSpec, ...] = ()
        self._pools: dict[str, Pool] = {}
        self._names: dict[str, Pool] = {}
        self._numbers = count(1)
        self._woken = False
        self._ticking = False
        self._placing = False

    def apply(self, desired: Desired, now: float) -> None:
        """Take a desired state, from the next request on. Health, counts and queues of what stays are kept.

        Requests that wait for a model that is gone are refused.
        """
        self._worker.weights.clear()
        self._worker.weights.update((tenant.name, tenant.weight) for tenant in desired.tenants)
        if desired.models == self._models:
            # Keys and shares change every second on a busy day.
            return
        self._models = desired.models
        before = self._pools
        self._pools = {}
        refused: list[tuple[Waiter, Refusal]] = []
        for spec in desired.models:
            pool = before.pop(spec.name, None)
            if pool is None or pool.spec != spec:
                pool = pool or Pool(spec, self._worker)
                refused += pool.apply(spec, now)
            self._pools[spec.name] = pool
        for pool in before.values():
            refused += pool.close(now)
        self._name()
        self.vetoes.keep(
            {one.url for model in desired.models for version in model.versions for one in version.backends}
        )
        self._place()
        self._refuse(refused)

    def model(self, ask: Ask, caller: Caller) -> ModelSpec | Refusal:
        """Return the model of a name, an alias or a LoRA adapter. A model that the key may not ask is unknown to it.

        A path that must be listed is refused where the model does not list it.
        """
        pool = self._names.get(ask.model)
        if pool is None or not _may(caller, pool.context.spec):
            return refusals.unknown_model(ask.model)
        spec = pool.context.spec
        if not spec.passes(ask.listed_path):
            return refusals.unlisted_path(ask.model, ask.listed_path)
        return spec

    def named(self, name: str, caller: Caller) -> ModelSpec | None:
        """Return a model by its name, such as one of another's `fallbacks`. None: the caller has none of it."""
        pool = self._pools.get(name)
        return None if pool is None or not _may(caller, pool.spec) else pool.spec

    def names(self, caller: Caller) -> list[str]:
        """Return the names that a caller may ask for, sorted: models, aliases and LoRA adapters."""
        return sorted(name for name, pool in self._names.items() if _may(caller, pool.spec))

    def route(self, ask: Ask, caller: Caller, model: ModelSpec) -> Way | Refusal:
        """Return the version of a request, for `choose`."""
        pool = self._pools.get(model.name)
        return refusals.unknown_model(model.name) if pool is None else pool.route(ask, caller)

    def choose(
        self,
        ask: Ask,
        caller: Caller,
        model: ModelSpec,
        now: float,
        granted: Callable[[Choice | Refusal], None],
        route: Route | None = None,
    ) -> Choice | Refusal | Waiter:
        """Return a choice, or a place in the queue: then `granted` is called once, later, from the event loop."""
        pool = self._pools.get(model.name)
        if pool is None:
            return refusals.unknown_model(model.name)
        way = route if isinstance(route, Way) else pool.route(ask, caller)
        if isinstance(way, Refusal):
            return way
        held = pool.take(way, ask, caller, now) or self._smaller(pool, way, ask, caller, now)
        if held is not None:
            return held
        waiter, given_up = pool.wait(way, ask, caller, now, next(self._numbers), granted)
        if given_up is not None:
            self._refuse([(given_up, pool.given_up(now))])
        self._tick_later()
        return waiter

    def again(self, ask: Ask, failed: Choice, now: float) -> Choice | Refusal:
        """Return another backend of the same version for a retry, or a Refusal. `failed` was released before.

        Where the version has one backend, it is that one: a connection that was closed while it was idle says nothing.
        """
        held = _own(failed)
        pool = self._pools.get(held.model.name)
        if pool is None:
            return refusals.removed(held.model.name)
        return pool.again(ask, held, now)

    def hedge_after(self, choice: Choice) -> float | None:
        """Return the seconds after which a request without a first event deserves a second attempt. None: never."""
        pool = self._pools.get(choice.model.name)
        return None if pool is None else pool.hedge_after(_own(choice))

    def hedge(self, ask: Ask, first: Choice, now: float) -> Choice | None:
        """Return another backend for a second attempt, or None: the share is spent, or the model is under pressure."""
        pool = self._pools.get(first.model.name)
        return None if pool is None else pool.hedge(ask, _own(first), now)

    def mirror(self, ask: Ask, choice: Choice, now: float) -> Choice | None:
        """Return a backend for a copy of the request whose answer is thrown away, or None: this one is not copied."""
        pool = self._pools.get(choice.model.name)
        return None if pool is None else pool.mirror(ask, _own(choice), now)

    def cache(self, model: ModelSpec) -> ResponseCache | None:
        """Return the response cache of a model. None: it has none."""
        pool = self._pools.get(model.name)
        return None if pool is None else pool.cache

    def _name(self) -> None:
        """Set the names of all models. A model's own name beats an alias, and an alias beats an adapter."""
        names: dict[str, Pool] = {}
        for pool in self._pools.values():
            names.update(dict.fromkeys(pool.adapters, pool))
        for pool in self._pools.values():
            names.update(dict.fromkeys(pool.spec.aliases, pool))
        for pool in self._pools.values():
            names[pool.spec.name] = pool
        self._names = names

    def _smaller(self, pool: Pool, route: Way, ask: Ask, caller: Caller, now: float) -> Held | None:
        """Return a choice of the smaller model that answers while this one is full, if it is free."""
        smaller = self._pools.get(pool.spec.degrade_to)
        if smaller is None or ask.continued or route.pinned or route.adapter or not _may(caller, smaller.spec):
            return None
        if not smaller.spec.passes(ask.listed_path):
            return None
        # A ticket that no request follows would bend the smaller model's own split.
        if not smaller.is_free(now):
            return None
        its = smaller.route(ask, caller)
        held = None if isinstance(its, Refusal) else smaller.take(its, ask, caller, now)
        if held is not None:
            held.degraded_from = pool.spec.name
        return held

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._soon(self._serve)

    def _serve(self) -> None:
        self._woken = False
        now = self._clock()
        for pool in list(self._pools.values()):
            if pool.context.waiting:
                pool.serve(now)

    def _tick_later(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._wheel.after(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        now = self._clock()
        for pool in list(self._pools.values()):
            for waiter, refusal in pool.expire(now):
                grant(waiter, refusal, now)
        self._serve()
        if any(pool.context.waiting for pool in self._pools.values()):
            self._tick_later()

    def _refuse(self, refused: list[tuple[Waiter, Refusal]]) -> None:
        for waiter, refusal in refused:
            self._soon(lambda waiter=waiter, refusal=refusal: grant(waiter, refusal, self._clock()))  # type: ignore[misc]

    def _place(self) -> None:
        missing = [not pool.place() for pool in self._pools.values()]
        missing.append(not self._worker.replicas.place())
        if any(missing) and not self._placing:
            self._placing = True
            self._wheel.after(PLACE_S, self._place_again)

    def _place_again(self) -> None:
        self._placing = False
        self._place()


def _may(caller: Caller, model: ModelSpec) -> bool:
    return caller.models is None or model.name in caller.models


def _own(choice: Choice) -> Held:
    if not isinstance(choice, Held):
        raise TypeError("a choice of another chooser")
    return choice
