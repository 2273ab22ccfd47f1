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
from controlplane.rollout.model import (
    TERMINAL,
    Decision,
    Evidence,
    Intent,
    Kind,
    Order,
    Outcome,
    Phase,
    Rollout,
    Trial,
    Verb,
)
from controlplane.rollout.sentences import count, judged, no_effect, says, untried, why_again
from controlplane.rollout.steps import (
    MAX_ATTEMPTS,
    at,
    commit_is_out,
    commit_warning,
    given_up,
    must_commit,
    serves,
    silent_since,
)
from controlplane.rollout.verdict import judge, nothing_tried
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState

NOTHING = Evidence(unknown="nobody looked")
"""What is known of a candidate where nobody looks."""


def decide(rollout: Rollout, seen: TrafficObservation, now: float, evidence: Evidence = NOTHING) -> Decision:
    """Return what to do now. `seen` must be younger than every reply that is noted in the rollout's intents.

    `evidence` is what others saw of the candidate; what it answered to questions is in the rollout's trials.
    """
    if rollout.phase in TERMINAL:
        return _stay(rollout, rollout.sentence)
    rollout = replace(rollout, moved=rollout.moved or _any_moved(rollout, seen))
    if rollout.phase is Phase.ROLLING_BACK:
        return bring_back(rollout, seen, now)
    if rollout.turn_back:
        return turn_back(rollout, seen, now, rollout.turn_back)
    if rollout.phase is Phase.DRAINING:
        return _drain(rollout, seen, now)
    against = judge(rollout, rollout.plan.backends, evidence).against
    # Whoever goes back does so for a reason: what the version before answers is said, and never argued with.
    if against and rollout.plan.kind is Kind.PROMOTE:
        return turn_back(rollout, seen, now, against)
    if rollout.phase is Phase.VERIFYING:
        return _verify(rollout, seen, now, evidence)
    return _bring_up(rollout, seen, now, evidence)


def advance(rollout: Rollout, decision: Decision, now: float) -> Rollout:
    """Return the rollout with the decision taken: its orders as intents, ready to be written down."""
    intents = list(rollout.intents)
    for order in decision.orders:
        before = rollout.intent(order)
        fresh = Intent(order, 1, now, Outcome.ORDERED)
        if before is not None:
            # An order that a stopped control plane may never have sent is the same attempt.
            again = 0 if before.outcome is Outcome.INTERRUPTED and order.verb is Verb.PLACE else 1
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


def _bring_up(rollout: Rollout, seen: TrafficObservation, now: float, evidence: Evidence) -> Decision:
    """One backend after another: the first that fails stops the rollout while the others still serve."""
    plan = rollout.plan
    for url in plan.backends:
        backend = seen.backend(url)
        if not serves(backend, plan.to_version):
            return _bring_up_one(rollout, seen, backend, now)
        if url != plan.backends[-1] and judge(rollout, (url,), evidence).asking:
            return _ask(rollout, seen, Phase.SWITCHING, (url,), now)
    verifying = replace(rollout, phase=Phase.VERIFYING, phase_at=now, verified_since=None)
    return _verify(verifying, seen, now, evidence)


def _ask(rollout: Rollout, seen: TrafficObservation, phase: Phase, urls: tuple[str, ...], now: float) -> Decision:
    """Ask the candidate on these backends; an answer that never becomes known ends the rollout as silence does."""
    plan, check = rollout.plan, rollout.plan.check
    assert check.question is not None  # judge() asks nothing otherwise
    patience = plan.limits.load_s + check.requests * check.question.timeout_s
    for url in urls:
        trial = rollout.trial(url)
        if trial is not None and now - trial.since > patience:
            words = f"{plan.to_version} could not be asked on {url} within {patience:g} s"
            return turn_back(rollout, seen, now, words)
    many = f"{check.requests} question{'' if check.requests == 1 else 's'} from {check.origin}"
    words = f"{plan.to_version} serves on {', '.join(urls)} and is asked {many}"
    since = now if rollout.verified_since is None else rollout.verified_since
    watching = since if phase is Phase.VERIFYING else None
    return replace(at(rollout, phase, words), asks=urls, verified_since=watching)


def _bring_up_one(rollout: Rollout, seen: TrafficObservation, backend: BackendObservation, now: float) -> Decision:
    plan, url = rollout.plan, backend.url
    version = plan.to_version
    keep = (plan.from_version,) if plan.resident else ()
    order = Order(Verb.PLACE, url, version, keep)
    intent = rollout.intent(order)
    phase = Phase.SWITCHING if rollout.moved else Phase.PREPARING
    silent = silent_since(rollout, backend, now)
    waited = now - (intent.since if intent else silent)
    if intent and intent.outcome is Outcome.REFUSED:
        return turn_back(rollout, seen, now, f"{version} could not be loaded: {intent.detail}")
    if waited > plan.limits.load_s:
        last = f"it does not answer ({backend.error})" if not backend.reachable else says(backend, version)
        reason = f"{version} was not ready on {url} within {plan.limits.load_s:g} s; now {last}"
        return turn_back(rollout, seen, now, reason)
    if not backend.reachable:
        words = f"Waiting for {url}, whose state is unknown: {backend.error}"
        return replace(at(rollout, phase, words), silent_since=silent)
    if intent is None:
        return at(rollout, phase, f"Loading {version} on {url}", order)
    if intent.outcome is Outcome.ORDERED or backend.versions.get(version) is VersionState.LOADING:
        serving = f"{backend.serving} serves meanwhile" if backend.serving else "no version serves meanwhile"
        return at(rollout, phase, f"{version} is loading on {url}; {serving}")
    if intent.outcome is not Outcome.INTERRUPTED and intent.attempt >= MAX_ATTEMPTS:
        return turn_back(rollout, seen, now, no_effect(intent, backend, version))
    return at(rollout, phase, f"Loading {version} on {url} again: {why_again(intent, backend, version)}", order)


def _verify(rollout: Rollout, seen: TrafficObservation, now: float, evidence: Evidence) -> Decision:
    plan, version = rollout.plan, rollout.plan.to_version
    backends = [seen.backend(url) for url in plan.backends]
    lost = [b for b in backends if b.reachable and not serves(b, version)]
    if lost:
        words = f"{version} stopped serving on {lost[0].url} while it was being verified: {says(lost[0], version)}"
        return turn_back(rollout, seen, now, words)
    silent = [b for b in backends if not b.reachable]
    if silent:
        quiet = silent_since(rollout, silent[0], now)
        if now - quiet > plan.limits.load_s:
            words = f"{version} could not be verified within {plan.limits.load_s:g} s: {silent[0].error}"
            return turn_back(rollout, seen, now, words)
        words = f"{version} serves, but cannot be verified while {silent[0].url} does not answer: {silent[0].error}"
        return replace(at(rollout, Phase.VERIFYING, words), silent_since=quiet)
    verdict = judge(rollout, plan.backends, evidence)
    if verdict.asking:
        return _ask(rollout, seen, Phase.VERIFYING, verdict.asking, now)
    since = now if rollout.verified_since is None else rollout.verified_since
    if now - since < plan.limits.verify_s:
        answered = f"{judge(rollout, plan.backends, NOTHING).evidence}; " if rollout.trials else ""
        words = f"{version} serves on {count(backends)}; {answered}it must stay so for {plan.limits.verify_s:g} s"
        return replace(at(rollout, Phase.VERIFYING, words), verified_since=since)
    verified = verdict.tried and not verdict.against
    why = verdict.evidence if verdict.tried else nothing_tried(rollout, evidence)
    warning = f"warning: {verdict.against}" if verdict.against else ""
    judged = replace(rollout, verified=verified, evidence="; ".join(filter(None, (warning, why))))
    return _drain(replace(judged, phase=Phase.DRAINING, phase_at=now, switched=True), seen, now)


def _drain(rollout: Rollout, seen: TrafficObservation, now: float) -> Decision:
    plan, old, version = rollout.plan, rollout.plan.from_version, rollout.plan.to_version
    commit = Order(Verb.COMMIT, "", version)
    overdue = now - rollout.phase_at > plan.limits.drain_s
    # Made durable first: a server that restarts from here on must come back with the candidate.
    if must_commit(rollout, commit):
        words = f"{judged(rollout)}; making it survive a restart"
        return at(rollout, Phase.DRAINING, words, commit)
    if commit_is_out(rollout) and not overdue:
        return at(rollout, Phase.DRAINING, rollout.sentence)
    orders, waiting = [], []
    for url in plan.backends:
        order, words = _drain_one(rollout, seen.backend(url))
        orders += [order] if order else []
        waiting += [words] if words else []
    warning = commit_warning(rollout, version)
    if not waiting:
        words = f"{version} serves, {old} has finished its requests and is unloaded{untried(rollout)}{warning}"
        return at(rollout, Phase.SUCCEEDED, words)
    # Overdue or not, an unload that is still to be ordered is: the control plane may have been away all that time.
    if orders or not overdue:
        return at(rollout, Phase.DRAINING, "; ".join(waiting), *orders)
    without = [b for b in map(seen.backend, plan.backends) if b.reachable and not serves(b, version)]
    if without:
        words = (
            f"{says(without[0], version)} on {without[0].url} after the switch; `cp rollback {plan.model}` goes back"
        )
        lost = at(rollout, Phase.FAILED, f"{version} does not serve everywhere: {words}")
        return replace(lost, needs_person=True)
    words = (
        f"{version} serves{untried(rollout)}; warning: after {plan.limits.drain_s:g} s {'; '.join(waiting)}{warning}"
    )
    return at(rollout, Phase.SUCCEEDED, words)


def _drain_one(rollout: Rollout, backend: BackendObservation) -> tuple[Order | None, str]:
    """Return what to order on this backend and what is being waited for; empty words: it is done."""
    old, version, url = rollout.plan.from_version, rollout.plan.to_version, backend.url
    if not backend.reachable:
        return None, f"{url} does not answer, whether {old} is gone is unknown: {backend.error}"
    if not serves(backend, version):
        return None, f"{version} does not serve on {url}: {says(backend, version)}"
    state = backend.versions.get(old, VersionState.UNAVAILABLE)
    if state is VersionState.UNAVAILABLE:
        return None, ""
    if state is VersionState.UNLOADING:
        return None, f"{old} is finishing its requests on {url}"
    order = Order(Verb.PLACE, url, version)
    intent = rollout.intent(order)
    if intent and (intent.outcome is Outcome.ORDERED or given_up(intent)):
        detail = f": {intent.detail}" if intent.detail else ""
        return None, f"{old} is still loaded on {url}{detail}"
    return order, f"Unloading {old} on {url} as soon as its requests are finished"


def _any_moved(rollout: Rollout, seen: TrafficObservation) -> bool:
    """Only what this rollout ordered counts as its doing."""
    to = rollout.plan.to_version
    return any(rollout.latest(Verb.PLACE, b.url) is not None and b.serving == to for b in seen.backends)


def _stay(rollout: Rollout, sentence: str, *orders: Order) -> Decision:
    return at(rollout, rollout.phase, sentence, *orders)
