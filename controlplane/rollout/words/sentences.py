"""Sentences about engines for the history of a rollout. Pure."""

from __future__ import annotations

from controlplane.rollout.model import Rollout
from controlplane.rollout.orders import Intent, OrderOutcome
from controlplane.traffic.driver import BackendObservation, VersionState


def because(words: str, reason: str) -> str:
    """Return words with an operator's reason, if there is one."""
    return f"{words}: {reason}" if reason else words


def no_effect(intent: Intent, backend: BackendObservation, version: str) -> str:
    """Return the sentence for a load order that had no effect after all its attempts."""
    if intent.outcome is OrderOutcome.LOST:
        lost = f"{backend.url} did not reply to {intent.attempt} load orders ({intent.detail})"
        return f"{lost}; now {says(backend, version)}"
    return (
        f"{backend.url} answered 200 to {intent.attempt} load orders but {says(backend, version)}: the version's "
        "directory may be missing there, or something else unloads it"
    )


def why_again(intent: Intent, backend: BackendObservation, version: str) -> str:
    """Return the reason for repeating an order."""
    why = {
        OrderOutcome.TAKEN: "the order was answered 200",
        OrderOutcome.LOST: f"the reply was lost ({intent.detail})",
        OrderOutcome.REFUSED: f"it was refused ({intent.detail})",
    }.get(intent.outcome, "the control plane was stopped")
    return f"{why}, and {says(backend, version)}"


def says(backend: BackendObservation, version: str) -> str:
    """Return the state of `version` on the backend, in words."""
    if not backend.reachable:
        return f"it does not answer ({backend.error})"
    if backend.pending:
        return backend.pending
    state = backend.versions.get(version)
    if state is VersionState.READY and backend.serving != version:
        return f"{version} is ready but {backend.served} gets the traffic"
    reason = backend.reasons.get(version)
    return f"{version} is {state.value if state else 'not loaded'}{f' ({reason})' if reason else ''}"


def count(backends: list[BackendObservation]) -> str:
    """Return the URL of a single backend, or "all N backends"."""
    return backends[0].url if len(backends) == 1 else f"all {len(backends)} backends"


def judged(rollout: Rollout) -> str:
    """Return whether the candidate that stays is verified, in words."""
    version, why = rollout.plan.to_version, f" ({rollout.evidence})" if rollout.evidence else ""
    return f"{version} serves and is verified{why}" if rollout.verified else f"{version} is loaded, not tried{why}"


def uncounted(rollout: Rollout) -> str:
    """Return the end of a sentence about the candidate's share: "" unless no request was counted on it."""
    return "; not confirmed by traffic, as no request was counted" if rollout.counted is False else ""


def untried(rollout: Rollout) -> str:
    """Return the end of a rollout's last sentence: "" for a verified candidate, else that nothing tried it."""
    return "" if rollout.verified else f"; {rollout.plan.to_version} is loaded, not tried"


def questions(count: int) -> str:
    """Return a number of questions in words."""
    return f"{count} question" if count == 1 else f"{count} questions"
