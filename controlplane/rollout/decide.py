"""The step function of rollouts: a rollout, what the engines are seen to serve, and the time, to what happens next.

Pure: no I/O, no clock. Four invariants hold in every phase:

- unknown is neither ready nor failed: a backend that does not answer is waited for, up to a deadline that says so;
- a reply proves nothing: only an observation moves a rollout forward;
- a candidate that nobody tried is loaded, never verified;
- whatever has been touched is brought back before a rollout that failed ends.
"""

from __future__ import annotations

from dataclasses import replace

from controlplane.rollout.going_back import bring_back, turn_back
from controlplane.rollout.handlers import HANDLERS, NOTHING, Situation
from controlplane.rollout.model import (
    TERMINAL,
    Decision,
    Evidence,
    Intent,
    OrderOutcome,
    Phase,
    Rollout,
    RolloutKind,
    Trial,
    Verb,
)
from controlplane.rollout.sentences import judged
from controlplane.rollout.steps import at
from controlplane.rollout.verdict import judge
from controlplane.traffic.driver import TrafficObservation


def decide(rollout: Rollout, seen: TrafficObservation, now: float, evidence: Evidence = NOTHING) -> Decision:
    """Return what to do now. `seen` must be younger than every reply that is noted in the rollout's intents.

    `evidence` is what others saw of the candidate; what it answered to questions is in the rollout's trials.
    """
    if rollout.phase in TERMINAL:
        return at(rollout, rollout.phase, rollout.sentence)
    rollout = replace(rollout, moved=rollout.moved or _any_moved(rollout, seen))
    if rollout.phase is Phase.ROLLING_BACK:
        return bring_back(rollout, seen, now)
    if rollout.turn_back:
        return turn_back(rollout, seen, now, rollout.turn_back)
    if rollout.phase is not Phase.DRAINING:
        against = judge(rollout, rollout.plan.backends, evidence).against
        # Whoever goes back does so for a reason: what the version before answers is said, and never argued with.
        if against and rollout.plan.kind is RolloutKind.PROMOTE:
            return turn_back(rollout, seen, now, against)
    return _go_on(rollout, seen, now, evidence)


def _go_on(rollout: Rollout, seen: TrafficObservation, now: float, evidence: Evidence) -> Decision:
    """Carry out the step that the rollout is at, and those after it as far as they are done at once."""
    steps = rollout.plan.steps
    for number in range(rollout.step, len(steps)):
        rollout = replace(rollout, step=number)
        outcome = HANDLERS[steps[number].kind](Situation(rollout, seen, now, evidence))
        if isinstance(outcome, Decision):
            return outcome
        rollout = outcome
    return at(rollout, Phase.SUCCEEDED, f"{judged(rollout)}")


def advance(rollout: Rollout, decision: Decision, now: float) -> Rollout:
    """Return the rollout with the decision taken: its orders as intents, ready to be written down."""
    intents = list(rollout.intents)
    for order in decision.orders:
        before = rollout.intent(order)
        fresh = Intent(order, 1, now, OrderOutcome.ORDERED)
        if before is not None:
            # An order that a stopped control plane may never have sent is the same attempt.
            again = 0 if before.outcome is OrderOutcome.INTERRUPTED and order.verb is Verb.PLACE else 1
            fresh = replace(fresh, attempt=before.attempt + again, since=before.since)
        intents = [i for i in intents if (i.order.verb, i.order.backend) != (order.verb, order.backend)]
        intents.append(fresh)
    # What is loaded again may be another process by now: it is asked again.
    bringing_up = decision.phase in (Phase.PREPARING, Phase.SWITCHING)
    loading = {order.backend for order in decision.orders if order.verb is Verb.PLACE and bringing_up}
    trials = [trial for trial in rollout.trials if trial.backend not in loading]
    trials += [Trial(url, now) for url in decision.asks if rollout.trial(url) is None]
    moved_on = decision.phase is not rollout.phase
    return replace(
        rollout,
        phase=decision.phase,
        sentence=decision.sentence,
        step=decision.step,
        phase_at=now if moved_on else rollout.phase_at,
        finished_at=now if decision.phase in TERMINAL and rollout.finished_at is None else rollout.finished_at,
        reason=decision.reason or rollout.reason,
        moved=rollout.moved or decision.moved,
        switched=decision.switched,
        verified_since=decision.verified_since,
        silent_since=decision.silent_since,
        intents=tuple(intents),
        trials=tuple(trials),
        verified=decision.verified,
        evidence=decision.evidence,
        needs_person=decision.needs_person,
    )


def _any_moved(rollout: Rollout, seen: TrafficObservation) -> bool:
    """Only what this rollout ordered counts as its doing."""
    to = rollout.plan.to_version
    return any(rollout.latest(Verb.PLACE, b.url) is not None and b.serving == to for b in seen.backends)
