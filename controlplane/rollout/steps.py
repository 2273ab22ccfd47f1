"""What the steps of a rollout share: shapes of decisions, and what may be concluded from orders. Pure."""

from __future__ import annotations

from dataclasses import replace

from controlplane.rollout.model import Decision, Intent, Order, OrderOutcome, Phase, Rollout, Verb
from controlplane.traffic.driver import BackendObservation, VersionState

MAX_ATTEMPTS = 3
"""An order that was answered, or whose reply was lost, this often without any effect is given up."""


def must_commit(rollout: Rollout, commit: Order) -> bool:
    """No observation confirms a commit, so only an answer ends it; it is given up after MAX_ATTEMPTS without one."""
    intent = rollout.intent(commit)
    if intent is None:
        return True
    return intent.outcome in (OrderOutcome.LOST, OrderOutcome.INTERRUPTED) and intent.attempt < MAX_ATTEMPTS


def commit_is_out(rollout: Rollout) -> bool:
    """Say whether the answer to the latest commit is still out."""
    latest = rollout.latest(Verb.COMMIT)
    return latest is not None and latest.outcome is OrderOutcome.ORDERED


def commit_warning(rollout: Rollout, version: str) -> str:
    """Return what the latest commit leaves open, to be put at the end of a sentence; "" when nothing."""
    latest = rollout.latest(Verb.COMMIT)
    if latest is None or latest.outcome is OrderOutcome.TAKEN:
        return ""
    unknown = f"whether {version} survives a restart of the engine is unknown"
    return f"; warning: {latest.detail or unknown}"


def silent_since(rollout: Rollout, backend: BackendObservation, now: float) -> float:
    """When the backend that is waited for was first seen not to answer; now, when it does or has just stopped."""
    return now if backend.reachable or rollout.silent_since is None else rollout.silent_since


def serves(backend: BackendObservation, version: str) -> bool:
    """Say whether unversioned requests reach `version` on this backend, as far as it answers."""
    return backend.reachable and backend.serving == version and backend.versions.get(version) is VersionState.READY


def given_up(intent: Intent) -> bool:
    """Say whether an order has been repeated often enough."""
    return intent.attempt >= MAX_ATTEMPTS and intent.outcome not in (OrderOutcome.ORDERED, OrderOutcome.INTERRUPTED)


def at(rollout: Rollout, phase: Phase, sentence: str, *orders: Order) -> Decision:
    """Return a decision that leaves everything but phase and sentence as it is."""
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
    """Return a decision of going back: the candidate is not the stable version."""
    return replace(at(rollout, phase, sentence, *orders), switched=False)
