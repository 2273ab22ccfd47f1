"""The step function of rollouts: from a rollout, an observation of the engines and the time to a decision.

Pure: no I/O, no clock. Four invariants hold in every phase:

- Unknown is neither ready nor failed. A rollout waits for a backend that does not answer, up to a deadline.
- A reply proves nothing. Only an observation moves a rollout forward.
- A candidate that no question and no client tried is loaded, never verified.
- A failed rollout ends only after every backend that it changed was brought back to the old version.
"""

from __future__ import annotations

from controlplane.rollout.copying import replace
from controlplane.rollout.findings import Work, WorkKind
from controlplane.rollout.going_back import bring_back, turn_back
from controlplane.rollout.handlers import HANDLERS, looks
from controlplane.rollout.handlers.situation import NOTHING, Situation
from controlplane.rollout.model import TERMINAL, Decision, Evidence, Phase, Plan, Rollout, RolloutKind, StepKind
from controlplane.rollout.options import Moment
from controlplane.rollout.orders import Verb
from controlplane.rollout.steps import at, is_judged, share_at
from controlplane.rollout.verdict import judge
from controlplane.rollout.wishes import PAUSED, Wait, WaitKind, Wish, full_of, is_patient, pause_of
from controlplane.rollout.words.sentences import judged
from controlplane.traffic.driver import TrafficObservation

_SKIPPED = frozenset((StepKind.PAUSE, StepKind.ANALYSE, StepKind.MIRROR, StepKind.TESTERS))
"""Steps that an operator's `full` skips."""


def decide(
    rollout: Rollout, seen: TrafficObservation, now: float, evidence: Evidence = NOTHING, hold: Wait | None = None
) -> Decision:
    """Return the next decision. `seen` must be younger than every reply that is noted in the rollout's intents.

    `evidence` holds clients' requests to the candidate and its alerts. Its answers to questions are in the trials, and
    findings of works in the rollout's works. `hold` says why no further traffic may move to the candidate now.
    """
    if rollout.phase in TERMINAL:
        return at(rollout, rollout.phase, rollout.sentence)
    if rollout.ending is Phase.SUCCEEDED and rollout.turn_back:
        rollout = replace(rollout, ending=None)
    if rollout.ending is not None:
        return _end(rollout, rollout.ending)
    moved = rollout.moved or _any_moved(rollout, seen)
    traffic_since = now if moved and rollout.traffic_since is None else rollout.traffic_since
    rollout = replace(rollout, moved=moved, traffic_since=traffic_since)
    decision = _decide(rollout, seen, now, evidence, hold)
    if decision.phase in TERMINAL:
        return _ended(rollout, decision)
    if decision.phase is Phase.ROLLING_BACK:
        return replace(decision, works=_hooks(replace(rollout, step=decision.step), Moment.ROLLBACK))
    begins = _hooks(rollout, Moment.ROLLBACK) if rollout.plan.kind is RolloutKind.ROLLBACK else ()
    return replace(decision, works=(*decision.works, *looks.due(rollout, now), *begins))


def _decide(rollout: Rollout, seen: TrafficObservation, now: float, evidence: Evidence, hold: Wait | None) -> Decision:
    if rollout.phase is Phase.ROLLING_BACK:
        return bring_back(rollout, seen, now)
    if rollout.turn_back:
        return turn_back(rollout, seen, now, rollout.turn_back)
    # An operator rolls back for a reason: bad answers of the previous version are reported and stop nothing.
    if rollout.plan.kind is RolloutKind.PROMOTE:
        against = _against(rollout, now, evidence)
        if against:
            return turn_back(rollout, seen, now, against)
    return _go_on(rollout, seen, now, evidence, hold)


def _against(rollout: Rollout, now: float, evidence: Evidence) -> str:
    """Return the reason to roll a promotion back, or ""."""
    judging = is_judged(rollout) or rollout.phase is Phase.PLANNED
    against = (judge(rollout, rollout.plan.backends, evidence).against, looks.against(rollout)) if judging else ()
    deadline_s = rollout.plan.options.deadline_s
    if any(against) or deadline_s is None or rollout.phase is Phase.DRAINING or is_patient(rollout.wait):
        return "; ".join(filter(None, against))
    late = now - rollout.progress_at > deadline_s
    return f"there was no progress for {deadline_s:g} s: {rollout.sentence}" if late else ""


def _go_on(rollout: Rollout, seen: TrafficObservation, now: float, evidence: Evidence, hold: Wait | None) -> Decision:
    """Carry out the current step, and each following step while the one before it is already done."""
    steps, paused, full = rollout.plan.steps, pause_of(rollout.wishes), full_of(rollout.wishes)
    for number in range(rollout.step, len(steps)):
        entered = now if number != rollout.step else rollout.phase_at
        begun = rollout.held_since if number == rollout.step else None
        rollout = replace(rollout, step=number, held_since=entered if begun is None else begun)
        if full is not None and _is_skipped(rollout.plan, number):
            continue
        outcome = HANDLERS[steps[number].kind](Situation(rollout, seen, now, evidence, hold))
        if paused is not None:
            return _paused(rollout, outcome, paused)
        if isinstance(outcome, Decision):
            return outcome
        rollout = outcome
    return at(rollout, Phase.SUCCEEDED, f"{judged(rollout)}")


def _is_skipped(plan: Plan, number: int) -> bool:
    """Return whether a step is skipped because an operator wants the candidate to get every request at once."""
    step = plan.steps[number]
    partial = step.kind in (StepKind.SHIFT, StepKind.WATCH) and share_at(plan, number) < 1.0
    # Approvals still count: the person who started the rollout may make this wish.
    return partial or step.kind in _SKIPPED or (step.kind is StepKind.HOOK and step.moment is Moment.STEP)


def _paused(rollout: Rollout, outcome: Decision | Rollout, pause: Wish) -> Decision:
    """Return the decision at a step while an operator's pause holds: nothing new begins, and no step ends.

    An order that was given before is still repeated until it is carried out, and a rollback is not held up.
    """
    because = f": {pause.reason}" if pause.reason else ""
    words = f"Paused by {pause.actor}{because}; `cp rollouts resume {rollout.id}` goes on"
    wait = Wait(WaitKind.OPERATOR, words, name=PAUSED)
    if isinstance(outcome, Rollout):
        still = at(rollout, rollout.phase, words)
        return replace(still, wait=wait, verified_since=rollout.verified_since)
    if outcome.phase is Phase.ROLLING_BACK or outcome.phase in TERMINAL:
        return outcome
    orders = tuple(order for order in outcome.orders if rollout.intent(order) is not None)
    phase = outcome.phase if orders == outcome.orders else rollout.phase
    works = tuple(work for work in outcome.works if rollout.work(work) is not None)
    return replace(outcome, phase=phase, sentence=words, orders=orders, works=works, wait=wait)


def _ended(rollout: Rollout, decision: Decision) -> Decision:
    """Return the last decision, or the one to call the hooks of the end first."""
    ending = replace(rollout, step=decision.step, ending=decision.phase, reason=decision.reason)
    works = _last_hooks(ending)
    if not works:
        return decision
    # The phase before the end, so that the model stays taken until the hooks are called.
    phase = Phase.DRAINING if decision.switched else Phase.ROLLING_BACK
    wait = Wait(WaitKind.WORK, "Calling the hooks of the end")
    return replace(decision, phase=phase, ending=decision.phase, orders=(), works=works, wait=wait)


def _end(rollout: Rollout, phase: Phase) -> Decision:
    """Return the decision of a rollout whose end is known: it waits only for its hooks."""
    works = _last_hooks(rollout)
    if not works:
        return replace(at(rollout, phase, rollout.sentence), ending=None)
    waiting = replace(at(rollout, rollout.phase, rollout.sentence), works=works)
    return replace(waiting, wait=Wait(WaitKind.WORK, "Calling the hooks of the end"))


def _last_hooks(rollout: Rollout) -> tuple[Work, ...]:
    rolled_back = rollout.reason != "" or rollout.plan.kind is RolloutKind.ROLLBACK
    return (_hooks(rollout, Moment.ROLLBACK) if rolled_back else ()) or _hooks(rollout, Moment.END)


def _hooks(rollout: Rollout, moment: Moment) -> tuple[Work, ...]:
    """Return the hook of a moment that is to be called now, one after another. Their failure stops nothing."""
    for hook in rollout.plan.options.hooks:
        state = rollout.latest_work(WorkKind.HOOK, hook.name)
        if hook.at is moment and (state is None or state.finding is None):
            return (Work(WorkKind.HOOK, rollout.step, hook.name) if state is None else state.work,)
    return ()


def _any_moved(rollout: Rollout, seen: TrafficObservation) -> bool:
    """Return whether a backend sends requests to the candidate after an order of this rollout."""
    to = rollout.plan.to_version
    return any(rollout.latest(Verb.PLACE, b.url) is not None and b.weights.get(to, 0.0) > 0.0 for b in seen.backends)
