"""Progress of a rollout: its steps with their times, the time that is left, and how long a rollback would take. Pure.

A time that is not known is None, and a sentence says why: an approval has no duration that a program could know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from controlplane.rollout.findings import Outcome, WorkKind
from controlplane.rollout.model import Phase, Plan, Rollout, Step, StepKind
from controlplane.rollout.reporting.words import waits_for
from controlplane.rollout.wishes import WaitKind, full_of
from controlplane.rollout.words.step_words import step_sentences
from controlplane.telling import lasting
from controlplane.traffic.driver import TrafficObservation, VersionState

EARLIER = 10
"""Rollouts of a model whose durations foresee the next one. Chosen."""
Past = Mapping[str, float]
"""Measured durations in seconds of earlier steps, by kind of step; of a load by `load` and the version."""
NO_PAST: Past = MappingProxyType({})
REAL_LOAD_S = 5.0
"""Seconds above which a step was a load for sure. A version that is still loaded is brought up in one or two ticks."""
UNKNOWN_S = 30.0
"""Weight in seconds of a load of unknown duration in the whole rollout's fraction. Chosen."""
LEAST_S = 1.0
"""Least weight in seconds of a step in the whole rollout's fraction: one tick. A wait for a person has no other."""
_HELD = (StepKind.PAUSE, StepKind.ANALYSE, StepKind.MIRROR, StepKind.TESTERS, StepKind.KEEP, StepKind.WATCH)
"""Kinds of steps that last for `hold_s`."""
_SKIPPED = (StepKind.PAUSE, StepKind.ANALYSE, StepKind.MIRROR, StepKind.TESTERS)
"""Kinds of steps that the wish `full` skips."""
_AFTER = (StepKind.KEEP, StepKind.RETIRE)
"""Kinds of steps after the switch. Clients notice nothing of them, so they are not part of the fraction."""


class StepState(StrEnum):
    """The state of one step."""

    DONE = "done"
    CURRENT = "current"
    AHEAD = "ahead"
    STOPPED = "stopped"
    """The step at which the rollout turned back, or ended in need of a person."""
    SKIPPED = "skipped"
    """A step that the rollout will not reach any more."""


class Left(NamedTuple):
    """Time that is left: the part that is known, in seconds, and the waits whose length is not known, in words."""

    seconds: float
    open: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The time as an operator reads it, without the word "left"."""
        if not self.open:
            return f"about {lasting(self.seconds)}" if self.seconds >= LEAST_S else lasting(0.0)
        waits = " and ".join(self.open)
        if self.seconds < LEAST_S:
            return f"unknown, as it depends on {waits}"
        return f"at least {lasting(self.seconds)}, and {waits}"

    @property
    def known_s(self) -> float | None:
        """The seconds, or None when a wait of unknown length is part of the time."""
        return None if self.open else self.seconds


@dataclass(frozen=True)
class StepProgress:
    """One step. Times in unix seconds, durations in seconds."""

    number: int
    """From 1."""
    kind: str
    words: str
    state: StepState
    since: float | None = None
    """Time at which the step began. None: it did not begin, or the rollout is of an earlier release."""
    until: float | None = None
    """Time at which the step ended."""
    fraction: float | None = None
    """Part of the current step that is done, 0 to 1. None: unknown, or not the current step."""
    left_s: float | None = None
    left: str = ""
    """Time left of the current step, in words, or why it is not known."""


@dataclass(frozen=True)
class WayBack:
    """How long a rollback would take now. `seconds` None: not known, and the words say why."""

    words: str
    seconds: float | None


@dataclass(frozen=True)
class Progress:
    """Where a rollout stands."""

    steps: tuple[StepProgress, ...]
    fraction: float | None
    """Part of the way to the switch that is done, 0 to 1. None: the rollout turned back."""
    left_s: float | None
    left: str
    """Time left until the switch, then until the end. Empty when the rollout has ended."""
    waits_for: str
    """The thing that the rollout waits for, and what an operator can do; "" when it waits for nothing."""
    waits_until: float | None
    next: str
    """Words of the next step; "" when there is none."""
    rollback: WayBack


def progress(rollout: Rollout, seen: TrafficObservation | None, past: Past, now: float) -> Progress:
    """Return the progress at unix second `now`. `seen` is the last observation of the model; None: there is none."""
    plan, current = rollout.plan, rollout.step
    words, past = step_sentences(plan), with_loaded(plan, seen, past)
    back = rollout.turned_at is not None or rollout.phase is Phase.ROLLING_BACK
    lost = back or (rollout.finished and not rollout.ok)
    lefts = [_left(rollout, number, past, now) for number in range(len(plan.steps))]
    steps = [_step(rollout, number, words[number], lefts[number], lost, past, now) for number in range(len(plan.steps))]
    if back:
        steps.append(_going_back(rollout, len(steps) + 1))
    left = _until_switched(rollout, lefts)
    return Progress(
        tuple(steps),
        None if lost else _fraction(rollout, steps, past),
        None if rollout.finished or lost else left.known_s,
        "" if rollout.finished or lost else left.words,
        waits_for(rollout),
        None if rollout.finished or rollout.wait is None else rollout.wait.until,
        words[current + 1] if not rollout.finished and not lost and current + 1 < len(words) else "",
        way_back(plan, seen, past),
    )


def way_back(plan: Plan, seen: TrafficObservation | None, past: Past) -> WayBack:
    """Return how long it would take until the old version gets every request again."""
    old = plan.from_version
    if seen is None:
        return WayBack(f"whether {old} is loaded is not known: the model was not observed yet", None)
    backends = [seen.backend(url) for url in plan.backends]
    silent = [b for b in backends if not b.reachable or b.versions.get(old) is VersionState.UNKNOWN]
    if silent:
        return WayBack(f"whether {old} is loaded on {silent[0].url} is not known: it does not answer", None)
    missing = [b.url for b in backends if b.versions.get(old) is not VersionState.READY]
    if not missing:
        return WayBack(f"{old} is loaded: under a second", 1.0)
    where = f" on {len(missing)} of {len(backends)} backends" if len(backends) > 1 else ""
    return _load_again(plan, past, f"{old} must load again{where}")


def way_back_later(plan: Plan, past: Past) -> str:
    """Return how long a rollback would take after the plan's rollout, in words."""
    old, kept_s = plan.from_version, sum(s.hold_s for s in plan.steps if s.kind is StepKind.KEEP)
    again = _load_again(plan, past, f"{old} must load again").words
    if not plan.resident:
        return again
    kept = f"for {lasting(kept_s)} after the switch" if kept_s else f"until {plan.to_version} is the stable version"
    return f"{old} stays loaded {kept}: under a second. Then {again}"


def _load_again(plan: Plan, past: Past, words: str) -> WayBack:
    old, new, limit = plan.from_version, plan.to_version, lasting(plan.limits.load_s)
    last, other = past.get(f"load {old}"), past.get(f"load {new}")
    if last is not None:
        return WayBack(f"{words}: about {lasting(last)}, as last time", last)
    hint = f"; {new} took {lasting(other)}" if other is not None else ""
    return WayBack(f"{words}: at most {limit}, as no load of {old} was measured yet{hint}", None)


def durations(rollouts: Iterable[Rollout]) -> Past:
    """Return the durations of past steps. `rollouts` are those of one model, the newest first."""
    found: dict[str, float] = {}
    for rollout in rollouts:
        times = rollout.steps_at
        for step, begin, end in zip(rollout.plan.steps, times, times[1:], strict=False):
            key = _key(step, rollout.plan.to_version)
            took_s = max(end - begin, 0.0)
            # A version that was still loaded is up at once: that says nothing about a load.
            if key not in found or (step.kind is StepKind.BRING_UP and found[key] < REAL_LOAD_S <= took_s):
                found[key] = took_s
    return found


def _key(step: Step, version: str) -> str:
    return f"load {version}" if step.kind is StepKind.BRING_UP else step.kind.value


def _entered(rollout: Rollout, number: int) -> float | None:
    """Return the time at which a step was entered, or None when that is not known."""
    return rollout.steps_at[number] if number < len(rollout.steps_at) else None


def plan_time(plan: Plan, seen: TrafficObservation | None, past: Past) -> Left:
    """Return how long a plan takes until the candidate is the stable version."""
    past = with_loaded(plan, seen, past)
    numbers = (number for number, step in enumerate(plan.steps) if step.kind not in _AFTER)
    return _sum([_expected(plan, number, past) for number in numbers])


def with_loaded(plan: Plan, seen: TrafficObservation | None, past: Past) -> Past:
    """Return the durations, with that of the candidate's load as 0 where it is ready on every backend already."""
    ready = seen is not None and all(
        seen.backend(url).versions.get(plan.to_version) is VersionState.READY for url in plan.backends
    )
    return {**past, f"load {plan.to_version}": 0.0} if ready else past


def _expected(plan: Plan, number: int, past: Past) -> Left:
    """Return how long a step takes from its beginning."""
    step = plan.steps[number]
    if step.until_approved:
        return Left(0.0, ("a pause until someone approves or resumes",))
    if step.kind is StepKind.APPROVE:
        return Left(0.0, ("an approval",))
    if step.kind in _HELD:
        return Left(step.hold_s)
    measured = past.get(_key(step, plan.to_version))
    if step.kind is StepKind.BRING_UP and measured is None:
        return Left(0.0, (f"the first load of {plan.to_version} (at most {lasting(plan.limits.load_s)})",))
    # The other steps are short, or were measured: hooks and checks of seconds, a warm-up, a golden set.
    return Left(measured or 0.0)


def _left(rollout: Rollout, number: int, past: Past, now: float) -> Left:
    """Return how much of a step is left. A wish for every request at once skips the waits of a canary."""
    skipped = rollout.plan.steps[number].kind in _SKIPPED and full_of(rollout.wishes) is not None
    if rollout.finished or number < rollout.step or skipped:
        return Left(0.0)
    whole = _expected(rollout.plan, number, past)
    return whole if number > rollout.step else _left_of_current(rollout, whole, now)


def _left_of_current(rollout: Rollout, whole: Left, now: float) -> Left:
    wait, version = rollout.wait, rollout.plan.to_version
    if wait is not None and wait.kind is WaitKind.OPERATOR:
        return Left(max(whole.seconds - _elapsed(rollout, now), 0.0), ("a pause until someone resumes",))
    if wait is not None and wait.kind is WaitKind.APPROVAL:
        return Left(0.0, ("an approval",))
    if wait is not None and wait.kind is WaitKind.DATA:
        return _until_enough(rollout, now)
    if wait is not None and wait.until is not None and wait.kind is WaitKind.TIME:
        return Left(max(wait.until - now, 0.0), whole.open)
    left = max(whole.seconds - _elapsed(rollout, now), 0.0)
    if whole.seconds and not left and rollout.plan.steps[rollout.step].kind is StepKind.BRING_UP:
        return Left(0.0, (f"the load of {version}, which takes longer than last time",))
    return Left(left, whole.open)


def _until_enough(rollout: Rollout, now: float) -> Left:
    """Return the time until a look has enough requests, as the last look foresaw it."""
    state = rollout.latest_work(WorkKind.LOOK)
    finding = state.finding if state else None
    if finding is not None and finding.outcome is Outcome.NOT_ENOUGH and finding.enough_at is not None:
        return Left(max(finding.enough_at - now, 0.0))
    if finding is not None and finding.more_requests is not None:
        return Left(0.0, (f"{finding.more_requests} more requests to {rollout.plan.to_version}",))
    return Left(0.0, (f"numbers of {rollout.plan.to_version}",))


def _elapsed(rollout: Rollout, now: float) -> float:
    """Return for how long the current step has lasted. Time without a control plane is no time of a wait."""
    kind = rollout.plan.steps[rollout.step].kind
    entered = _entered(rollout, rollout.step)
    if kind in _HELD:
        since = rollout.verified_since if kind is StepKind.WATCH else rollout.held_since
        return 0.0 if since is None else max(now - since, 0.0)
    return 0.0 if entered is None else max(now - entered, 0.0)


def _step(rollout: Rollout, number: int, words: str, left: Left, lost: bool, past: Past, now: float) -> StepProgress:
    current = number == rollout.step
    if rollout.ok or number < rollout.step:
        state = StepState.DONE
    elif lost:
        state = StepState.STOPPED if current else StepState.SKIPPED
    else:
        state = StepState.CURRENT if current else StepState.AHEAD
    since, until = _entered(rollout, number), _entered(rollout, number + 1)
    if current and until is None:
        until = rollout.turned_at if rollout.turned_at is not None else rollout.finished_at
    kind = rollout.plan.steps[number].kind.value
    if state is not StepState.CURRENT:
        return StepProgress(number + 1, kind, words, state, since, until)
    whole, elapsed = _expected(rollout.plan, number, past).seconds, _elapsed(rollout, now)
    fraction = min(elapsed / whole, 1.0) if whole else None
    return StepProgress(number + 1, kind, words, state, since, None, fraction, left.known_s, left.words)


def _going_back(rollout: Rollout, number: int) -> StepProgress:
    old = rollout.plan.from_version
    state = StepState.CURRENT
    if rollout.finished:
        state = StepState.STOPPED if rollout.needs_person else StepState.DONE
    return StepProgress(
        number, "rollback", f"bring {old} back on every backend", state, rollout.turned_at, rollout.finished_at
    )


def _until_switched(rollout: Rollout, lefts: Sequence[Left]) -> Left:
    """Return the time until the candidate is the stable version; after that, the time until the end."""
    steps = rollout.plan.steps
    return _sum([left for step, left in zip(steps, lefts, strict=True) if rollout.switched or step.kind not in _AFTER])


def _sum(lefts: Sequence[Left]) -> Left:
    return Left(sum(left.seconds for left in lefts), tuple(dict.fromkeys(w for left in lefts for w in left.open)))


def _fraction(rollout: Rollout, steps: Sequence[StepProgress], past: Past) -> float:
    if rollout.ok or rollout.switched:
        return 1.0
    done = total = 0.0
    for number, shown in enumerate(steps):
        if rollout.plan.steps[number].kind in _AFTER:
            continue
        whole = _expected(rollout.plan, number, past)
        first_load = whole.open and rollout.plan.steps[number].kind is StepKind.BRING_UP
        weight = max(whole.seconds, UNKNOWN_S if first_load else LEAST_S)
        total += weight
        done += weight * (1.0 if shown.state is StepState.DONE else shown.fraction or 0.0)
    return done / total if total else 0.0
