"""Facts that earlier rollouts of a model say about the next one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from controlplane.rollout.model import Rollout, StepKind


def loads_of(rollouts: Sequence[Rollout]) -> list[float]:
    """Return the seconds that each earlier load of a candidate took on one backend, as far as they were recorded.

    Rollouts of earlier releases have no times of their steps.
    """
    found = []
    for rollout in rollouts:
        steps = rollout.plan.steps
        for number, (entered, left) in enumerate(pairwise(rollout.steps_at)):
            if number < len(steps) and steps[number].kind is StepKind.BRING_UP:
                one_by_one = 1 if steps[number].at_once else max(1, len(rollout.plan.backends))
                found.append((left - entered) / one_by_one)
    return found
