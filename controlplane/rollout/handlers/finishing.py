"""The last steps: make the candidate survive a restart, and unload the old version. Pure."""

from __future__ import annotations

from controlplane.rollout.copying import replace
from controlplane.rollout.handlers.situation import Situation
from controlplane.rollout.model import Decision, Phase, Rollout
from controlplane.rollout.orders import Order, OrderOutcome, Verb
from controlplane.rollout.steps import at, commit_is_out, commit_warning, given_up, must_commit, serves, unknown
from controlplane.rollout.words.sentences import judged, says, uncounted, untried
from controlplane.traffic.driver import BackendObservation, VersionState


def commit(now_is: Situation) -> Decision | Rollout:
    """Make the candidate survive a restart of the engine, before the old version is unloaded."""
    rollout = now_is.rollout
    commit = Order(Verb.COMMIT, "", rollout.plan.to_version)
    if must_commit(rollout, commit):
        return at(rollout, Phase.DRAINING, f"{judged(rollout)}; making it survive a restart", commit)
    if commit_is_out(rollout) and not _overdue(now_is):
        return at(rollout, Phase.DRAINING, rollout.sentence)
    return rollout


def _overdue(now_is: Situation) -> bool:
    """Return whether the step's deadline has passed. Time in which no control plane ran counts: engines go on."""
    rollout, now = now_is.rollout, now_is.now
    entered = rollout.steps_at[rollout.step] if len(rollout.steps_at) > rollout.step else now
    return now - (entered if rollout.steps_at else rollout.phase_at) > rollout.plan.limits.drain_s


def retire(now_is: Situation) -> Decision | Rollout:
    """Unload the old version, and wait for its running requests up to the plan's deadline."""
    rollout, seen = now_is.rollout, now_is.seen
    plan, old, version = rollout.plan, rollout.plan.from_version, rollout.plan.to_version
    overdue = _overdue(now_is)
    orders, waiting = [], []
    for url in plan.backends:
        order, words = _retire_one(rollout, seen.backend(url))
        orders += [order] if order else []
        waiting += [words] if words else []
    warning = commit_warning(rollout, version)
    if not waiting:
        stays = all(old in seen.backend(url).stays for url in plan.backends)
        gone = "gets no more" if stays else "is unloaded"
        words = f"{version} serves, {old} has finished its requests and {gone}{_doubts(rollout)}{warning}"
        return at(rollout, Phase.SUCCEEDED, words)
    # A missing unload is ordered even when overdue: the control plane may have been down until now.
    if orders or not overdue:
        return at(rollout, Phase.DRAINING, "; ".join(waiting), *orders)
    backends = [seen.backend(url) for url in plan.backends]
    without = [b for b in backends if not unknown(b, version) and not serves(b, version)]
    if without:
        words = (
            f"{says(without[0], version)} on {without[0].url} after the switch; `cp rollback {plan.model}` goes back"
        )
        lost = at(rollout, Phase.FAILED, f"{version} does not serve everywhere: {words}")
        return replace(lost, needs_person=True)
    words = (
        f"{version} serves{_doubts(rollout)}; warning: after {plan.limits.drain_s:g} s {'; '.join(waiting)}{warning}"
    )
    return at(rollout, Phase.SUCCEEDED, words)


def _doubts(rollout: Rollout) -> str:
    return f"{untried(rollout)}{uncounted(rollout)}"


def _retire_one(rollout: Rollout, backend: BackendObservation) -> tuple[Order | None, str]:
    """Return the order for this backend, and the state in words ("": the old version is gone)."""
    old, version, url = rollout.plan.from_version, rollout.plan.to_version, backend.url
    if not backend.reachable:
        return None, f"{url} does not answer, whether {old} is gone is unknown: {backend.error}"
    if backend.pending:
        return None, backend.pending
    if not serves(backend, version):
        return None, f"{version} does not serve on {url}: {says(backend, version)}"
    state = backend.versions.get(old, VersionState.UNAVAILABLE)
    if state is VersionState.UNAVAILABLE:
        return None, ""
    if old in backend.stays:
        left = (backend.open or {}).get(old, 0)
        return None, f"{old} is finishing {left} request{'' if left == 1 else 's'} on {url}" if left else ""
    if state is VersionState.UNLOADING:
        return None, f"{old} is finishing its requests on {url}"
    order = Order(Verb.PLACE, url, version)
    intent = rollout.intent(order)
    if intent and (intent.outcome is OrderOutcome.ORDERED or given_up(intent)):
        detail = f": {intent.detail}" if intent.detail else ""
        return None, f"{old} is still loaded on {url}{detail}"
    return order, f"Unloading {old} on {url} as soon as its requests are finished"
