"""A driver whose answers a test writes down, on a clock that only the answers move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from controlplane.errors import Unavailable
from controlplane.traffic.driver import (
    Answer,
    Capabilities,
    NotSent,
    Placement,
    Preparation,
    Question,
    ServerReply,
    TrafficObservation,
)

Says = Answer | Exception
"""An answer, or the error that is raised in its place."""


def answer(first_s: float | None = 0.2, seconds: float = 1.0, fault: str = "", body: bytes = b"") -> Answer:
    """Return an answer of one server."""
    return Answer(fault, seconds, (ServerReply("http://engine", fault, seconds, first_s, body),))


def not_sent(why: str = "no connection") -> NotSent:
    return NotSent(why)


@dataclass
class AskedDriver:
    """`ask` calls `script(backend, version, question)`. Nothing else is called by what is tested with it."""

    script: Callable[[str, str, Question], Says]
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(weights=True, prewarm=True))
    asked: list[tuple[str, str, Question]] = field(default_factory=list)
    time: float = 0.0
    """Seconds that all answers took, one after another."""

    async def ask(self, backend: str, version: str, question: Question) -> Answer:
        self.asked.append((backend, version, question))
        said = self.script(backend, version, question)
        if isinstance(said, Exception):
            raise said
        self.time += said.seconds
        return said

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds

    def can_keep(self, serve: str, keep: str) -> bool:
        return True

    async def observe(self) -> TrafficObservation:
        _unexpected()

    async def prepare(self, version: str) -> Preparation:
        _unexpected()

    async def place(self, backend: str, placement: Placement) -> None:
        _unexpected()

    async def commit(self, placement: Placement) -> Sequence[str]:
        _unexpected()

    async def close(self) -> None:
        pass


def in_turn(*said: Says) -> Callable[[str, str, Question], Says]:
    """Return a script of answers one after another. The last one repeats."""
    left = list(said)
    return lambda backend, version, question: left.pop(0) if len(left) > 1 else left[0]


def _unexpected() -> NoReturn:
    raise Unavailable("only questions are expected")
