"""Views of rollouts and plans."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.fleet.views import AttentionView, PlanView, RolloutEventView, RolloutView, instant, rfc3339
from controlplane.rollout.attention import Attention
from controlplane.rollout.model import Plan, Rollout, RolloutEvent
from controlplane.rollout.step_words import step_sentences


def rollout_view(rollout: Rollout, events: Sequence[RolloutEvent] = ()) -> RolloutView:
    """Return the view of one rollout, with its history in `events` if it was read."""
    plan = rollout.plan
    return RolloutView(
        id=rollout.id,
        model=plan.model,
        from_=plan.from_version,
        to=plan.to_version,
        kind=plan.kind.value,
        strategy=plan.strategy,
        phase=rollout.phase.value,
        finished=rollout.finished,
        ok=rollout.ok,
        switched=rollout.switched,
        verified=rollout.verified if rollout.switched else None,
        evidence=rollout.evidence,
        wished=rollout.wished,
        needs_person=rollout.needs_person,
        sentence=rollout.sentence,
        created_at=instant(rollout.created_at),
        updated_at=instant(rollout.updated_at),
        finished_at=rfc3339(rollout.finished_at),
        created_by=rollout.created_by,
        notes=rollout.notes,
        events=tuple(RolloutEventView(at=instant(e.at), phase=e.phase, sentence=e.sentence) for e in events),
    )


def attention_view(found: Attention) -> AttentionView:
    """Return the view of one rollout that needs attention."""
    return AttentionView(
        model=found.model,
        rollout=found.rollout,
        need=found.need.value,
        sentence=found.sentence,
        since=instant(found.since),
    )


def plan_view(plan: Plan) -> PlanView:
    """Return the view of a plan."""
    return PlanView(
        model=plan.model,
        from_=plan.from_version,
        to=plan.to_version,
        strategy=plan.strategy,
        steps=step_sentences(plan),
        notes=(*plan.notes, *plan.known),
    )
