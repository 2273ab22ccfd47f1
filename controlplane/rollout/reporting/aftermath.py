"""Cause, consequence and next step of a rollout that did not succeed. Pure."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.rollout.model import Phase, Rollout, RolloutKind


class Aftermath(NamedTuple):
    """Three sentences about a rollout that failed or went back."""

    cause: str
    consequence: str
    next: str


def aftermath(rollout: Rollout, quarantined: bool) -> Aftermath | None:
    """Return what follows from a rollout that has ended badly; None for a running rollout and for a success.

    `quarantined`: the candidate is in quarantine now.
    """
    if not rollout.finished or rollout.ok:
        return None
    cause = rollout.reason or rollout.sentence
    return Aftermath(cause, _consequence(rollout, quarantined), _next(rollout, quarantined))


def _consequence(rollout: Rollout, quarantined: bool) -> str:
    model, old, new = rollout.model, rollout.plan.from_version, rollout.plan.to_version
    if rollout.needs_person:
        # The sentence says what is known about the engines; it begins with the cause.
        return rollout.sentence.removeprefix(f"{rollout.reason}. ") or rollout.sentence
    if rollout.phase is Phase.ROLLED_BACK:
        kept = f"; {new} is in quarantine and cannot be promoted" if quarantined else ""
        return f"{old} serves {model} again{kept}"
    return f"No client request of {model} reached {new}; {old} serves as before"


def _next(rollout: Rollout, quarantined: bool) -> str:
    model, new = rollout.model, rollout.plan.to_version
    if rollout.needs_person:
        return f"Repair what the sentence names. `cp status` shows what serves; `cp rollback {model}` goes back"
    if rollout.plan.kind is RolloutKind.ROLLBACK:
        return f"`cp rollback {model}` tries again"
    if rollout.wished and not quarantined:
        return f"`cp rollouts retry {rollout.id}` starts it again"
    mend = f"Mend {new} or promote another version"
    if quarantined:
        return f"{mend}. If {new} is not the cause: `cp quarantine lift {model} {new} --reason TEXT`"
    return f"{mend}, then `cp rollouts retry {rollout.id}`"
