"""Functions that the handlers of steps share: they build decisions, and conclude from orders. Pure."""

from __future__ import annotations

from controlplane.rollout.copying import replace
from controlplane.rollout.model import Decision, Phase, Plan, Rollout, StepKind
from controlplane.rollout.orders import Intent, Order, OrderOutcome, Verb
from controlplane.traffic.driver import BackendObservation, VersionState

SAME_SHARE = 0.0005
"""Shares that differ by less are equal: drivers set thousandths."""
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
    """Return since when the backend's state is unknown, in unix seconds. `now` when it is known or has just stopped."""
    known = not unknown(backend, rollout.plan.to_version)
    return now if known or rollout.silent_since is None else rollout.silent_since


def serves(backend: BackendObservation, version: str) -> bool:
    """Return whether the backend answers and unversioned requests to it reach `version`."""
    return carries(backend, version, 1.0)


def carries(backend: BackendObservation, version: str, share: float) -> bool:
    """Return whether `version` is ready on the backend, and is known to get this share of unversioned requests."""
    ready = backend.reachable and backend.versions.get(version) is VersionState.READY
    return ready and not backend.pending and abs(backend.weights.get(version, 0.0) - share) < SAME_SHARE


def unknown(backend: BackendObservation, version: str) -> str:
    """Return why nothing is known about `version` on the backend, or "" when it is known."""
    if not backend.reachable:
        return backend.error
    if backend.pending:
        return backend.pending
    lost = backend.versions.get(version) is VersionState.UNKNOWN
    return (backend.reasons.get(version) or "its state is unknown") if lost else ""


def share_at(plan: Plan, step: int) -> float:
    """Return the candidate's share of the requests during a step: that of the last step that set one."""
    shares = [each.weight for each in plan.steps[: step + 1] if each.weight is not None]
    return shares[-1] if shares else 1.0


def share_of(rollout: Rollout) -> float:
    """Return the candidate's share of the requests that the current step sets, or that was ordered last.

    It may differ from `share_at`: an operator's `full` skips steps.
    """
    plan, version = rollout.plan, rollout.plan.to_version
    if (weight := plan.steps[rollout.step].weight) is not None:
        return weight
    placed = (intent for url in plan.backends if (intent := rollout.latest(Verb.PLACE, url)) is not None)
    share = next((intent.order.share for intent in placed if intent.order.serve == version), None)
    return share_at(plan, rollout.step) if share is None else share


def mirrors(rollout: Rollout) -> bool:
    """Return whether a step up to the current one sends copies of requests to the candidate."""
    return any(step.mirror > 0.0 for step in rollout.plan.steps[: rollout.step + 1])


def phase_of(share: float) -> Phase:
    """Return the phase in which the candidate has a share of the requests."""
    return Phase.VERIFYING if share == 1.0 else Phase.SWITCHING if share > 0.0 else Phase.PREPARING


def is_judged(rollout: Rollout) -> bool:
    """Return whether the candidate may still be rejected: until it is the stable version, or its window is over."""
    if rollout.ending is not None:
        return False
    if rollout.phase is not Phase.DRAINING:
        return rollout.phase in (Phase.PREPARING, Phase.SWITCHING, Phase.VERIFYING)
    kinds = [step.kind for step in rollout.plan.steps]
    return StepKind.KEEP in kinds and rollout.step < kinds.index(StepKind.RETIRE)


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
        counted=rollout.counted,
        needs_person=rollout.needs_person,
        held_since=rollout.held_since,
        traffic_since=rollout.traffic_since,
        weight_since=rollout.weight_since,
        ending=rollout.ending,
    )


def end(rollout: Rollout, phase: Phase, sentence: str, *orders: Order) -> Decision:
    """Return a decision of a rollback: the candidate is not the stable version."""
    return replace(at(rollout, phase, sentence, *orders), switched=False)
