"""The contract of workers: they do the slow work that a step asks for, and return a finding."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from controlplane.rollout.findings import Finding, Work, WorkKind
from controlplane.rollout.model import Plan, Rollout, StepKind


class Worker(Protocol):
    """Does one kind of work. It must bear repetition: after a crash an unfinished work begins again."""

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """Do `work` and return its finding.

        `since` is the time at which the work was first asked for, in unix seconds; a repetition gets the same time.
        `before` is the rollout's latest finding of the same kind and name, with its `carry`, or None.

        A fault of the world (no connection, no metrics) is a finding NOT_ENOUGH with the reason, or FAIL for a hook.
        The caller turns any other exception into NOT_ENOUGH. It cancels the call when nothing waits for the work.
        """
        ...


@runtime_checkable
class RunsOnce(Protocol):
    """A worker whose work is not repeated after a crash, because a repetition could exceed a limit."""

    def interrupted(self, rollout: Rollout, work: Work, before: Finding | None) -> Finding:
        """Return the finding of a work that a process which died may have begun. `before` is that of `run`."""
        ...


_OF_STEPS = {
    StepKind.CHECK: WorkKind.CHECK,
    StepKind.WARM: WorkKind.WARM,
    StepKind.GOLDEN: WorkKind.GOLDEN,
    StepKind.MIRROR: WorkKind.MIRRORED,
    StepKind.FILES: WorkKind.FILES,
}


def needed_works(plan: Plan) -> frozenset[WorkKind]:
    """Return the kinds of work that a plan needs."""
    options = plan.options
    beside = {WorkKind.HOOK: options.hooks, WorkKind.LOOK: options.analysis, WorkKind.TOP_UP: options.top_up}
    needed = {kind for kind, option in beside.items() if option}
    return frozenset(needed | {_OF_STEPS[step.kind] for step in plan.steps if step.kind in _OF_STEPS})
