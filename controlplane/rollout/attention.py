"""Rollouts that need the attention of a person. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from controlplane.rollout.announce import stuck
from controlplane.rollout.model import Rollout
from controlplane.rollout.reporting.words import question
from controlplane.rollout.steps import serves
from controlplane.rollout.wishes import WaitKind, pause_of
from controlplane.traffic.driver import TrafficObservation, VersionState

TOLD_S = 24 * 3600.0
"""Seconds for which a rollout that rolled back by itself is shown, unless the model has a newer rollout. Chosen."""


class Need(StrEnum):
    """Why a rollout needs attention."""

    WENT_BACK = "went_back"
    """The candidate failed, and the old version serves. No action is needed."""
    PERSON = "person"
    """The rollout ended and left a fault that only a person can repair. The sentence names the fault."""
    WAITING = "waiting"
    """The rollout runs but makes no progress: an engine does not answer, data is missing, or a hook failed."""
    DECISION = "decision"
    """The rollout waits for an approval, or an operator paused it."""


@dataclass(frozen=True)
class Attention:
    """One rollout that needs attention; `since` in unix seconds."""

    model: str
    rollout: str
    need: Need
    sentence: str
    since: float


def attention(newest: Iterable[Rollout], mended: Collection[str], now: float) -> tuple[Attention, ...]:
    """Return those of the rollouts that need attention, the most urgent first. `newest` holds one rollout a model.

    `mended` names the models whose engines have since been seen to serve the stable version on every backend.
    """
    found = []
    for rollout in newest:
        need = _need(rollout, now)
        if need is not None and not (need is Need.PERSON and rollout.model in mended):
            since = _since(rollout)
            found.append(Attention(rollout.model, rollout.id, need, rollout.sentence, since))
    order = (Need.PERSON, Need.WAITING, Need.DECISION, Need.WENT_BACK)
    return tuple(sorted(found, key=lambda a: (order.index(a.need), a.model)))


def mended(rollout: Rollout, stable: str, seen: TrafficObservation | None, observed_at: float | None) -> bool:
    """Return whether a fault that a rollout left is repaired: every backend serves `stable` and loads nothing."""
    if seen is None or observed_at is None or rollout.finished_at is None or observed_at <= rollout.finished_at:
        return False
    return bool(seen.backends) and all(
        serves(b, stable) and VersionState.LOADING not in b.versions.values() for b in seen.backends
    )


def _need(rollout: Rollout, now: float) -> Need | None:
    if not rollout.finished:
        return _running_need(rollout, now)
    if rollout.needs_person:
        return Need.PERSON
    told = rollout.finished_at is not None and now - rollout.finished_at > TOLD_S
    return None if rollout.ok or rollout.wished or told else Need.WENT_BACK


def _running_need(rollout: Rollout, now: float) -> Need | None:
    if rollout.standing or stuck(rollout, now):
        return Need.WAITING
    asked = question(rollout)
    if asked is not None:
        return Need.DECISION if asked.kind is WaitKind.APPROVAL else Need.WAITING
    return None if pause_of(rollout.wishes) is None else Need.DECISION


def _since(rollout: Rollout) -> float:
    """Return the time since which the rollout needs attention, in unix seconds."""
    if rollout.finished_at is not None:
        return rollout.finished_at
    paused = pause_of(rollout.wishes)
    if paused is not None:
        return paused.at
    return rollout.phase_at if question(rollout) is None or rollout.held_since is None else rollout.held_since
