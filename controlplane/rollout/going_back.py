"""Rolling back: every backend that a rollout changed gets the old version, or a sentence says what to do. Pure."""

from __future__ import annotations

from controlplane.rollout.copying import replace
from controlplane.rollout.model import Decision, Phase, Rollout
from controlplane.rollout.orders import Intent, Order, OrderOutcome, Verb
from controlplane.rollout.steps import (
    commit_is_out,
    commit_warning,
    end,
    given_up,
    mirrors,
    must_commit,
    serves,
    unknown,
)
from controlplane.rollout.words.sentences import no_effect, questions, why_again
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState

ASK_S = 10.0
"""Seconds beyond the questions' own deadlines that a rollback waits for answers of the old version. Chosen."""
_LOADED = (VersionState.READY, VersionState.LOADING)


def turn_back(rollout: Rollout, seen: TrafficObservation, now: float, reason: str) -> Decision:
    """Begin the rollback, because of `reason`."""
    back = replace(rollout, phase=Phase.ROLLING_BACK, phase_at=now, reason=reason, switched=False)
    return bring_back(back, seen, now)


def bring_back(rollout: Rollout, seen: TrafficObservation, now: float) -> Decision:
    """Bring the old version back to every backend that got an order. The others stay as they are."""
    plan, old = rollout.plan, rollout.plan.from_version
    orders, waiting, stuck = [], [], []
    for url in plan.backends:
        touched = rollout.latest(Verb.PLACE, url)
        if touched is None:
            continue
        order, words, hopeless = _bring_back_one(rollout, touched, seen.backend(url))
        orders += [order] if order else []
        waiting += [words] if words else []
        stuck += [words] if hopeless else []
    if waiting and (len(stuck) == len(waiting) or now - rollout.phase_at > plan.limits.load_s):
        words = f"{rollout.reason}. {_not_back(rollout, seen)}: {'; '.join(waiting)}{_endless(rollout, seen)}"
        return replace(end(rollout, Phase.FAILED, words), needs_person=True)
    if waiting:
        words = f"{rollout.reason}. Rolling back to {old}: {'; '.join(waiting)}"
        return end(rollout, Phase.ROLLING_BACK, words, *orders)
    uncommit = Order(Verb.COMMIT, "", old)
    if rollout.latest(Verb.COMMIT) and must_commit(rollout, uncommit):
        return end(rollout, Phase.ROLLING_BACK, f"{old} serves again; making it survive a restart", uncommit)
    if commit_is_out(rollout) and now - rollout.phase_at <= plan.limits.load_s:
        return end(rollout, Phase.ROLLING_BACK, rollout.sentence)
    if rollout.moved:
        asking = _asking(rollout, now)
        if asking:
            words = f"{rollout.reason}. {old} serves again and is asked {questions(plan.check.requests)}"
            return replace(end(rollout, Phase.ROLLING_BACK, words), asks_stable=asking)
        words = f"{rollout.reason}. {old} serves again{_answered(rollout)}{commit_warning(rollout, old)}"
        return end(rollout, Phase.ROLLED_BACK, words)
    touched_any = any(rollout.latest(Verb.PLACE, url) for url in plan.backends)
    rest = f"{old} serves as before" if touched_any else "Nothing was changed"
    return end(rollout, Phase.FAILED, f"{rollout.reason}. {rest}")


def _asking(rollout: Rollout, now: float) -> tuple[str, ...]:
    """Return the backends where the old version's answers are still out. A rollback does not wait for ever."""
    check = rollout.plan.check
    if not check.questions:
        return ()
    patience = check.patience_s + ASK_S
    trials = {url: rollout.trial_of_stable(url) for url in rollout.plan.backends if rollout.latest(Verb.PLACE, url)}
    return tuple(
        url for url, trial in trials.items() if trial is None or not (trial.finished or now - trial.since > patience)
    )


def _answered(rollout: Rollout) -> str:
    """Return how the old version answered after the rollback, as the end of a sentence. "": it was not asked."""
    trials = [trial for trial in rollout.trials if trial.of_stable]
    if not trials:
        return ""
    asked, failed = sum(trial.asked for trial in trials), sum(trial.failed for trial in trials)
    if any(trial.asked == trial.failed for trial in trials):
        fault = next((trial.words for trial in trials if trial.words), "no question could be sent")
        return f"; warning: its answers do not prove it ({asked - failed} of {questions(asked)} answered well; {fault})"
    return f" ({asked - failed} of {questions(asked)} answered well)"


def _not_back(rollout: Rollout, seen: TrafficObservation) -> str:
    """Describe a rollback that could not be finished. It "failed" only where a backend was seen without `old`."""
    old = rollout.plan.from_version
    backends = [seen.backend(url) for url in rollout.plan.backends]
    if all(serves(b, old) for b in backends):
        return f"{old} serves, but this needs a person"
    if all(serves(b, old) or unknown(b, old) for b in backends):
        return f"Whether {old} serves again is unknown, and this needs a person"
    return f"The rollback to {old} failed"


def _endless(rollout: Rollout, seen: TrafficObservation) -> str:
    loading = any(VersionState.LOADING in seen.backend(url).versions.values() for url in rollout.plan.backends)
    return f". {rollout.plan.endless_load}" if loading and rollout.plan.endless_load else ""


def _bring_back_one(rollout: Rollout, touched: Intent, backend: BackendObservation) -> tuple[Order | None, str, bool]:
    """Return the next order, the state in words ("": the old version is back), and whether waiting is hopeless."""
    old, new, url = rollout.plan.from_version, rollout.plan.to_version, backend.url
    order = Order(Verb.PLACE, url, old)
    intent = rollout.intent(order)
    # A load without a reply may still take effect: the old version is ordered even when it still serves.
    open_load = intent is None and touched.outcome in (
        OrderOutcome.ORDERED,
        OrderOutcome.LOST,
        OrderOutcome.INTERRUPTED,
    )
    if backend.mirror is not None:
        copies = backend.mirror.get(new, 0.0) > 0.0
    else:
        # No observation shows copies of requests: only another order ends them, and only its reply tells that it did.
        copies = mirrors(rollout) and (intent is None or intent.outcome is not OrderOutcome.TAKEN)
    lost = intent is None or intent.outcome is OrderOutcome.INTERRUPTED
    if not backend.reachable and not (backend.holds and lost):
        return None, f"{url} does not answer, what it serves is unknown: {backend.error}", False
    gone = new in backend.stays or backend.versions.get(new) not in _LOADED
    if serves(backend, old) and gone and not open_load and not copies:
        return None, "", False
    if intent is None:
        return order, f"ordering {old} on {url}", False
    if intent.outcome is OrderOutcome.ORDERED or VersionState.LOADING in (
        backend.versions.get(old),
        backend.versions.get(new),
    ):
        if serves(backend, old) and backend.versions.get(new) is VersionState.LOADING:
            return None, f"{new} is still loading on {url}, where {old} serves", False
        return None, f"{url} is loading {old}", False
    if backend.pending and not lost:
        return None, backend.pending, False
    if given_up(intent):
        words = f"{url} serves {backend.served}; {intent.detail or no_effect(intent, backend, old)}"
        return None, words, True
    return order, f"ordering {old} on {url} again: {why_again(intent, backend, old)}", False
