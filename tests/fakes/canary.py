"""A rollout by canary at any of its steps, for tests of what people are shown."""

from __future__ import annotations

from dataclasses import replace

from controlplane.rollout.model import Phase, Plan, Rollout, RolloutKind, RolloutLimits, Step, StepKind
from controlplane.rollout.options import Approval, Moment, Options
from controlplane.rollout.orders import Verb

A, B = "http://a:8000", "http://b:8000"
CANARY = (
    Step(StepKind.BRING_UP, verb=Verb.PLACE, weight=0.0, within_s=600.0),
    Step(StepKind.SHIFT, verb=Verb.PLACE, weight=0.05, within_s=600.0),
    Step(StepKind.ANALYSE, hold_s=600.0),
    Step(StepKind.APPROVE, moment=Moment.FULL),
    Step(StepKind.SHIFT, verb=Verb.PLACE, weight=1.0, within_s=600.0),
    Step(StepKind.WATCH, hold_s=60.0),
    Step(StepKind.COMMIT, verb=Verb.COMMIT),
    Step(StepKind.KEEP, hold_s=3600.0),
    Step(StepKind.RETIRE, verb=Verb.PLACE, within_s=300.0),
)
BRING_UP, FIRST_SHIFT, ANALYSE, APPROVE, SECOND_SHIFT, WATCH, COMMIT, KEEP, RETIRE = range(9)


def plan(*steps: Step, resident: bool = True, backends: tuple[str, ...] = (A,)) -> Plan:
    limits = RolloutLimits(load_s=600, drain_s=300, verify_s=60)
    options = Options(approvals=(Approval(Moment.FULL),))
    return Plan(
        *("chat", "v1", "v2", RolloutKind.PROMOTE, "canary", backends, resident, "{}", limits),
        *(steps or CANARY, ()),
        options=options,
    )


def at(step: int, *, phase: Phase = Phase.SWITCHING, entered: float = 100.0, **changes: object) -> Rollout:
    """A rollout whose step `step` began at `entered`; each step before it took ten seconds."""
    times = tuple(entered - 10.0 * (step - number) for number in range(step + 1))
    base = Rollout("r-1", plan(), phase, "so far", "ann", 0, 0, 100, step, steps_at=times, held_since=entered)
    return replace(base, **changes)  # type: ignore[arg-type]  # keyword arguments of any field
