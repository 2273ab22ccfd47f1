"""The step function of rollouts: a rollout, what the engines are seen to serve, and the time, to what happens next.

Pure: no I/O, no clock. Three invariants hold in every phase:

- unknown is neither ready nor failed: a backend that does not answer is waited for, up to a deadline that says so;
- a reply proves nothing: only an observation moves a rollout forward;
- whatever has been touched is brought back before a rollout that failed ends.
"""

from __future__ import annotations

from dataclasses import replace

from controlplane.rollout.model import TERMINAL, Decision, Intent, Order, Outcome, Phase, Rollout, Verb
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState

MAX_ATTEMPTS = 3
"""An order that was answered, or whose reply was lost, this often without any effect is given up."""
_LOADED = (VersionState.READY, VersionState.LOADING)


def decide(rollout: Rollout, seen: TrafficObservation, now: float) -> Decision:
    """Return what to do now. `seen` must be younger than every reply that is noted in the rollout's intents."""
    if rollout.phase in TERMINAL:
        return _stay(rollout, rollout.sentence)
    rollout = replace(rollout, moved=rollout.moved or _any_moved(rollout, seen))
    if rollout.phase is Phase.ROLLING_BACK:
        return _bring_back(rollout, seen, now)
    if rollout.turn_back:
        return _turn_back(rollout, seen, now, rollout.turn_back)
    if rollout.phase is Phase.VERIFYING:
        return _verify(rollout, seen, now)
    if rollout.phase is Phase.DRAINING:
        return _drain(rollout, seen, now)
    return _bring_up(rollout, seen, now)


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
    )


def _bring_up(rollout: Rollout, seen: TrafficObservation, now: float) -> Decision:
    """One backend after another: the first that fails stops the rollout while the others still serve."""
    plan = rollout.plan
    for url in plan.backends:
        backend = seen.backend(url)
        if _serves(backend, plan.to_version):
            continue
        return _bring_up_one(rollout, seen, backend, now)
    verifying = replace(rollout, phase=Phase.VERIFYING, phase_at=now, verified_since=None)
    return _verify(verifying, seen, now)


def _bring_up_one(rollout: Rollout, seen: TrafficObservation, backend: BackendObservation, now: float) -> Decision:
    plan, url = rollout.plan, backend.url
    version = plan.to_version
    keep = (plan.from_version,) if plan.resident else ()
    order = Order(Verb.PLACE, url, version, keep)
    intent = rollout.intent(order)
    phase = Phase.SWITCHING if rollout.moved else Phase.PREPARING
    silent = _silent_since(rollout, backend, now)
    waited = now - (intent.since if intent else silent)
    if intent and intent.outcome is Outcome.REFUSED:
        return _turn_back(rollout, seen, now, f"{version} could not be loaded: {intent.detail}")
    if waited > plan.limits.load_s:
        last = f"it does not answer ({backend.error})" if not backend.reachable else _says(backend, version)
        reason = f"{version} was not ready on {url} within {plan.limits.load_s:g} s; now {last}"
        return _turn_back(rollout, seen, now, reason)
    if not backend.reachable:
        words = f"Waiting for {url}, whose state is unknown: {backend.error}"
        return replace(_at(rollout, phase, words), silent_since=silent)
    if intent is None:
        return _at(rollout, phase, f"Loading {version} on {url}", order)
    if intent.outcome is Outcome.ORDERED or backend.versions.get(version) is VersionState.LOADING:
        serving = f"{backend.serving} serves meanwhile" if backend.serving else "no version serves meanwhile"
        return _at(rollout, phase, f"{version} is loading on {url}; {serving}")
    if intent.outcome is not Outcome.INTERRUPTED and intent.attempt >= MAX_ATTEMPTS:
        return _turn_back(rollout, seen, now, _no_effect(intent, backend, version))
    return _at(rollout, phase, f"Loading {version} on {url} again: {_why_again(intent, backend, version)}", order)


def _verify(rollout: Rollout, seen: TrafficObservation, now: float) -> Decision:
    plan, version = rollout.plan, rollout.plan.to_version
    backends = [seen.backend(url) for url in plan.backends]
    lost = [b for b in backends if b.reachable and not _serves(b, version)]
    if lost:
        words = f"{version} stopped serving on {lost[0].url} while it was being verified: {_says(lost[0], version)}"
        return _turn_back(rollout, seen, now, words)
    silent = [b for b in backends if not b.reachable]
    if silent:
        silent_since = _silent_since(rollout, silent[0], now)
        if now - silent_since > plan.limits.load_s:
            words = f"{version} could not be verified within {plan.limits.load_s:g} s: {silent[0].error}"
            return _turn_back(rollout, seen, now, words)
        words = f"{version} serves, but cannot be verified while {silent[0].url} does not answer: {silent[0].error}"
        return replace(_at(rollout, Phase.VERIFYING, words), silent_since=silent_since)
    since = now if rollout.verified_since is None else rollout.verified_since
    if now - since < plan.limits.verify_s:
        words = f"{version} serves on {_count(backends)}; it must stay so for {plan.limits.verify_s:g} s"
        return replace(_at(rollout, Phase.VERIFYING, words), verified_since=since)
    return _drain(replace(rollout, phase=Phase.DRAINING, phase_at=now, switched=True), seen, now)


def _drain(rollout: Rollout, seen: TrafficObservation, now: float) -> Decision:
    plan, old, version = rollout.plan, rollout.plan.from_version, rollout.plan.to_version
    commit = Order(Verb.COMMIT, "", version)
    overdue = now - rollout.phase_at > plan.limits.drain_s
    # Made durable first: a server that restarts from here on must come back with the candidate.
    if _must_commit(rollout, commit):
        return _at(rollout, Phase.DRAINING, f"{version} serves and is verified; making it survive a restart", commit)
    if _commit_is_out(rollout) and not overdue:
        return _at(rollout, Phase.DRAINING, rollout.sentence)
    orders, waiting = [], []
    for url in plan.backends:
        order, words = _drain_one(rollout, seen.backend(url))
        orders += [order] if order else []
        waiting += [words] if words else []
    warning = _commit_warning(rollout, version)
    if not waiting:
        words = f"{version} serves, {old} has finished its requests and is unloaded{warning}"
        return _at(rollout, Phase.SUCCEEDED, words)
    # Overdue or not, an unload that is still to be ordered is: the control plane may have been away all that time.
    if orders or not overdue:
        return _at(rollout, Phase.DRAINING, "; ".join(waiting), *orders)
    without = [b for b in map(seen.backend, plan.backends) if b.reachable and not _serves(b, version)]
    if without:
        words = (
            f"{_says(without[0], version)} on {without[0].url} after the switch; `cp rollback {plan.model}` goes back"
        )
        return _at(rollout, Phase.FAILED, f"{version} does not serve everywhere: {words}")
    words = f"{version} serves; warning: after {plan.limits.drain_s:g} s {'; '.join(waiting)}{warning}"
    return _at(rollout, Phase.SUCCEEDED, words)


def _drain_one(rollout: Rollout, backend: BackendObservation) -> tuple[Order | None, str]:
    """Return what to order on this backend and what is being waited for; empty words: it is done."""
    old, version, url = rollout.plan.from_version, rollout.plan.to_version, backend.url
    if not backend.reachable:
        return None, f"{url} does not answer, whether {old} is gone is unknown: {backend.error}"
    if not _serves(backend, version):
        return None, f"{version} does not serve on {url}: {_says(backend, version)}"
    state = backend.versions.get(old, VersionState.UNAVAILABLE)
    if state is VersionState.UNAVAILABLE:
        return None, ""
    if state is VersionState.UNLOADING:
        return None, f"{old} is finishing its requests on {url}"
    order = Order(Verb.PLACE, url, version)
    intent = rollout.intent(order)
    if intent and (intent.outcome is Outcome.ORDERED or _given_up(intent)):
        detail = f": {intent.detail}" if intent.detail else ""
        return None, f"{old} is still loaded on {url}{detail}"
    return order, f"Unloading {old} on {url} as soon as its requests are finished"


def _turn_back(rollout: Rollout, seen: TrafficObservation, now: float, reason: str) -> Decision:
    back = replace(rollout, phase=Phase.ROLLING_BACK, phase_at=now, reason=reason, switched=False)
    return _bring_back(back, seen, now)


def _bring_back(rollout: Rollout, seen: TrafficObservation, now: float) -> Decision:
    """Every backend that was touched gets the old version back. Untouched ones are left alone."""
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
        return _end(rollout, Phase.FAILED, f"{rollout.reason}. Going back to {old} failed: {'; '.join(waiting)}")
    if waiting:
        words = f"{rollout.reason}. Going back to {old}: {'; '.join(waiting)}"
        return _end(rollout, Phase.ROLLING_BACK, words, *orders)
    uncommit = Order(Verb.COMMIT, "", old)
    if rollout.latest(Verb.COMMIT) and _must_commit(rollout, uncommit):
        return _end(rollout, Phase.ROLLING_BACK, f"{old} serves again; making it survive a restart", uncommit)
    if _commit_is_out(rollout) and now - rollout.phase_at <= plan.limits.load_s:
        return _end(rollout, Phase.ROLLING_BACK, rollout.sentence)
    if rollout.moved:
        return _end(rollout, Phase.ROLLED_BACK, f"{rollout.reason}. {old} serves again{_commit_warning(rollout, old)}")
    touched_any = any(rollout.latest(Verb.PLACE, url) for url in plan.backends)
    rest = f"{old} serves as before" if touched_any else "Nothing was changed"
    return _end(rollout, Phase.FAILED, f"{rollout.reason}. {rest}")


def _bring_back_one(rollout: Rollout, touched: Intent, backend: BackendObservation) -> tuple[Order | None, str, bool]:
    """Return what to order, what is being waited for (empty: restored), and whether waiting has no hope."""
    old, new, url = rollout.plan.from_version, rollout.plan.to_version, backend.url
    order = Order(Verb.PLACE, url, old)
    intent = rollout.intent(order)
    # A load whose reply is out or lost may yet take effect: going back is ordered even when all looks well.
    open_load = intent is None and touched.outcome in (Outcome.ORDERED, Outcome.LOST, Outcome.INTERRUPTED)
    if not backend.reachable:
        return None, f"{url} does not answer, what it serves is unknown: {backend.error}", False
    if _serves(backend, old) and backend.versions.get(new) not in _LOADED and not open_load:
        return None, "", False
    if intent is None:
        return order, f"ordering {old} on {url}", False
    if intent.outcome is Outcome.ORDERED or VersionState.LOADING in (
        backend.versions.get(old),
        backend.versions.get(new),
    ):
        return None, f"{url} is loading {old}", False
    if _given_up(intent):
        words = f"{url} serves {backend.serving or 'no version'}; {intent.detail or _no_effect(intent, backend, old)}"
        return None, words, True
    return order, f"ordering {old} on {url} again: {_why_again(intent, backend, old)}", False


def _must_commit(rollout: Rollout, commit: Order) -> bool:
    """No observation confirms a commit, so only an answer ends it; it is given up after MAX_ATTEMPTS without one."""
    intent = rollout.intent(commit)
    if intent is None:
        return True
    return intent.outcome in (Outcome.LOST, Outcome.INTERRUPTED) and intent.attempt < MAX_ATTEMPTS


def _commit_is_out(rollout: Rollout) -> bool:
    latest = rollout.latest(Verb.COMMIT)
    return latest is not None and latest.outcome is Outcome.ORDERED


def _commit_warning(rollout: Rollout, version: str) -> str:
    latest = rollout.latest(Verb.COMMIT)
    if latest is None or latest.outcome is Outcome.TAKEN:
        return ""
    unknown = f"whether {version} survives a restart of the engine is unknown"
    return f"; warning: {latest.detail or unknown}"


def _silent_since(rollout: Rollout, backend: BackendObservation, now: float) -> float:
    """When the backend that is waited for was first seen not to answer; now, when it does or has just stopped."""
    return now if backend.reachable or rollout.silent_since is None else rollout.silent_since


def _any_moved(rollout: Rollout, seen: TrafficObservation) -> bool:
    """Only what this rollout ordered counts as its doing."""
    to = rollout.plan.to_version
    return any(rollout.latest(Verb.PLACE, b.url) is not None and b.serving == to for b in seen.backends)


def _serves(backend: BackendObservation, version: str) -> bool:
    return backend.reachable and backend.serving == version and backend.versions.get(version) is VersionState.READY


def _given_up(intent: Intent) -> bool:
    return intent.attempt >= MAX_ATTEMPTS and intent.outcome not in (Outcome.ORDERED, Outcome.INTERRUPTED)


def _no_effect(intent: Intent, backend: BackendObservation, version: str) -> str:
    if intent.outcome is Outcome.LOST:
        lost = f"{backend.url} did not reply to {intent.attempt} load orders ({intent.detail})"
        return f"{lost}; now {_says(backend, version)}"
    return (
        f"{backend.url} answered 200 to {intent.attempt} load orders but {_says(backend, version)}: the version's "
        "directory may be missing there, or something else unloads it"
    )


def _why_again(intent: Intent, backend: BackendObservation, version: str) -> str:
    why = {
        Outcome.TAKEN: "the order was answered 200",
        Outcome.LOST: f"the reply was lost ({intent.detail})",
        Outcome.REFUSED: f"it was refused ({intent.detail})",
    }.get(intent.outcome, "the control plane was stopped")
    return f"{why}, and {_says(backend, version)}"


def _says(backend: BackendObservation, version: str) -> str:
    """What the engine says of a version, in words."""
    if not backend.reachable:
        return f"it does not answer ({backend.error})"
    state = backend.versions.get(version)
    if state is VersionState.READY and backend.serving != version:
        return f"{version} is ready but {backend.serving} gets the traffic"
    reason = backend.reasons.get(version)
    return f"{version} is {state.value if state else 'not loaded'}{f' ({reason})' if reason else ''}"


def _count(backends: list[BackendObservation]) -> str:
    return backends[0].url if len(backends) == 1 else f"all {len(backends)} backends"


def _stay(rollout: Rollout, sentence: str, *orders: Order) -> Decision:
    return _at(rollout, rollout.phase, sentence, *orders)


def _end(rollout: Rollout, phase: Phase, sentence: str, *orders: Order) -> Decision:
    return replace(_at(rollout, phase, sentence, *orders), switched=False)


def _at(rollout: Rollout, phase: Phase, sentence: str, *orders: Order) -> Decision:
    return Decision(phase, sentence, orders, rollout.reason, rollout.moved, rollout.switched)
