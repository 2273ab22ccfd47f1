"""Views of rollouts and plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from controlplane.fleet.rollout_views import (
    AftermathView,
    FindingView,
    PlanView,
    ProgressView,
    QuarantineView,
    RolloutEventView,
    RolloutView,
    SampleView,
    StepView,
    WayBackView,
    WishView,
)
from controlplane.fleet.view import finite, instant, rfc3339
from controlplane.fleet.views import AttentionView
from controlplane.rollout.attention import Attention
from controlplane.rollout.findings import Sample, WorkState
from controlplane.rollout.model import Plan, Rollout
from controlplane.rollout.reporting.aftermath import aftermath
from controlplane.rollout.reporting.progress import (
    NO_PAST,
    Past,
    Progress,
    plan_time,
    progress,
    way_back,
    way_back_later,
)
from controlplane.rollout.reporting.words import work_words
from controlplane.rollout.stored.recorded import RecordedRollout
from controlplane.rollout.words.step_words import step_sentences
from controlplane.store.rollout_rows.quarantines import Quarantine
from controlplane.traffic.driver import TrafficObservation


def rollout_view(rollout: Rollout) -> RolloutView:
    """Return the view of one rollout in a list."""
    plan, wait = rollout.plan, rollout.wait
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
        digest=rollout.digest or None,
        notes=rollout.notes,
        waits_for="" if wait is None or rollout.finished else wait.kind.value,
    )


def whole_rollout_view(
    recorded: RecordedRollout, seen: TrafficObservation | None, past: Past, quarantined: bool, now: float
) -> RolloutView:
    """Return the view of one rollout with its history, progress, weights and latest findings.

    `seen` is the last observation of its model, `past` the durations of earlier steps, `quarantined` whether its
    candidate is in quarantine, `now` in unix seconds.
    """
    rollout = recorded.rollout
    events = tuple(RolloutEventView(at=instant(e.at), phase=e.phase, sentence=e.sentence) for e in recorded.events)
    after = aftermath(rollout, quarantined)
    latest = sorted(rollout.works, key=lambda state: state.since)
    return rollout_view(rollout).model_copy(
        update={
            "events": events,
            "progress": _progress_view(progress(rollout, seen, past, now)) if rollout.plan.steps else None,
            "weights": None if rollout.finished else _weights(seen),
            "aftermath": AftermathView(**after._asdict()) if after else None,
            "findings": tuple(map(finding_view, latest)),
            "wishes": tuple(
                WishView(**{**asdict(w), "verb": w.verb.value, "at": instant(w.at), "step": w.step + 1})
                for w in rollout.wishes
            ),
        }
    )


def _progress_view(found: Progress) -> ProgressView:
    steps = (
        StepView(
            number=step.number,
            kind=step.kind,
            words=step.words,
            state=step.state.value,
            since=rfc3339(step.since),
            until=rfc3339(step.until),
            fraction=step.fraction,
            left_seconds=step.left_s,
            left=step.left,
        )
        for step in found.steps
    )
    return ProgressView(
        fraction=found.fraction,
        left_seconds=found.left_s,
        left=found.left,
        waits_for=found.waits_for,
        waits_until=rfc3339(found.waits_until),
        next=found.next,
        steps=tuple(steps),
        rollback=WayBackView(words=found.rollback.words, seconds=found.rollback.seconds),
    )


def _weights(seen: TrafficObservation | None) -> dict[str, float] | None:
    """Return the mean shares of the backends; None unless every backend answered and its shares are known to hold."""
    backends = seen.backends if seen else ()
    if not backends or any(not b.reachable or b.pending for b in backends):
        return None
    versions = dict.fromkeys(version for backend in backends for version in backend.weights)
    return {v: sum(b.weights.get(v, 0.0) for b in backends) / len(backends) for v in versions}


def finding_view(state: WorkState) -> FindingView:
    """Return the view of one work and its finding."""
    work, finding = state.work, state.finding
    shown = FindingView(
        kind=work.kind.value,
        name=work.name,
        words=work_words(work),
        step=work.step + 1,
        number=work.number,
        since=instant(state.since),
        at=rfc3339(state.at),
        outcome=None,
    )
    if finding is None:
        return shown
    return shown.model_copy(
        update={
            "outcome": finding.outcome.value,
            "reasons": finding.reasons,
            "samples": tuple(map(_sample_view, finding.samples)),
            "more_requests": finding.more_requests,
            "enough_at": rfc3339(finding.enough_at),
        }
    )


def _sample_view(sample: Sample) -> SampleView:
    numbers: Mapping[str, float | None] = {
        name: finite(getattr(sample, name)) for name in ("candidate", "stable", "effect", "evidence", "fails_at")
    }
    return SampleView(
        metric=sample.metric,
        unit=sample.unit,
        candidate=numbers["candidate"],
        stable=numbers["stable"],
        candidate_requests=sample.candidate_requests,
        stable_requests=sample.stable_requests,
        effect=numbers["effect"],
        evidence=numbers["evidence"],
        fails_at=numbers["fails_at"],
        outcome=sample.outcome.value,
        words=sample.words,
        dry_run=sample.dry_run,
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


def quarantine_view(found: Quarantine) -> QuarantineView:
    """Return the view of one version in quarantine."""
    return QuarantineView(
        model=found.model,
        version=found.version,
        since=instant(found.since),
        rollout=found.rollout_id,
        reason=found.reason,
    )


def turning_back_view(rollout: Rollout, seen: TrafficObservation | None, past: Past) -> PlanView:
    """Return the rollback of a running rollout as a plan. `left` says how long it would take."""
    plan = rollout.plan
    return PlanView(
        model=plan.model,
        from_=plan.to_version,
        to=plan.from_version,
        strategy=plan.strategy,
        steps=(
            f"stop rollout {rollout.id} of {plan.model} to {plan.to_version}, which is {rollout.phase.value} now",
            f"send every request to {plan.from_version} again, and load it before that where it is not loaded",
            f"keep {plan.from_version} as the stable version",
            f"put {plan.to_version} in quarantine, once it got requests: only an admin can lift that",
        ),
        left=way_back(plan, seen, past).words,
    )


def plan_view(plan: Plan, seen: TrafficObservation | None = None, past: Past = NO_PAST) -> PlanView:
    """Return the view of a plan. `seen` is the last observation, `past` holds the durations of earlier steps."""
    return PlanView(
        model=plan.model,
        from_=plan.from_version,
        to=plan.to_version,
        strategy=plan.strategy,
        steps=step_sentences(plan),
        left=plan_time(plan, seen, past).words,
        rollback=way_back_later(plan, past),
        notes=(*plan.notes, *plan.known),
    )
