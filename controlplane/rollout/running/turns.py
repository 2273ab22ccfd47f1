"""Turns: the rollouts whose next step is stored in this tick. The others wait for the next tick."""

from __future__ import annotations

MOST = 40
"""Maximum number of steps that one tick stores, besides those of rollouts that go back. Chosen: a tick with so many
steps takes less than 100 ms of CPU (`benchmarks/bench_rollout_ticks.py`), and 200 models that look every five seconds
need no more."""


class Turns:
    """The turns of one tick after another. A rollout that waits comes before all that began to wait later."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._late: list[str] = []
        self._first: frozenset[str] = frozenset()
        self._left = most

    def begin(self) -> None:
        """Begin a tick. The rollouts that have waited longest have their turns in it."""
        self._first = frozenset(self._late[: self._most])
        self._late = self._late[self._most :]
        self._left = self._most - len(self._first)

    def take(self, rollout_id: str, *, urgent: bool) -> bool:
        """Return whether the step of a rollout is stored in this tick. `urgent` ones never wait."""
        if urgent or rollout_id in self._first:
            return True
        if rollout_id not in self._late and self._left > 0:
            self._left -= 1
            return True
        if rollout_id not in self._late:
            self._late.append(rollout_id)
        return False
