"""Functions that the handlers of steps share: they build decisions, and conclude from orders. Pure."""

from __future__ import annotations

from dataclasses import replace

from controlplane.rollout.model import Decision, Intent, Order, OrderOutcome, Phase, Rollout, Verb
from controlplane.traffic.driver import BackendObservation, VersionState

MAX_ATTEMPTS = 3
"""Attempts of an order. After this many replies, or lost replies, without effect the order is given up. Chosen."""


def must_commit(rollout: Rollout, commit: Order) -> bool:
    """Return whether to order the commit (again). Only a reply confirms it; it is given up after MAX_ATTEMPTS."""
    intent = rollout.intent(commit)
    if intent is None:
        return True
    return intent.outcome in (OrderOutcome.LOST, OrderOutcome.INTERRUPTED) and intent.attempt < MAX_ATTEMPTS


def commit_is_out(rollout: Rollout) -> bool:
    """Return whether the reply to the latest commit is still out."""
    latest = rollout.latest(Verb.COMMIT)
    return latest is not None and latest.outcome is OrderOutcome.ORDERED


def commit_warning(rollout: Rollout, version: str) -> str:
    """Return a warning for the end of a sentence where the latest commit did not succeed, else ""."""
    latest = rollout.latest(Verb.COMMIT)
    if latest is None or latest.outcome is OrderOutcome.TAKEN:
        return ""
    unknown = f"whether {version} survives a restart of the engine is unknown"
    return f"; warning: {latest.detail or unknown}"


def silent_since(rollout: Rollout, backend: BackendObservation, now: float) -> float:
    """Return since when the backend has not answered, in unix seconds. `now` when it answers or has just stopped."""
    return now if backend.reachable or rollout.silent_since is None else rollout.silent_since


def serves(backend: BackendObservation, version: str) -> bool:
    """Return whether the backend answers and unversioned requests to it reach `version`."""
    return backend.reachable and backend.serving == version and backend.versions.get(version) is VersionState.READY


def given_up(intent: Intent) -> bool:
    """Return whether the order has used all its attempts."""
    return intent.attempt >= MAX_ATTEMPTS and intent.outcome not in (OrderOutcome.ORDERED, OrderOutcome.INTERRUPTED)


def at(rollout: Rollout, phase: Phase, sentence: str, *orders: Order) -> Decision:
    """Return a decision that changes only phase, sentence and orders."""
    return Decision(
        phase,
        sentence,
        orders,
        step=rollout.step,
        reason=rollout.reason,
        moved=rollout.moved,
        switched=rollout.switched,
        verified=rollout.verified,
        evidence=rollout.evidence,
        needs_person=rollout.needs_person,
    )


def end(rollout: Rollout, phase: Phase, sentence: str, *orders: Order) -> Decision:
    """Return a decision of a rollback: the candidate is not the stable version."""
    return replace(at(rollout, phase, sentence, *orders), switched=False)
