"""Looks at the candidate's numbers: when the next one is due, and what the findings count against it. Pure."""

from __future__ import annotations

from controlplane.rollout.copying import replace
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind, WorkState
from controlplane.rollout.model import Rollout
from controlplane.rollout.options import Metric
from controlplane.rollout.steps import is_judged

_COMPARED = frozenset(metric.value for metric in Metric)


def due(rollout: Rollout, now: float) -> tuple[Work, ...]:
    """Return the works that belong to no step and are wanted now: a look every `interval_s`, and synthetic requests.

    The first look comes one interval after the candidate's first request. A look that is out is returned again: it
    goes on, and begins anew after a crash.
    """
    analysis, began = rollout.plan.options.analysis, rollout.traffic_since
    if analysis is None or began is None or not is_judged(rollout):
        return ()
    latest = rollout.latest_work(WorkKind.LOOK)
    if latest is not None and latest.finding is None:
        return (latest.work, *_top_up(rollout))
    begins = (began if latest is None else latest.since) + analysis.interval_s
    number = 1 if latest is None else latest.work.number + 1
    look = (Work(WorkKind.LOOK, rollout.step, number=number),) if now >= begins else ()
    return (*look, *_top_up(rollout))


def _top_up(rollout: Rollout) -> tuple[Work, ...]:
    """Return the work that sends synthetic requests, where the latest look misses requests."""
    top_up, look = rollout.plan.options.top_up, rollout.latest_work(WorkKind.LOOK)
    if top_up is None:
        return ()
    latest = rollout.latest_work(WorkKind.TOP_UP)
    if latest is not None and latest.finding is None:
        return (latest.work,)
    missing = look is not None and look.finding is not None and look.finding.outcome is Outcome.NOT_ENOUGH
    if not missing or look is None or (latest is not None and look.since <= latest.since):
        return ()
    return (Work(WorkKind.TOP_UP, rollout.step, number=1 if latest is None else latest.work.number + 1),)


def against(rollout: Rollout) -> str:
    """Return why the looks speak against the candidate; "" while they do not.

    A failed comparison does at once, as its false alarms are bounded over all looks. Failed thresholds are counted.
    """
    analysis, look = rollout.plan.options.analysis, rollout.latest_work(WorkKind.LOOK)
    if analysis is None or look is None or look.finding is None or look.finding.outcome is not Outcome.FAIL:
        return ""
    reasons = "; ".join(look.finding.reasons) or "a look failed"
    if not by_threshold(look.finding):
        return f"{rollout.plan.to_version} is worse than {rollout.plan.from_version}: {reasons}"
    if rollout.looks_failed > analysis.failures:
        times = f" ({rollout.looks_failed} looks failed)" if rollout.looks_failed > 1 else ""
        return f"{rollout.plan.to_version} does not hold its limits: {reasons}{times}"
    return ""


def by_threshold(finding: Finding) -> bool:
    """Return whether only thresholds failed, and no comparison with the stable version."""
    failed = (sample for sample in finding.samples if sample.outcome is Outcome.FAIL and not sample.dry_run)
    return not any(sample.metric in _COMPARED for sample in failed)


def noted(rollout: Rollout, work: Work, finding: Finding, at: float) -> Rollout:
    """Return the rollout with the finding of a work that is out. A work that nobody waits for changes nothing."""
    state = rollout.work(work)
    if state is None or state.finding is not None:
        return rollout
    fresh = replace(state, finding=finding, at=at)
    works = tuple(fresh if each is state else each for each in rollout.works)
    failed = work.kind is WorkKind.LOOK and finding.outcome is Outcome.FAIL and by_threshold(finding)
    passed = work.kind is WorkKind.FILES and finding.outcome is Outcome.PASS
    digest = rollout.digest or (finding.carry if passed else "")
    return replace(rollout, works=works, looks_failed=rollout.looks_failed + failed, digest=digest)


def begun(works: tuple[WorkState, ...], wanted: tuple[Work, ...], now: float) -> tuple[WorkState, ...]:
    """Return the works with those that are wanted now. A newer work replaces that of the same kind and name."""
    for work in wanted:
        if any(state.work == work for state in works):
            continue
        others = (state for state in works if (state.work.kind, state.work.name) != (work.kind, work.name))
        works = (*others, WorkState(work, now))
    return works
