"""The actions of rollouts' buttons: approve, go back, details.

Each is safe to repeat: the service stores an approval once a person and step, and a request to go back once a rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from alerts.interfaces import Clock
from controlplane.access.roles import Role
from controlplane.errors import Conflict, NotFound
from controlplane.rollout.model import Rollout, RolloutKind
from controlplane.rollout.reporting.buttons import APPROVE, BACK, DETAILS
from controlplane.rollout.reporting.progress import EARLIER, Progress, StepState, durations, progress
from controlplane.rollout.reporting.reader import ModelStatus
from controlplane.rollout.reporting.words import waits_for
from controlplane.rollout.stored.recorded import RecordedRollout
from controlplane.slack.actions import VIA, Action, Person


class Rollouts(Protocol):
    """The part of the rollout service that clicks use. Raises NotFound, Conflict, Refused, Forbidden, Unavailable."""

    async def show(self, rollout_id: str) -> RecordedRollout:
        """Return one rollout with its events."""
        ...

    async def list(self, model: str | None, limit: int) -> Sequence[RecordedRollout]:
        """Return rollouts, newest first."""
        ...

    async def model(self, name: str) -> ModelStatus:
        """Return one model as last observed."""
        ...

    async def approve(self, rollout_id: str, *, actor: str, role: str, reason: str, only: int | None) -> Rollout:
        """Approve step `only` of a rollout."""
        ...

    async def abort(self, rollout_id: str, *, actor: str, reason: str) -> Rollout:
        """Roll a running rollout back that has not switched."""
        ...

    async def rollback(self, model: str, to: str | None, *, actor: str, role: str, reason: str) -> Rollout:
        """Go back to version `to`."""
        ...


class RolloutActions:
    """Carries out clicks on the buttons of rollouts' messages."""

    def __init__(self, rollouts: Rollouts, clock: Clock) -> None:
        self._rollouts, self._clock = rollouts, clock

    def actions(self) -> tuple[Action, ...]:
        """Return the actions."""
        return (
            Action(APPROVE, Role.OPERATOR, self._approve),
            Action(BACK, Role.OPERATOR, self._go_back),
            Action(DETAILS, Role.VIEWER, self._details),
        )

    async def _approve(self, person: Person, value: str) -> str:
        rollout_id, _, step = value.partition(" ")
        if not step.isdecimal() or len(step) > 6:
            raise NotFound("the button names no step of a rollout; the message is of another release")
        approved = await self._rollouts.approve(
            rollout_id, actor=person.name, role=person.role.value, reason=VIA, only=int(step)
        )
        return (
            f"Approved by you as {person.name}: {approved.model} to {approved.plan.to_version}, step {int(step) + 1}."
        )

    async def _go_back(self, person: Person, rollout_id: str) -> str:
        rollout = (await self._rollouts.show(rollout_id)).rollout
        model, old, new = rollout.model, rollout.plan.from_version, rollout.plan.to_version
        if rollout.finished:
            raise Conflict(f"rollout {rollout_id} of {model} has ended ({rollout.phase}): {rollout.sentence}")
        if rollout.plan.kind is RolloutKind.ROLLBACK:
            raise Conflict(f"rollout {rollout_id} of {model} is a rollback to {new} already")
        seen = await self._progress(rollout)
        if rollout.switched:
            # The version ties the request to this rollout: if it ends meanwhile, no later one goes back instead.
            await self._rollouts.rollback(model, old, actor=person.name, role=person.role.value, reason=VIA)
        else:
            await self._rollouts.abort(rollout_id, actor=person.name, reason=VIA)
        before = rollout.turn_back  # a repeated request changes nothing, and the first one counts
        why = f"It was asked for before: {before}." if before else f"Asked for by you as {person.name}."
        return f"{model} goes back from {new} to {old}. {why} {seen.rollback.words}."

    async def _details(self, person: Person, rollout_id: str) -> str:
        recorded = await self._rollouts.show(rollout_id)
        rollout = recorded.rollout
        plan, seen = rollout.plan, await self._progress(rollout)
        lines = [
            f"{rollout.id}: {plan.kind} {plan.model} {plan.from_version} -> {plan.to_version} ({plan.strategy}), asked "
            f"for by {rollout.created_by}",
            f"{rollout.phase}: {rollout.sentence}",
        ]
        if not rollout.finished:
            now_at = next((step for step in seen.steps if step.state is StepState.CURRENT), None)
            lines += [f"step {now_at.number} of {len(plan.steps)}: {now_at.words}"] if now_at else []
            lines += [f"time left: {seen.left}"] if seen.left else []
            waits = waits_for(rollout)
            lines += [f"waits for: {waits}"] if waits and waits not in rollout.sentence else []
            lines.append(f"a rollback now: {seen.rollback.words}")
        lines.append(f"more: cp rollouts show {rollout.id}")
        return "\n".join(lines)

    async def _progress(self, rollout: Rollout) -> Progress:
        try:
            observation = (await self._rollouts.model(rollout.model)).observation
            earlier = await self._rollouts.list(rollout.model, EARLIER)
        except NotFound:  # the model left fleet.yaml
            observation, earlier = None, ()
        return progress(rollout, observation, durations(e.rollout for e in earlier), self._clock.now())
