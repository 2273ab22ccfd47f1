"""Handlers of steps, one for each kind: from the situation to a decision, or to the rollout after the step. Pure.

Strategies are lists of these kinds. A new kind needs a handler here; the state machine (decide.py) stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from controlplane.rollout.handlers import asking, finishing, loading, moving, times, works
from controlplane.rollout.handlers.situation import Handler
from controlplane.rollout.model import StepKind

HANDLERS: Mapping[StepKind, Handler] = MappingProxyType(
    {
        StepKind.HOOK: works.call_hooks,
        StepKind.CHECK: works.check_list,
        StepKind.FILES: works.check_files,
        StepKind.APPROVE: times.approve,
        StepKind.BRING_UP: loading.bring_up,
        StepKind.ASK: asking.ask_all,
        StepKind.WARM: works.warm,
        StepKind.GOLDEN: works.ask_golden,
        StepKind.MIRROR: moving.mirror,
        StepKind.TESTERS: moving.testers,
        StepKind.SHIFT: moving.shift,
        StepKind.PAUSE: times.pause,
        StepKind.ANALYSE: times.analyse,
        StepKind.WATCH: times.watch,
        StepKind.COMMIT: finishing.commit,
        StepKind.KEEP: times.keep,
        StepKind.RETIRE: finishing.retire,
    }
)
"""Handlers by kind of step."""
