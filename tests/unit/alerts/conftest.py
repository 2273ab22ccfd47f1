"""Fixtures: an alert log in memory, and a clock that tests move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from alerts.interfaces import AlertInstance, Transition


@dataclass
class ManualClock:
    """A clock that stands still until a test moves it."""

    at: float = 0.0

    def now(self) -> float:
        return self.at


@dataclass
class MemoryLog:
    """An AlertLog in memory, which lasts for one test."""

    rules: dict[str, tuple[AlertInstance, ...]] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    fail: Exception | None = None

    def load(self, rule: str) -> Sequence[AlertInstance]:
        return self.rules.get(rule, ())

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        if self.fail is not None:
            raise self.fail
        self.rules[rule] = tuple(instances)
        self.transitions += transitions

    def sentences(self) -> list[str]:
        return [t.sentence for t in self.transitions]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def memory_log() -> MemoryLog:
    return MemoryLog()
