"""A chooser on a virtual clock, with all that it touches: timers, the loop's next turn, counters, memory."""

from __future__ import annotations

import mmap
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from controlplane.gateway.choosing.chooser import WorkerChooser
from controlplane.gateway.choosing.held import Held
from controlplane.gateway.choosing.memory import AREA_BYTES
from controlplane.gateway.choosing.overload.queue import Waiter
from controlplane.gateway.desired.document import BackendSpec, Desired, ModelSpec, TenantSpec, VersionSpec
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Ask, Caller, Content, Frames, ModelPlace, Operation, Outcome, TokenCounts
from controlplane.gateway.seams import Area, Choice

CHAT = Operation("openai", "chat", ModelPlace.BODY, Frames.SSE)
EMBED = Operation("openai", "embedding", ModelPlace.BODY, Frames.NONE, generates=False)
USER = Caller("k1", "team")
TESTER = Caller("k2", "team", role="tester")


class OwnedFile(int):
    """A file descriptor that is closed with the last area that has it."""

    def __del__(self) -> None:
        os.close(self)


def new_area() -> Area:
    """Return fresh shared memory. Another process maps it by `mapped(area.fd)`."""
    fd = OwnedFile(os.memfd_create("choosing"))
    os.ftruncate(fd, AREA_BYTES)
    return mapped(fd)


def mapped(fd: int) -> Area:
    """Return the shared memory of a file."""
    return Area(memoryview(mmap.mmap(fd, AREA_BYTES)), fd, 0)


def backend(name: str, **changes: object) -> BackendSpec:
    """Return a backend at `http://NAME`."""
    return replace(BackendSpec(f"http://{name}", "vllm", "m"), **changes)  # type: ignore[arg-type]


def model(name: str = "chat", *versions: VersionSpec, **changes: object) -> ModelSpec:
    """Return a model."""
    return replace(ModelSpec(name, 1, versions), **changes)  # type: ignore[arg-type]


def version(name: str, weight: int, *backends: BackendSpec | str, **changes: object) -> VersionSpec:
    """Return a version. A backend is a name, which `changes` apply to, or complete."""
    return VersionSpec(
        name, weight, tuple(backend(one, **changes) if isinstance(one, str) else one for one in backends)
    )


def ask(name: str = "chat", **changes: object) -> Ask:
    """Return a streamed chat of 400 bytes, which are 100 tokens."""
    return replace(Ask(CHAT, name, stream=True, prompt_bytes=400), **changes)  # type: ignore[arg-type]


class FakeTimer:
    """One entry of the virtual wheel."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


@dataclass
class FakeCounters:
    """Counts what the chooser tells. It is the Counters of gateway/recording.py as far as the chooser uses it."""

    waits: Counter[str] = field(default_factory=Counter)
    out: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def waiting(self, model: str, change: int) -> None:
        self.waits[model] += change

    def ejected(self, model: str, version: str, backend: str, *, out: bool) -> None:
        self.out[model, version, backend] += 1 if out else -1

    def connections(self, change: int) -> None: ...
    def hedged(self, model: str, version: str) -> None: ...
    def mirrored(self, model: str, version: str, outcome: Outcome) -> None: ...
    def mirrored_answer(
        self, model: str, version: str, content: Content, counts: TokenCounts, first_s: float | None, duration_s: float
    ) -> None: ...
    def cached(self, model: str, *, hit: bool) -> None: ...


class BackendReport(NamedTuple):
    """One backend of one version."""

    backend: str
    """Its URL."""
    requests: int
    """Open requests of this worker."""
    work: int
    """Tokens that are outstanding in them."""
    ejected: bool


class ModelReport(NamedTuple):
    """One model."""

    waiting: int
    """Requests that wait in this worker."""
    cached_bytes: int


class Report(NamedTuple):
    """A snapshot of a chooser."""

    models: tuple[ModelReport, ...]
    backends: tuple[BackendReport, ...]


class World:
    """One worker's chooser. Nothing happens but by `go` and `turn`."""

    def __init__(
        self,
        *models: ModelSpec,
        area: Area | None = None,
        column: int = 0,
        draws: Iterator[float] | None = None,
        tenants: tuple[TenantSpec, ...] = (),
        now: float = 1000.0,
    ) -> None:
        self.now = now
        self.area = area or new_area()
        self.counters = FakeCounters()
        self.timers: list[FakeTimer] = []
        self.next_turn: list[Callable[[], None]] = []
        self.requests: list[Request] = []
        """All requests: a choice that nobody keeps gives itself back."""
        draw = (lambda: 0.5) if draws is None else draws.__next__
        self.chooser = WorkerChooser(
            self.area,
            column,
            wheel=self,
            soon=self.next_turn.append,
            clock=lambda: self.now,
            counters=self.counters,
            draw=draw,
        )
        self.apply(*models, tenants=tenants)

    def apply(self, *models: ModelSpec, tenants: tuple[TenantSpec, ...] = ()) -> None:
        """Apply a desired state."""
        self.chooser.apply(Desired("r", models, tenants=tenants), self.now)

    def after(self, seconds: float, call: Callable[[], None]) -> FakeTimer:
        """Be the wheel."""
        timer = FakeTimer(self.now + seconds, call)
        self.timers.append(timer)
        return timer

    def turn(self) -> None:
        """Let the event loop turn until nothing is left to do at this time."""
        while self.next_turn:
            self.next_turn.pop(0)()

    def go(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self.now + seconds
        self.turn()
        while self.timers and min(timer.at for timer in self.timers) <= end:
            timer = min(self.timers, key=lambda one: one.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            if timer.call is not None:
                timer.call()
            self.turn()
        self.now = end

    def choose(self, one: Ask | None = None, caller: Caller = USER) -> Held:
        """Choose, and expect a backend at once."""
        answer = self.request(one, caller).answer
        assert isinstance(answer, Held), answer
        return answer

    def refused(self, one: Ask | None = None, caller: Caller = USER) -> Refusal:
        """Choose, and expect a refusal at once."""
        answer = self.request(one, caller).answer
        assert isinstance(answer, Refusal), answer
        return answer

    def request(self, one: Ask | None = None, caller: Caller = USER) -> Request:
        """Make a request. Its answer comes now or later."""
        one = one or ask()
        spec = self.chooser.model(one, caller)
        request = Request()
        self.requests.append(request)
        if isinstance(spec, Refusal):
            request.take(spec)
            return request
        answer = self.chooser.choose(one, caller, spec, self.now, request.take)
        if isinstance(answer, Waiter):
            request.place = answer
        else:
            assert not isinstance(answer, Waiter)
            request.take(answer)
        return request

    def open(self) -> dict[str, int]:
        """Return the open requests of each backend that has any, by the name in its URL."""
        return {one.backend.removeprefix("http://"): one.requests for one in self.report().backends if one.requests}

    def report(self) -> Report:
        """Return a snapshot of the chooser."""
        models, backends = [], []
        for pool in self.chooser._pools.values():
            cached = 0 if pool.cache is None else pool.cache.size
            models.append(ModelReport(pool.context.waiting, cached))
            backends += [
                BackendReport(one.spec.url, one.requests, one.work, one.health.out_until is not None)
                for version in pool.versions.values()
                for one in version.replicas
            ]
        return Report(tuple(models), tuple(backends))


class Request:
    """One request of a test."""

    def __init__(self) -> None:
        self.answer: Choice | Refusal | None = None
        self.place: Waiter | None = None

    def take(self, answer: Choice | Refusal) -> None:
        """Be granted or refused, once."""
        assert self.answer is None, "answered twice"
        self.answer = answer

    @property
    def held(self) -> Held:
        """The backend that it got."""
        assert isinstance(self.answer, Held), self.answer
        return self.answer

    @property
    def refusal(self) -> Refusal:
        """The refusal that it got."""
        assert isinstance(self.answer, Refusal), self.answer
        return self.answer


def name_of(held: Choice) -> str:
    """Return the name of the backend of a choice."""
    return held.backend.url.removeprefix("http://")
