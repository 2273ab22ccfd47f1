"""Strategies as data: each is a list of steps. The state machine does not depend on the strategy. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from controlplane.rollout.model import Check, Gate, Phase, RolloutLimits, Step, StepKind
from controlplane.rollout.orders import Verb


@dataclass(frozen=True)
class Strategy:
    """One way of moving traffic."""

    name: str
    steps: Callable[[RolloutLimits, Check, bool], tuple[Step, ...]] | None
    """Returns the steps for deadlines, a check, and whether the driver can have the candidate ready without requests.
    None: no driver of this release can carry the strategy out."""
    weights: bool = False
    """Whether the strategy needs a driver that can split traffic by weight."""


def blue_green(limits: RolloutLimits, check: Check, apart: bool = False) -> tuple[Step, ...]:
    """Return the steps of a switch: all traffic moves once the candidate is ready, with the old version beside it.

    `apart`: the candidate can be ready without requests, so it is asked before it gets any.
    """
    shift = (Step(StepKind.SHIFT, verb=Verb.PLACE, weight=1.0, within_s=limits.load_s),) if apart else ()
    return (
        Step(StepKind.BRING_UP, verb=Verb.PLACE, weight=0.0 if apart else 1.0, within_s=limits.load_s),
        Step(StepKind.ASK, gate=Gate.QUESTIONS),
        *shift,
        Step(StepKind.WATCH, hold_s=limits.verify_s, gate=Gate.EVIDENCE),
        Step(StepKind.COMMIT, verb=Verb.COMMIT),
        Step(StepKind.RETIRE, verb=Verb.PLACE, within_s=limits.drain_s),
    )


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "blue-green": Strategy("blue-green", blue_green),
        "canary": Strategy("canary", None, weights=True),
    }
)
"""Strategies by name."""

_FIRST = {Phase.VERIFYING: StepKind.ASK, Phase.DRAINING: StepKind.COMMIT}


def step_of(phase: Phase, steps: Sequence[Step]) -> int:
    """Return the index of the first step of `phase`. Needed for rollouts that were stored without a step."""
    wanted = _FIRST.get(phase, StepKind.BRING_UP)
    return next((number for number, step in enumerate(steps) if step.kind is wanted), 0)
