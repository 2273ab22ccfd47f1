"""The state after a decision: it is stored before anything of the decision is carried out. Pure."""

from __future__ import annotations

from controlplane.rollout.copying import replace
from controlplane.rollout.findings import WorkKind, WorkState
from controlplane.rollout.handlers.looks import begun
from controlplane.rollout.model import TERMINAL, Decision, Phase, Rollout, StepKind, Trial
from controlplane.rollout.orders import Intent, OrderOutcome, Verb
from controlplane.rollout.wishes import is_patient


def advance(rollout: Rollout, decision: Decision, now: float) -> Rollout:
    """Return the rollout after the decision. The orders are in its intents, so that they are stored before they run."""
    loading = _loading(rollout, decision)
    moved_on = decision.phase is not rollout.phase
    entered = decision.step + 1 - len(rollout.steps_at)
    turned = rollout.turned_at is None and decision.reason != ""
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
        intents=_intents(rollout, decision, now),
        trials=_trials(rollout, decision, now, loading),
        verified=decision.verified,
        evidence=decision.evidence,
        counted=decision.counted,
        needs_person=decision.needs_person,
        works=_works(rollout, decision, now, loading),
        wait=decision.wait,
        progress_at=now if _progresses(rollout, decision) else rollout.progress_at,
        steps_at=(*rollout.steps_at, *(now,) * entered),
        turned_at=now if turned else rollout.turned_at,
        held_since=decision.held_since,
        traffic_since=decision.traffic_since,
        weight_since=decision.weight_since,
        ending=decision.ending,
    )


def _intents(rollout: Rollout, decision: Decision, now: float) -> tuple[Intent, ...]:
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
    return tuple(intents)


def _loading(rollout: Rollout, decision: Decision) -> frozenset[str]:
    """Return the backends that load the candidate now. Its process may be a new one: its gates begin anew there."""
    loads = rollout.plan.steps[decision.step].kind is StepKind.BRING_UP
    bringing_up = loads and decision.phase in (Phase.PREPARING, Phase.SWITCHING)
    return frozenset(order.backend for order in decision.orders if order.verb is Verb.PLACE and bringing_up)


def _trials(rollout: Rollout, decision: Decision, now: float, loading: frozenset[str]) -> tuple[Trial, ...]:
    kept = [trial for trial in rollout.trials if trial.backend not in loading]
    kept += [Trial(url, now) for url in decision.asks if rollout.trial(url) is None]
    asked = [url for url in decision.asks_stable if rollout.trial_of_stable(url) is None]
    return (*kept, *(Trial(url, now, of_stable=True) for url in asked))


def _works(rollout: Rollout, decision: Decision, now: float, loading: frozenset[str]) -> tuple[WorkState, ...]:
    kept = (s for s in rollout.works if not (s.work.kind is WorkKind.WARM and s.work.name in loading))
    return begun(tuple(kept), decision.works, now)


def _progresses(rollout: Rollout, decision: Decision) -> bool:
    """Return whether the deadline for progress begins anew."""
    moved_on = (decision.phase, decision.step) != (rollout.phase, rollout.step)
    ordered = any(rollout.intent(order) is None for order in decision.orders)
    # While it waits patiently nothing is stored: the deadline does not run, and begins anew when the wait ends.
    return moved_on or ordered or (is_patient(rollout.wait) and not is_patient(decision.wait))
