"""Operators' wishes for a running rollout. They are rows of the database that the state machine reads. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WishVerb(StrEnum):
    """The verb of a wish. A rollback or an abort is `Rollout.turn_back`, not a wish."""

    PAUSE = "pause"
    RESUME = "resume"
    """Ends a pause by an operator or a hook, and a timed pause before its time."""
    APPROVE = "approve"
    FULL = "full"
    """Skips the remaining pauses, approvals of steps and analyses: the candidate gets every request at once."""


@dataclass(frozen=True)
class Wish:
    """One wish. `step` is the index of the step for which an approval counts."""

    verb: WishVerb
    actor: str
    role: str
    at: float
    """Unix seconds."""
    step: int
    reason: str = ""


class WaitKind(StrEnum):
    """The kind of thing that a rollout waits for."""

    TIME = "time"
    APPROVAL = "approval"
    OPERATOR = "operator"
    """A `resume`."""
    DATA = "data"
    """Enough requests, or metrics that can be read again."""
    ENGINE = "engine"
    WORK = "work"
    """A hook, warm-up, golden set or look that runs."""


@dataclass(frozen=True)
class Wait:
    """The thing that a rollout waits for now."""

    kind: WaitKind
    words: str
    until: float | None = None
    """Unix seconds at which the wait ends at the latest. None: not known."""
