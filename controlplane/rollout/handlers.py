"""Handlers of steps, one for each kind: from the situation to a decision, or to the rollout after the step. Pure.

Strategies are lists of these kinds. A new kind needs a handler here; the state machine (decide.py) stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from controlplane.rollout.going_back import turn_back
from controlplane.rollout.model import Decision, Evidence, Phase, Rollout, StepKind
from controlplane.rollout.orders import Order, OrderOutcome, Verb
from controlplane.rollout.sentences import count, judged, no_effect, says, uncounted, untried, why_again
from controlplane.rollout.steps import (
    MAX_ATTEMPTS,
    at,
    carries,
    commit_is_out,
    commit_warning,
    given_up,
    must_commit,
    phase_of,
    serves,
    share_at,
    silent_since,
    unknown,
)
from controlplane.rollout.verdict import judge, nothing_tried
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState

NOTHING = Evidence(unknown="no metrics were queried")
"""The evidence where no metrics and no alerts were read."""
COUNT_S = 30.0
"""Seconds that a new share waits for its first counted request. Chosen: a model may get no requests at all."""


class Situation(NamedTuple):
    """A rollout at a step, with the observation and the evidence at `now` (unix seconds)."""

    rollout: Rollout
    seen: TrafficObservation
    now: float
    evidence: Evidence


Handler = Callable[[Situation], Decision | Rollout]
"""Returns the decision of a step that is not done, or the rollout after a step that is."""


def _bring_up(now_is: Situation) -> Decision | Rollout:
    """Load the candidate on one backend after another. The first failure stops it while the other backends serve."""
    rollout, seen, now, evidence = now_is
    plan, share = rollout.plan, share_at(rollout.plan, rollout.step)
    for url in plan.backends:
        backend = seen.backend(url)
        if not carries(backend, plan.to_version, share):
            return _place(rollout, seen, backend, now, _LOADING)
        if share and url != plan.backends[-1] and judge(rollout, (url,), evidence).asking:
            return _ask(rollout, seen, Phase.SWITCHING, (url,), now)
    return replace(rollout, phase=phase_of(share), phase_at=now, verified_since=None)


def _shift(now_is: Situation) -> Decision | Rollout:
    """Send the step's share of the requests to the candidate. Wait for a while for requests that are counted there."""
    rollout, seen, now, _ = now_is
    plan, share, version = rollout.plan, share_at(rollout.plan, rollout.step), rollout.plan.to_version
    backends = [seen.backend(url) for url in plan.backends]
    for backend in backends:
        if not carries(backend, version, share):
            return _place(rollout, seen, backend, now, _SHIFTING)
    phase = phase_of(share)
    since = now if rollout.verified_since is None else rollout.verified_since
    silent = [b for b in backends if b.requests is not None and not b.requests.get(version)]
    if silent and share and now - since < COUNT_S:
        words = (
            f"{version} gets {100 * share:g}% of the requests on {silent[0].url}; waiting for the first to be counted"
        )
        return replace(at(rollout, phase, words), verified_since=since)
    counts = [b for b in backends if b.requests is not None]
    counted = not silent if counts else None
    return replace(rollout, phase=phase, phase_at=now, verified_since=None, counted=counted)


def _ask(rollout: Rollout, seen: TrafficObservation, phase: Phase, urls: tuple[str, ...], now: float) -> Decision:
    """Ask the candidate on these backends. Roll back when a trial there is not finished by its deadline."""
    plan, check = rollout.plan, rollout.plan.check
    assert check.question is not None  # without a question judge() names no backend to ask
    patience = plan.limits.load_s + check.requests * check.question.timeout_s
    for url in urls:
        trial = rollout.trial(url)
        if trial is not None and now - trial.since > patience:
            words = f"{plan.to_version} did not answer its questions on {url} within {patience:g} s"
            return turn_back(rollout, seen, now, words)
    many = f"{check.requests} question{'' if check.requests == 1 else 's'} from {check.origin}"
    state = "is ready" if phase is Phase.PREPARING else "serves"
    words = f"{plan.to_version} {state} on {', '.join(urls)} and is asked {many}"
    since = now if rollout.verified_since is None else rollout.verified_since
    watching = since if phase is Phase.VERIFYING else None
    return replace(at(rollout, phase, words), asks=urls, verified_since=watching)


class _Words(NamedTuple):
    """The words of an order, by what it does."""

    doing: str
    under_way: str
    failed: str
    missing: str


_LOADING = _Words("Loading", "is loading", "could not be loaded", "was not ready")
_SHIFTING = _Words("Sending requests to", "is getting requests", "could not get requests", "did not get its requests")


def _place(
    rollout: Rollout, seen: TrafficObservation, backend: BackendObservation, now: float, words: _Words
) -> Decision:
    """Bring the candidate to the step's share on one backend, or wait for it."""
    plan, url, share = rollout.plan, backend.url, share_at(rollout.plan, rollout.step)
    version = plan.to_version
    keep = (plan.from_version,) if plan.resident else ()
    order = Order(Verb.PLACE, url, version, keep, share)
    intent = rollout.intent(order)
    phase = Phase.SWITCHING if rollout.moved or words is _SHIFTING else Phase.PREPARING
    silent = silent_since(rollout, backend, now)
    waited = now - (intent.since if intent else silent)
    if intent and intent.outcome is OrderOutcome.REFUSED:
        return turn_back(rollout, seen, now, f"{version} {words.failed}: {intent.detail}")
    if waited > plan.limits.load_s:
        last = f"it does not answer ({backend.error})" if not backend.reachable else says(backend, version)
        reason = f"{version} {words.missing} on {url} within {plan.limits.load_s:g} s; now {last}"
        return turn_back(rollout, seen, now, reason)
    if not backend.reachable:
        sentence = f"Waiting for {url}, whose state is unknown: {backend.error}"
        return replace(at(rollout, phase, sentence), silent_since=silent)
    if intent is None:
        return at(rollout, phase, f"{words.doing} {version} on {url}", order)
    if intent.outcome is OrderOutcome.ORDERED or backend.versions.get(version) is VersionState.LOADING:
        serving = f"{backend.served} serves meanwhile"
        return at(rollout, phase, f"{version} {words.under_way} on {url}; {serving}")
    if intent.outcome is OrderOutcome.TAKEN and (why := unknown(backend, version)):
        return replace(at(rollout, phase, f"{version} {words.under_way} on {url}: {why}"), silent_since=silent)
    if intent.outcome is not OrderOutcome.INTERRUPTED and intent.attempt >= MAX_ATTEMPTS:
        return turn_back(rollout, seen, now, no_effect(intent, backend, version))
    again = f"{words.doing} {version} on {url} again: {why_again(intent, backend, version)}"
    return at(rollout, phase, again, order)


def _ask_all(now_is: Situation) -> Decision | Rollout:
    """Wait until the candidate has answered on every backend."""
    rollout, seen, now, evidence = now_is
    if (broken := _must_carry(now_is)) is not None:
        return broken
    asking = judge(rollout, rollout.plan.backends, evidence).asking
    phase = phase_of(share_at(rollout.plan, rollout.step))
    return _ask(rollout, seen, phase, asking, now) if asking else rollout


def _watch(now_is: Situation) -> Decision | Rollout:
    """Wait until the candidate has had its share for `hold_s` seconds without a break.

    With all requests it is the stable version then.
    """
    rollout, seen, now, evidence = now_is
    plan, version, hold_s = rollout.plan, rollout.plan.to_version, rollout.plan.steps[rollout.step].hold_s
    share = share_at(plan, rollout.step)
    if (broken := _must_carry(now_is)) is not None:
        return broken
    since = now if rollout.verified_since is None else rollout.verified_since
    if now - since < hold_s:
        backends = [seen.backend(url) for url in plan.backends]
        answered = f"{judge(rollout, plan.backends, NOTHING).evidence}; " if rollout.trials else ""
        part = "" if share == 1.0 else f" {100 * share:g}% of the requests"
        words = (
            f"{version} serves{part} on {count(backends)}{uncounted(rollout)}; {answered}"
            f"it must serve without a break for {hold_s:g} s"
        )
        return replace(at(rollout, phase_of(share), words), verified_since=since)
    if share < 1.0:
        return replace(rollout, verified_since=None)
    verdict = judge(rollout, plan.backends, evidence)
    verified = verdict.tried and not verdict.against
    why = verdict.evidence if verdict.tried else nothing_tried(rollout, evidence)
    warning = f"warning: {verdict.against}" if verdict.against else ""
    judged_now = replace(rollout, verified=verified, evidence="; ".join(filter(None, (warning, why))))
    return replace(judged_now, phase=Phase.DRAINING, phase_at=now, switched=True)


def _must_carry(now_is: Situation) -> Decision | None:
    """Return the decision where the candidate is not seen to have its share on a backend, or None."""
    rollout, seen, now, _ = now_is
    plan, version, share = rollout.plan, rollout.plan.to_version, share_at(rollout.plan, rollout.step)
    backends = [seen.backend(url) for url in plan.backends]
    lost = [b for b in backends if not unknown(b, version) and not carries(b, version, share)]
    if lost:
        words = f"{version} stopped serving on {lost[0].url} while it was being verified: {says(lost[0], version)}"
        return turn_back(rollout, seen, now, words)
    silent = [(b, why) for b in backends if (why := unknown(b, version))]
    if not silent:
        return None
    backend, why = silent[0]
    quiet = silent_since(rollout, backend, now)
    if now - quiet > plan.limits.load_s:
        words = f"{version} could not be verified within {plan.limits.load_s:g} s: {why}"
        return turn_back(rollout, seen, now, words)
    if backend.reachable:
        words = f"{version} cannot be verified now: {why}"
    else:
        words = f"{version} serves, but cannot be verified while {backend.url} does not answer: {why}"
    return replace(at(rollout, phase_of(share), words), silent_since=quiet)


def _commit(now_is: Situation) -> Decision | Rollout:
    """Make the candidate survive a restart of the engine, before the old version is unloaded."""
    rollout, _, now, _ = now_is
    commit = Order(Verb.COMMIT, "", rollout.plan.to_version)
    if must_commit(rollout, commit):
        return at(rollout, Phase.DRAINING, f"{judged(rollout)}; making it survive a restart", commit)
    if commit_is_out(rollout) and not _overdue(rollout, now):
        return at(rollout, Phase.DRAINING, rollout.sentence)
    return rollout


def _overdue(rollout: Rollout, now: float) -> bool:
    return now - rollout.phase_at > rollout.plan.limits.drain_s


def _retire(now_is: Situation) -> Decision | Rollout:
    """Unload the old version, and wait for its running requests up to the plan's deadline."""
    rollout, seen, now, _ = now_is
    plan, old, version = rollout.plan, rollout.plan.from_version, rollout.plan.to_version
    overdue = _overdue(rollout, now)
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


HANDLERS: Mapping[StepKind, Handler] = MappingProxyType(
    {
        StepKind.BRING_UP: _bring_up,
        StepKind.ASK: _ask_all,
        StepKind.SHIFT: _shift,
        StepKind.WATCH: _watch,
        StepKind.COMMIT: _commit,
        StepKind.RETIRE: _retire,
    }
)
"""Handlers by kind of step."""
