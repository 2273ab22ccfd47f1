"""Operators' wishes for a running rollout. They are rows of the database that the state machine reads. Pure."""

from __future__ import annotations

from collections.abc import Sequence
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
    ends: str = ""
    """Name of the wait of the step that a `resume` ends, as in `Wait.name`. "": in wishes of another verb, and in those
    of earlier releases."""


PAUSED, TIME, DATA = "pause", "time", "data"
"""Names of the waits that a `resume` ends, besides those of hooks: an operator's pause, the time of a step, and
missing data. A step has each of them once."""


def of_hook(name: str) -> str:
    """Return the name of the wait after a hook that failed."""
    return f"hook {name}"


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
    name: str = ""
    """Name of the wait within its step: PAUSED, TIME, DATA or `of_hook`. "": no `resume` ends it."""


_PATIENT = (WaitKind.TIME, WaitKind.APPROVAL, WaitKind.OPERATOR, WaitKind.DATA)


def is_patient(wait: Wait | None) -> bool:
    """Return whether a wait is no lack of progress: for a time, for people, or for data."""
    return wait is not None and wait.kind in _PATIENT


_RANKS = ("viewer", "operator", "admin")
"""Roles of people, the least first. They are those of controlplane.access.roles, which this layer cannot import."""


def includes(role: str, needed: str) -> bool:
    """Return whether a person of `role` has the rights of `needed`. An unknown role has none."""
    return role in _RANKS and needed in _RANKS and _RANKS.index(role) >= _RANKS.index(needed)


def pause_of(wishes: Sequence[Wish]) -> Wish | None:
    """Return the pause that holds now. None: no pause was wished for, or a later `resume` or `full` ended it."""
    steering = [wish for wish in wishes if wish.verb is not WishVerb.APPROVE]
    return steering[-1] if steering and steering[-1].verb is WishVerb.PAUSE else None


def full_of(wishes: Sequence[Wish]) -> Wish | None:
    """Return the first wish to give the candidate every request, or None."""
    return next((wish for wish in wishes if wish.verb is WishVerb.FULL), None)


def resumed(wishes: Sequence[Wish], step: int, name: str) -> Wish | None:
    """Return the wish that ended the wait of this name at a step, or None.

    Times do not matter: the clock may be set between the wish and its reading, and waiting times move over a gap.
    """
    found = (wish for wish in wishes if (wish.verb, wish.step, wish.ends) == (WishVerb.RESUME, step, name))
    return next(found, None)


def approvers(wishes: Sequence[Wish], step: int, role: str, but: str) -> tuple[str, ...]:
    """Return the people of at least `role` who approved a step, each once, without the person `but`."""
    found = (w.actor for w in wishes if w.verb is WishVerb.APPROVE and w.step == step and includes(w.role, role))
    return tuple(dict.fromkeys(actor for actor in found if actor != but))
