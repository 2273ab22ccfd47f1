"""The step function of rollouts: from a rollout, an observation of the engines and the time to a decision.

Pure: no I/O, no clock. Four invariants hold in every phase:

- Unknown is neither ready nor failed. A rollout waits for a backend that does not answer, up to a deadline.
- A reply proves nothing. Only an observation moves a rollout forward.
- A candidate that no question and no client tried is loaded, never verified.
- A failed rollout ends only after every backend that it changed was brought back to the old version.
"""

from __future__ import annotations

from dataclasses import replace

from controlplane.rollout.going_back import bring_back, turn_back
from controlplane.rollout.handlers import HANDLERS, NOTHING, Situation
from controlplane.rollout.model import TERMINAL, Decision, Evidence, Phase, Rollout, RolloutKind, StepKind, Trial
from controlplane.rollout.orders import Intent, OrderOutcome, Verb
from controlplane.rollout.sentences import judged
from controlplane.rollout.steps import at
from controlplane.rollout.verdict import judge
from controlplane.traffic.driver import TrafficObservation


def decide(rollout: Rollout, seen: TrafficObservation, now: float, evidence: Evidence = NOTHING) -> Decision:
    """Return the next decision. `seen` must be younger than every reply that is noted in the rollout's intents.

    `evidence` holds clients' requests to the candidate and its alerts. Its answers to questions are in the trials.
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
        # An operator rolls back for a reason: bad answers of the previous version are reported and stop nothing.
        if against and rollout.plan.kind is RolloutKind.PROMOTE:
            return turn_back(rollout, seen, now, against)
    return _go_on(rollout, seen, now, evidence)


def _go_on(rollout: Rollout, seen: TrafficObservation, now: float, evidence: Evidence) -> Decision:
    """Carry out the current step, and each following step while the one before it is already done."""
    steps = rollout.plan.steps
    for number in range(rollout.step, len(steps)):
        rollout = replace(rollout, step=number)
        outcome = HANDLERS[steps[number].kind](Situation(rollout, seen, now, evidence))
        if isinstance(outcome, Decision):
            return outcome
        rollout = outcome
    return at(rollout, Phase.SUCCEEDED, f"{judged(rollout)}")


def advance(rollout: Rollout, decision: Decision, now: float) -> Rollout:
    """Return the rollout after the decision. The orders are in its intents, so that they are stored before they run."""
    intents = list(rollout.intents)
    for order in decision.orders:
        before = rollout.intent(order)
        fresh = Intent(order, 1, now, OrderOutcome.ORDERED)
        if before is not None:
            # The control plane may have stopped before it sent the order: sending it again is the same attempt.
            again = 0 if before.outcome is OrderOutcome.INTERRUPTED and order.verb is Verb.PLACE else 1
            fresh = replace(fresh, attempt=before.attempt + again, since=before.since)
        intents = [i for i in intents if (i.order.verb, i.order.backend) != (order.verb, order.backend)]
        intents.append(fresh)
    # A backend that loads again may run in a new process: the questions begin anew there.
    loads = rollout.plan.steps[decision.step].kind is StepKind.BRING_UP
    bringing_up = loads and decision.phase in (Phase.PREPARING, Phase.SWITCHING)
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
        counted=decision.counted,
        needs_person=decision.needs_person,
    )


def _any_moved(rollout: Rollout, seen: TrafficObservation) -> bool:
    """Return whether a backend sends requests to the candidate after an order of this rollout."""
    to = rollout.plan.to_version
    return any(rollout.latest(Verb.PLACE, b.url) is not None and b.weights.get(to, 0.0) > 0.0 for b in seen.backends)
