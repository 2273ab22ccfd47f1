"""The order that brings the candidate to its share on one backend, and its repetitions. Pure."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.rollout.copying import replace
from controlplane.rollout.going_back import turn_back
from controlplane.rollout.handlers.situation import Situation
from controlplane.rollout.model import Decision, Phase, Rollout
from controlplane.rollout.orders import Intent, Order, OrderOutcome, Verb
from controlplane.rollout.steps import MAX_ATTEMPTS, at, carries, mirrors, share_of, silent_since, unknown
from controlplane.rollout.wishes import Wait, WaitKind
from controlplane.rollout.words.sentences import no_effect, says, why_again
from controlplane.traffic.driver import BackendObservation, VersionState


class Words(NamedTuple):
    """The words of an order, by what it does."""

    doing: str
    under_way: str
    failed: str
    missing: str


LOADING = Words("Loading", "is loading", "could not be loaded", "was not ready")
SHIFTING = Words("Sending requests to", "is getting requests", "could not get requests", "did not get its requests")
MIRRORING = Words(
    "Sending copies of requests to", "is getting copies", "could not get copies", "did not get copies of requests"
)


def wanted(now_is: Situation, url: str) -> Order:
    """Return the order that brings the candidate to the step's share on a backend."""
    plan = now_is.rollout.plan
    keep = (plan.from_version,) if plan.resident else ()
    return Order(Verb.PLACE, url, plan.to_version, keep, share_of(now_is.rollout), now_is.step.mirror)


def placed(now_is: Situation, backend: BackendObservation) -> bool:
    """Return whether the candidate is seen to have the step's share, and its copies were ordered or ended."""
    order = wanted(now_is, backend.url)
    if not carries(backend, order.serve, order.share):
        return False
    if backend.mirror is not None:
        return _thousandths(backend.mirror.get(order.serve, 0.0)) == _thousandths(order.mirror)
    if not mirrors(now_is.rollout):
        return True
    # This driver's observation does not show copies: only the reply to exactly this order tells of them.
    intent = now_is.rollout.intent(order)
    return intent is not None and intent.outcome is OrderOutcome.TAKEN


def _thousandths(share: float) -> int:
    """Return a share as drivers round it. A small share is not rounded to none."""
    return max(1, round(share * 1000)) if share > 0.0 else 0


def place(now_is: Situation, backend: BackendObservation, words: Words) -> Decision:
    """Bring the candidate to the step's share on one backend, or wait for it."""
    rollout, seen, now, url = now_is.rollout, now_is.seen, now_is.now, backend.url
    limit_s, order = rollout.plan.limits.load_s, wanted(now_is, url)
    version, intent, latest = order.serve, rollout.intent(order), rollout.latest(Verb.PLACE, url)
    phase = Phase.SWITCHING if rollout.moved or words is SHIFTING else Phase.PREPARING
    silent = silent_since(rollout, backend, now)
    if intent and intent.outcome is OrderOutcome.REFUSED:
        return turn_back(rollout, seen, now, f"{version} {words.failed}: {intent.detail}")
    out = latest is not None and latest.outcome is OrderOutcome.ORDERED
    ordered = intent or (latest if out else None)
    # A backend that was loaded long ago and does not answer for a moment has not used up its deadline.
    if now - (ordered.since if ordered and backend.reachable else silent) > limit_s:
        last = f"it does not answer ({backend.error})" if not backend.reachable else says(backend, version)
        reason = f"{version} {words.missing} on {url} within {limit_s:g} s; now {last}"
        return turn_back(rollout, seen, now, reason)
    if not backend.reachable:
        return _silent(rollout, phase, f"Waiting for {url}, whose state is unknown: {backend.error}", silent)
    if words is not LOADING and backend.versions.get(version) is not VersionState.READY:
        # No order, not even a repeated one, sends clients to a candidate that is not ready.
        if why := unknown(backend, version):
            return _silent(rollout, phase, f"{version} {words.under_way} on {url}: {why}", silent)
        lost = f"{version} stopped being ready on {url} before it got its share: {says(backend, version)}"
        return turn_back(rollout, seen, now, lost)
    if intent is None and out:
        # Two orders at a time could arrive in the wrong order.
        return _wait(rollout, phase, f"Waiting for the reply to the order before on {url}", _until(rollout, latest))
    if intent is None and now_is.hold is not None and order.share > backend.weights.get(version, 0.0):
        return replace(at(rollout, phase, now_is.hold.words), wait=now_is.hold)
    if intent is None:
        return _wait(rollout, phase, f"{words.doing} {version} on {url}", None, order)
    if intent.outcome is OrderOutcome.ORDERED or backend.versions.get(version) is VersionState.LOADING:
        serving = f"{backend.served} serves meanwhile"
        return _wait(rollout, phase, f"{version} {words.under_way} on {url}; {serving}", _until(rollout, intent))
    if intent.outcome is OrderOutcome.TAKEN and (why := unknown(backend, version)):
        return _silent(rollout, phase, f"{version} {words.under_way} on {url}: {why}", silent)
    if intent.outcome is not OrderOutcome.INTERRUPTED and intent.attempt >= MAX_ATTEMPTS:
        return turn_back(rollout, seen, now, no_effect(intent, backend, version))
    again = f"{words.doing} {version} on {url} again: {why_again(intent, backend, version)}"
    return _wait(rollout, phase, again, None, order)


def _until(rollout: Rollout, ordered: Intent | None) -> float | None:
    """Return the time at which an order has failed if nothing comes of it."""
    return None if ordered is None else ordered.since + rollout.plan.limits.load_s


def _silent(rollout: Rollout, phase: Phase, words: str, silent: float) -> Decision:
    """Wait for a backend of which nothing is known since `silent`."""
    return replace(_wait(rollout, phase, words, silent + rollout.plan.limits.load_s), silent_since=silent)


def _wait(rollout: Rollout, phase: Phase, words: str, until: float | None, *orders: Order) -> Decision:
    return replace(at(rollout, phase, words, *orders), silent_since=None, wait=Wait(WaitKind.ENGINE, words, until))
