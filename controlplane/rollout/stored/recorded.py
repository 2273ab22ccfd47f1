"""A rollout with its history, as people and programs are shown it."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.rollout.model import Rollout


@dataclass(frozen=True)
class RolloutEvent:
    """One sentence of a rollout's history."""

    at: float
    phase: str
    sentence: str


@dataclass(frozen=True)
class RecordedRollout:
    """A rollout with its history: what an API, a console or a CLI shows."""

    rollout: Rollout
    events: tuple[RolloutEvent, ...] = field(default=())
