"""Rules for operators' wishes: the states of a rollout in which each one is possible. Pure.

Each function returns the wish to store, or None where a repeated request changes nothing. Each raises Conflict with the
reason and the cure in a state where the wish is not possible, and Forbidden for a person who may not make it.
"""

from __future__ import annotations

from dataclasses import replace

from controlplane.errors import Conflict, Forbidden
from controlplane.rollout.model import Phase, Rollout, RolloutKind, Step, StepKind
from controlplane.rollout.options import Approval
from controlplane.rollout.steps import share_of
from controlplane.rollout.wishes import PAUSED, TIME, WaitKind, Wish, WishVerb, full_of, includes, pause_of, resumed

_TIMED = (StepKind.PAUSE, StepKind.MIRROR, StepKind.TESTERS, StepKind.KEEP)
"""Steps whose time a `resume` ends."""


def pause(rollout: Rollout, actor: str, role: str, reason: str, now: float) -> Wish | None:
    """Return the wish to stop before the next step. Raises Conflict when no step is ahead, and for a rollback."""
    _running(rollout, WishVerb.PAUSE)
    if rollout.plan.kind is RolloutKind.ROLLBACK:
        raise Conflict(
            f"rollout {rollout.id} of model {rollout.model} is a rollback to {rollout.plan.to_version} and cannot be "
            f"paused; `cp rollouts abort {rollout.id}` ends it"
        )
    if pause_of(rollout.wishes) is not None:
        return None
    if _step(rollout).kind is StepKind.RETIRE:
        raise Conflict(
            f"rollout {rollout.id} cannot be paused: {rollout.plan.to_version} is the stable version of "
            f"{rollout.model}, and {rollout.plan.from_version} is being unloaded"
        )
    return _wish(rollout, WishVerb.PAUSE, actor, role, reason, now)


def resume(rollout: Rollout, actor: str, role: str, reason: str, now: float) -> Wish | None:
    """Return the wish to end a pause: an operator's, one of a hook or of missing data, or a timed one.

    Raises Conflict when nothing is paused.
    """
    _running(rollout, WishVerb.RESUME)
    paused = pause_of(rollout.wishes) is not None
    ends = PAUSED if paused else _resumable(rollout)
    if not paused and (ends == PAUSED or resumed(rollout.wishes, rollout.step, ends) is not None):
        return None  # a repeated request: the machine has not read the first one yet
    if ends:
        return replace(_wish(rollout, WishVerb.RESUME, actor, role, reason, now), ends=ends)
    last = next((w for w in reversed(rollout.wishes) if w.verb is not WishVerb.APPROVE), None)
    if last is not None and last.verb is WishVerb.RESUME:
        return None  # a repeated request: the wait that it ended is over
    raise Conflict(f"rollout {rollout.id} is not paused, so nothing can be resumed: {rollout.sentence}")


def _resumable(rollout: Rollout) -> str:
    """Return the name of the wait that a `resume` would end now, or ""."""
    if rollout.wait is not None and rollout.wait.kind is WaitKind.OPERATOR:
        return rollout.wait.name
    return TIME if _step(rollout).kind in _TIMED else ""


def approve(
    rollout: Rollout, actor: str, role: str, reason: str, now: float, *, only: int | None = None
) -> Wish | None:
    """Return the approval of the step that the rollout waits for. `only` is the index of the step that is meant.

    Raises Conflict when it waits for none, or is not at the step that is meant, and Forbidden for a person who may not
    approve.
    """
    _running(rollout, WishVerb.APPROVE)
    step = _step(rollout)
    given = [w for w in rollout.wishes if w.verb is WishVerb.APPROVE and w.actor == actor]
    if only is not None and only != rollout.step:
        if any(wish.step == only for wish in given):
            return None  # a repeated request: the rollout has gone on
        raise Conflict(
            f"rollout {rollout.id} is not at step {only + 1} any more, for which this approval was: {rollout.sentence}"
        )
    if any(wish.step == rollout.step for wish in given):
        return None
    if step.kind is not StepKind.APPROVE and not step.until_approved:
        if given and given[-1].step == _last_gate(rollout):
            return None  # a repeated request: the step that it approved is done
        raise Conflict(f"rollout {rollout.id} waits for no approval now: {rollout.sentence}")
    if step.kind is StepKind.APPROVE:
        _may_approve(rollout, step, actor, role)
    return _wish(rollout, WishVerb.APPROVE, actor, role, reason, now)


def full(rollout: Rollout, actor: str, role: str, reason: str, now: float) -> Wish | None:
    """Return the wish to give the candidate every request at once. Raises Conflict when no share is ahead."""
    _running(rollout, WishVerb.FULL)
    if full_of(rollout.wishes) is not None:
        return None
    plan = rollout.plan
    ahead = range(rollout.step, len(plan.steps))
    partial = any(plan.steps[n].kind is StepKind.SHIFT and plan.steps[n].weight == 1.0 for n in ahead)
    if rollout.switched or not partial or share_of(rollout) == 1.0:
        raise Conflict(f"rollout {rollout.id} has no share ahead that could be skipped: {rollout.sentence}")
    return _wish(rollout, WishVerb.FULL, actor, role, reason, now)


def _running(rollout: Rollout, verb: WishVerb) -> None:
    """Raise Conflict unless the rollout goes forward."""
    if rollout.finished or rollout.ending is not None:
        raise Conflict(
            f"rollout {rollout.id} of model {rollout.model} has ended ({rollout.ending or rollout.phase}: "
            f"{rollout.sentence}); there is nothing to {verb}"
        )
    if rollout.turn_back or rollout.phase is Phase.ROLLING_BACK:
        raise Conflict(
            f"rollout {rollout.id} of model {rollout.model} goes back to {rollout.plan.from_version}; a rollback "
            f"cannot be steered: {rollout.sentence}"
        )


def _may_approve(rollout: Rollout, step: Step, actor: str, role: str) -> None:
    """Raise Forbidden for the person who started the rollout, and for a role that no approval asks for."""
    if actor == rollout.created_by:
        raise Forbidden(f"{actor} started rollout {rollout.id} and cannot approve it; another person must")
    wanted: list[Approval] = [each for each in rollout.plan.options.approvals if each.at is step.moment]
    if not any(includes(role, each.role) for each in wanted):
        roles = " or ".join(sorted({each.role for each in wanted}))
        raise Forbidden(f"rollout {rollout.id} waits for approvals by role {roles}, and {actor} has role {role}")


def _last_gate(rollout: Rollout) -> int:
    """Return the index of the latest step before the current one that waited for an approval, or -1."""
    before = enumerate(rollout.plan.steps[: rollout.step])
    return max((n for n, step in before if step.kind is StepKind.APPROVE or step.until_approved), default=-1)


def _step(rollout: Rollout) -> Step:
    return rollout.plan.steps[rollout.step]


def _wish(rollout: Rollout, verb: WishVerb, actor: str, role: str, reason: str, now: float) -> Wish:
    return Wish(verb, actor, role, now, rollout.step, reason)
