"""Limits of a gateway on memory of their own, on a virtual clock."""

from __future__ import annotations

import mmap
import os
import weakref
from dataclasses import replace
from hashlib import sha256

from controlplane.gateway.desired.document import Desired, KeySpec, LimitSpec, ModelSpec, PriceSpec, TenantSpec
from controlplane.gateway.limits.keeper import Keeper
from controlplane.gateway.limits.memory import AREA_BYTES
from controlplane.gateway.limits.reservation import HeldReservation
from controlplane.gateway.limits.shared import SharedLimits
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Caller, RequestHead, TokenCounts
from controlplane.gateway.seams import Area

SECRET = "s" * 64
NOON = 1_795_780_800.0
"""2026-11-27 12:00:00 UTC."""
NO_LIMITS = LimitSpec()


def told(held: HeldReservation) -> dict[str, str]:
    """Return the header fields that an answer has of a reservation."""
    return dict(line.split(": ") for line in held.lines().decode().splitlines())


def new_area() -> Area:
    """Return fresh memory, zero everywhere."""
    fd = os.memfd_create("limits")
    os.ftruncate(fd, AREA_BYTES)
    return area_of(fd)


def area_of(fd: int) -> Area:
    """Return the memory of a file, as another process maps it."""
    memory = mmap.mmap(fd, AREA_BYTES)
    weakref.finalize(memory, os.close, fd)
    return Area(memoryview(memory), fd, 0)


def key(limits: LimitSpec = NO_LIMITS, key_id: str = "ab12", **fields: object) -> KeySpec:
    """Return a key of the tenant acme with SECRET."""
    return replace(KeySpec(key_id, sha256(SECRET.encode()).hexdigest(), "acme", limits=limits), **fields)  # type: ignore[arg-type]


def model(limits: LimitSpec = NO_LIMITS, name: str = "chat", price: PriceSpec = PriceSpec(1.0, 4.0, 0.5)) -> ModelSpec:  # noqa: B008
    """Return a model without versions."""
    return ModelSpec(name, 1, (), limits=limits, price=price)


def document(
    of_key: LimitSpec = NO_LIMITS,
    of_tenant: LimitSpec = NO_LIMITS,
    of_model: LimitSpec = NO_LIMITS,
    *,
    revision: str = "1",
    shares: dict[str, float] | None = None,
) -> Desired:
    """Return a document with the key ab12, the tenant acme and the model chat."""
    tenants = (TenantSpec("acme", of_tenant),)
    return Desired(revision, (model(of_model),), (key(of_key),), tenants, shares=shares or {})


def head(**fields: str) -> RequestHead:
    """Return a request's head with these fields; `_` stands for `-`."""
    known = {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}
    return RequestHead(b"POST", b"/v1/chat/completions", b"/v1/chat/completions", [], 0, False, True, known=known)


class World:
    """A gateway's limits: a keeper and some workers, on one clock. `now` is monotonic, `unix` the wall clock's."""

    def __init__(self, desired: Desired, workers: int = 2, unix: float = NOON) -> None:
        self.area = new_area()
        self.now = 1000.0
        self.unix = unix
        self.keeper = self.new_keeper()
        self.keeper.apply(desired, self.now)
        self.desired = desired
        self.workers = [self.new_worker(column) for column in range(workers)]

    def new_keeper(self, area: Area | None = None) -> Keeper:
        return Keeper(area or self.area, unix=lambda: self.unix, monotonic=lambda: self.now)

    def new_worker(self, column: int) -> SharedLimits:
        worker = SharedLimits(self.area, column, unix=lambda: self.unix)
        worker.apply(self.desired, self.now)
        return worker

    def apply(self, desired: Desired) -> None:
        self.desired = desired
        self.keeper.apply(desired, self.now)
        for worker in self.workers:
            worker.apply(desired, self.now)

    def sleep(self, seconds: float) -> None:
        """Pass time. The keeper saves once a second, and so before a longer sleep."""
        self.keeper.save()
        self.now += seconds
        self.unix += seconds

    def ask(
        self,
        prompt: int = 10,
        answer: int | None = 0,
        *,
        worker: int = 0,
        caller: Caller | None = None,
        of: ModelSpec | None = None,
    ) -> HeldReservation | Refusal:
        """Reserve for the key ab12 on the model chat."""
        caller = caller or Caller("ab12", "acme")
        return self.workers[worker].reserve(caller, of or self.desired.models[0], prompt, answer, self.now)

    def admit(self, prompt: int = 10, answer: int | None = 0, *, worker: int = 0) -> HeldReservation:
        """Reserve, and insist on it."""
        found = self.ask(prompt, answer, worker=worker)
        assert isinstance(found, HeldReservation), found
        return found

    def refused(self, prompt: int = 10, answer: int | None = 0, *, worker: int = 0) -> Refusal:
        """Reserve, and insist on a refusal."""
        found = self.ask(prompt, answer, worker=worker)
        assert isinstance(found, Refusal)
        return found

    def admitted(self, most: int = 10_000, *, worker: int = 0, prompt: int = 0) -> int:
        """Send requests that end at once, until one is refused, and return the number of the others."""
        for number in range(most):
            found = self.ask(prompt, worker=worker)
            if isinstance(found, Refusal):
                return number
            found.settle(used(prompt, 0), self.now)
        return most


def used(prompt: int | None, completion: int | None, cached: int | None = None) -> TokenCounts:
    """Return an engine's usage."""
    return TokenCounts(prompt, completion, cached)
