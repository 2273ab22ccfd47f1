"""The step that has the candidate loaded. Pure."""

from __future__ import annotations

from controlplane.rollout.copying import replace
from controlplane.rollout.handlers.asking import ask
from controlplane.rollout.handlers.placing import LOADING, place, placed
from controlplane.rollout.handlers.situation import Situation
from controlplane.rollout.handlers.works import warm_one
from controlplane.rollout.model import Decision, Phase, Rollout
from controlplane.rollout.orders import Verb
from controlplane.rollout.steps import at, phase_of, share_of
from controlplane.rollout.verdict import judge
from controlplane.rollout.wishes import Wait, WaitKind


def bring_up(now_is: Situation) -> Decision | Rollout:
    """Load the candidate on one backend after another. The first failure stops it while the other backends serve.

    Where a backend gets requests at once, its candidate passes the gates before the next backend is ordered.
    """
    rollout, seen, now = now_is.rollout, now_is.seen, now_is.now
    plan, share = rollout.plan, share_of(rollout)
    if now_is.step.at_once:
        return _at_once(now_is)
    for number, url in enumerate(plan.backends):
        backend = seen.backend(url)
        if not placed(now_is, backend):
            begins = number > 0 and rollout.latest(Verb.PLACE, url) is None
            return (_held(now_is) if begins else None) or place(now_is, backend, LOADING)
        if share and url != plan.backends[-1]:
            if judge(rollout, (url,), now_is.evidence).asking:
                return ask(rollout, seen, Phase.SWITCHING, (url,), now)
            if (cold := warm_one(now_is, url)) is not None:
                return cold
    return replace(rollout, phase=phase_of(share), phase_at=now, verified_since=None, weight_since=now)


def _held(now_is: Situation) -> Decision | None:
    """Return the decision to watch the backends that serve the candidate before the next one, or None."""
    rollout, now, hold_s = now_is.rollout, now_is.now, now_is.step.hold_s
    since = now if rollout.verified_since is None else rollout.verified_since
    if now - since >= hold_s:
        return None
    words = f"{rollout.plan.to_version} serves on a part of the backends; the next one follows after {hold_s:g} s"
    watching = replace(at(rollout, Phase.SWITCHING, words), verified_since=since)
    return replace(watching, wait=Wait(WaitKind.TIME, words, since + hold_s))


def _at_once(now_is: Situation) -> Decision | Rollout:
    """Load the candidate on all backends at the same time. No version serves meanwhile."""
    rollout, plan = now_is.rollout, now_is.rollout.plan
    open_yet = [b for url in plan.backends if not placed(now_is, b := now_is.seen.backend(url))]
    decisions = [place(now_is, backend, LOADING) for backend in open_yet]
    for decision in decisions:
        if decision.phase is Phase.ROLLING_BACK or decision.reason:
            return decision
    if decisions:
        words = "; ".join(decision.sentence for decision in decisions)
        orders = tuple(order for decision in decisions for order in decision.orders)
        silent = next((d.silent_since for d in decisions if d.silent_since is not None), None)
        first = decisions[0]
        return replace(first, sentence=words, orders=orders, silent_since=silent)
    share = share_of(rollout)
    return replace(rollout, phase=phase_of(share), phase_at=now_is.now, verified_since=None, weight_since=now_is.now)
