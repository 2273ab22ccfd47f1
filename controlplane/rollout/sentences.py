"""What the history of a rollout says of engines, in words. Pure."""

from __future__ import annotations

from controlplane.rollout.model import Intent, OrderOutcome, Rollout
from controlplane.traffic.driver import BackendObservation, VersionState


def no_effect(intent: Intent, backend: BackendObservation, version: str) -> str:
    """Say that an order had no effect, however often it was given."""
    if intent.outcome is OrderOutcome.LOST:
        lost = f"{backend.url} did not reply to {intent.attempt} load orders ({intent.detail})"
        return f"{lost}; now {says(backend, version)}"
    return (
        f"{backend.url} answered 200 to {intent.attempt} load orders but {says(backend, version)}: the version's "
        "directory may be missing there, or something else unloads it"
    )


def why_again(intent: Intent, backend: BackendObservation, version: str) -> str:
    """Say why an order is given again."""
    why = {
        OrderOutcome.TAKEN: "the order was answered 200",
        OrderOutcome.LOST: f"the reply was lost ({intent.detail})",
        OrderOutcome.REFUSED: f"it was refused ({intent.detail})",
    }.get(intent.outcome, "the control plane was stopped")
    return f"{why}, and {says(backend, version)}"


def says(backend: BackendObservation, version: str) -> str:
    """What the engine says of a version, in words."""
    if not backend.reachable:
        return f"it does not answer ({backend.error})"
    state = backend.versions.get(version)
    if state is VersionState.READY and backend.serving != version:
        return f"{version} is ready but {backend.served} gets the traffic"
    reason = backend.reasons.get(version)
    return f"{version} is {state.value if state else 'not loaded'}{f' ({reason})' if reason else ''}"


def count(backends: list[BackendObservation]) -> str:
    """Name one backend, or count several."""
    return backends[0].url if len(backends) == 1 else f"all {len(backends)} backends"


def judged(rollout: Rollout) -> str:
    """Say what is known of a candidate that stayed."""
    version, why = rollout.plan.to_version, f" ({rollout.evidence})" if rollout.evidence else ""
    return f"{version} serves and is verified{why}" if rollout.verified else f"{version} is loaded, not tried{why}"


def untried(rollout: Rollout) -> str:
    """Return what the last sentence of a rollout adds when nothing tried the candidate."""
    return "" if rollout.verified else f"; {rollout.plan.to_version} is loaded, not tried"
