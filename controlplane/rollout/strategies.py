"""Strategies as data: each is a list of steps. The state machine does not depend on the strategy. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from controlplane.rollout.model import Check, Gate, Phase, RolloutKind, RolloutLimits, Step, StepKind
from controlplane.rollout.options import CanaryStep, CanaryStepKind, Moment, Options
from controlplane.rollout.orders import Verb
from controlplane.traffic.driver import Capabilities

RECREATE = "recreate"
"""Strategy of versions that do not fit beside each other: the old one is unloaded before the new one loads."""

DEFAULT_SHARES = (0.01, 0.05, 0.25, 0.5, 1.0)
"""Shares of a canary without steps of its own. Chosen: the first ones bound the harm, the later ones the duration."""


@dataclass(frozen=True)
class Setting:
    """All that the steps of a rollout depend on."""

    limits: RolloutLimits
    check: Check
    options: Options = Options()  # noqa: RUF009 - frozen
    resident: bool = True
    """Whether the old version stays loaded beside the candidate."""
    apart: bool = False
    """Whether the candidate can be ready without requests, so that it passes its gates before its first client."""


@dataclass(frozen=True)
class Strategy:
    """One way of moving traffic."""

    name: str
    make: Callable[[Setting], Iterator[Step]]
    keeps: bool = True
    """Whether the old version may stay loaded beside the candidate."""


def steps(strategy: str, setting: Setting, kind: RolloutKind = RolloutKind.PROMOTE) -> tuple[Step, ...]:
    """Return the steps of a rollout by a strategy of STRATEGIES.

    A rollback has no gates but its questions: nothing may hold up the way back to a version that has served.
    """
    if kind is RolloutKind.ROLLBACK:
        setting = Setting(setting.limits, setting.check, resident=setting.resident, apart=setting.apart)
    made = tuple(STRATEGIES[strategy].make(setting))
    return tuple(_with_files(made)) if setting.options.files else made


def _with_files(made: Sequence[Step]) -> Iterator[Step]:
    """Yield the steps with checks of the files: first of all, before a load, the first share, and every request."""
    yield Step(StepKind.FILES)
    first = True
    for number, step in enumerate(made):
        shifts = step.kind is StepKind.SHIFT and (first or step.weight == 1.0)
        if shifts or (step.kind is StepKind.BRING_UP and number > 0):
            yield Step(StepKind.FILES)
        first = first and step.kind is not StepKind.SHIFT
        yield step


def refusals(strategy: str, options: Options, capabilities: Capabilities) -> list[str]:
    """Return why a driver cannot carry a strategy out, each with its cure. Empty: it can."""
    why = f" ({capabilities.notes[0]})" if capabilities.notes else ""
    kinds = {step.kind for step in options.steps} if strategy == "canary" else set()
    found = []
    if strategy == "canary" and not (capabilities.weights and capabilities.prewarm):
        found.append(f"strategy canary needs weights, which this driver cannot set{why}; use blue-green")
    if CanaryStepKind.MIRROR in kinds and not capabilities.mirror:
        found.append("a step `mirror` needs copies of requests, which this driver cannot send; remove the step")
    if CanaryStepKind.TESTERS in kinds and not capabilities.testers:
        found.append("a step `testers` needs a choice by header, which this driver does not have; remove the step")
    if strategy == "blue-green" and capabilities.restarts:
        found.append(
            "strategy blue-green needs both versions loaded at a time, and servers of this driver restart to change "
            "their version; use rolling, or recreate with `--allow-downtime`"
        )
    if strategy == "rolling" and capabilities.weights:
        found.append("strategy rolling is for backends that change their version one by one; use blue-green or canary")
    return found


def blue_green(setting: Setting) -> Iterator[Step]:
    """Make the steps of a switch: all traffic moves once the candidate is ready, with the old version beside it."""
    limits = setting.limits
    yield from _before(setting.options)
    if not setting.apart:
        yield from _moment(setting.options, Moment.SWITCH)
        yield from _moment(setting.options, Moment.FULL)
    yield Step(StepKind.BRING_UP, verb=Verb.PLACE, weight=0.0 if setting.apart else 1.0, within_s=limits.load_s)
    yield from _gates(setting.options)
    if setting.apart:
        yield from _moment(setting.options, Moment.SWITCH)
        yield from _moment(setting.options, Moment.FULL)
        yield Step(StepKind.SHIFT, verb=Verb.PLACE, weight=1.0, within_s=limits.load_s)
    yield from _last_analysis(setting.options)
    yield from _after(setting)


def canary(setting: Setting) -> Iterator[Step]:
    """Make the steps of a switch by shares: those of the options, or DEFAULT_SHARES, and every request in the end."""
    limits, options = setting.limits, setting.options
    wished = options.steps or tuple(CanaryStep(CanaryStepKind.WEIGHT, share) for share in DEFAULT_SHARES)
    if not any(step.kind is CanaryStepKind.WEIGHT and step.share == 1.0 for step in wished):
        wished = (*wished, CanaryStep(CanaryStepKind.WEIGHT, 1.0))
    yield from _before(options)
    yield Step(StepKind.BRING_UP, verb=Verb.PLACE, weight=0.0, within_s=limits.load_s)
    yield from _gates(options)
    moment = Moment.SWITCH
    for step, following in zip(wished, (*wished[1:], None), strict=True):
        if step.kind is not CanaryStepKind.WEIGHT:
            yield _waiting(step, setting)
            continue
        yield from _moment(options, moment)
        moment = Moment.STEP
        if step.share == 1.0:
            yield from _moment(options, Moment.FULL)
        yield Step(StepKind.SHIFT, verb=Verb.PLACE, weight=step.share, within_s=limits.load_s)
        if following is None or following.kind is CanaryStepKind.WEIGHT:
            yield from _last_analysis(options)
            if step.share != 1.0 and options.analysis is None:
                yield Step(StepKind.WATCH, hold_s=limits.verify_s, gate=Gate.EVIDENCE)
    yield from _after(setting)


def rolling(setting: Setting) -> Iterator[Step]:
    """Make the steps of a switch of one backend after another, each with its gates. The others serve meanwhile."""
    options, limits = setting.options, setting.limits
    yield from _before(options)
    yield from _moment(options, Moment.SWITCH)
    yield from _moment(options, Moment.FULL)
    hold_s = options.analysis.interval_s if options.analysis else 0.0
    yield Step(StepKind.BRING_UP, verb=Verb.PLACE, weight=1.0, within_s=limits.load_s, hold_s=hold_s)
    yield from _gates(options)
    yield from _last_analysis(options)
    yield from _after(setting)


def recreate(setting: Setting) -> Iterator[Step]:
    """Make the steps of a switch of all backends at once. No version serves while they load."""
    options, limits = setting.options, setting.limits
    yield from _before(options)
    yield from _moment(options, Moment.SWITCH)
    yield from _moment(options, Moment.FULL)
    yield Step(StepKind.BRING_UP, verb=Verb.PLACE, weight=1.0, within_s=limits.load_s, at_once=True)
    yield from _gates(options)
    yield from _last_analysis(options)
    yield from _after(setting)


def _moment(options: Options, moment: Moment) -> Iterator[Step]:
    """Make the steps of a moment: its hooks, then its approvals."""
    if any(hook.at is moment for hook in options.hooks):
        yield Step(StepKind.HOOK, moment=moment)
    if any(approval.at is moment for approval in options.approvals):
        yield Step(StepKind.APPROVE, moment=moment)


def _before(options: Options) -> Iterator[Step]:
    if any(hook.at is Moment.START for hook in options.hooks):
        yield Step(StepKind.HOOK, moment=Moment.START)
    if options.checklist:
        yield Step(StepKind.CHECK)
    if any(approval.at is Moment.START for approval in options.approvals):
        yield Step(StepKind.APPROVE, moment=Moment.START)


def _gates(options: Options) -> Iterator[Step]:
    """Make the steps that the candidate must pass, where it can before its first client."""
    yield Step(StepKind.ASK, gate=Gate.QUESTIONS)
    if options.warm is not None:
        yield Step(StepKind.WARM)
    if options.golden is not None:
        yield Step(StepKind.GOLDEN)


def _waiting(step: CanaryStep, setting: Setting) -> Step:
    """Return the step of a canary that is no weight."""
    kind = {
        CanaryStepKind.MIRROR: StepKind.MIRROR,
        CanaryStepKind.TESTERS: StepKind.TESTERS,
        CanaryStepKind.PAUSE: StepKind.PAUSE,
        CanaryStepKind.ANALYSE: StepKind.ANALYSE,
    }[step.kind]
    if kind is StepKind.ANALYSE:
        return _analysis(setting.options, step.for_s, setting.limits)
    mirror = step.share or 0.0 if kind is StepKind.MIRROR else 0.0
    verb = Verb.PLACE if kind in (StepKind.MIRROR, StepKind.TESTERS) else None
    return Step(kind, verb=verb, hold_s=step.for_s or 0.0, mirror=mirror, until_approved=step.for_s is None)


def _analysis(options: Options, for_s: float | None, limits: RolloutLimits) -> Step:
    """Return the step that analyses for a time. Without an analysis the candidate is only watched."""
    if options.analysis is None:
        return Step(StepKind.WATCH, hold_s=for_s or limits.verify_s, gate=Gate.EVIDENCE)
    return Step(StepKind.ANALYSE, hold_s=for_s or options.analysis.interval_s)


def _last_analysis(options: Options) -> Iterator[Step]:
    if options.analysis is not None:
        yield Step(StepKind.ANALYSE, hold_s=options.analysis.interval_s)


def _after(setting: Setting) -> Iterator[Step]:
    """Make the steps after the candidate has got every request."""
    limits, options = setting.limits, setting.options
    yield Step(StepKind.WATCH, hold_s=limits.verify_s, gate=Gate.EVIDENCE)
    yield Step(StepKind.COMMIT, verb=Verb.COMMIT)
    if options.rollback_window_s and setting.resident:
        yield Step(StepKind.KEEP, hold_s=options.rollback_window_s)
    yield from _moment(options, Moment.RETIRE)
    yield Step(StepKind.RETIRE, verb=Verb.PLACE, within_s=limits.drain_s)


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "blue-green": Strategy("blue-green", blue_green),
        "canary": Strategy("canary", canary),
        "rolling": Strategy("rolling", rolling),
        RECREATE: Strategy(RECREATE, recreate, keeps=False),
    }
)
"""Strategies by name."""

_FIRST = {Phase.VERIFYING: StepKind.ASK, Phase.DRAINING: StepKind.COMMIT}


def step_of(phase: Phase, steps: Sequence[Step]) -> int:
    """Return the index of the first step of `phase`. Needed for rollouts that were stored without a step."""
    wanted = _FIRST.get(phase, StepKind.BRING_UP)
    return next((number for number, step in enumerate(steps) if step.kind is wanted), 0)
