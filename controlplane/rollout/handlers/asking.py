"""The step that asks the candidate the plan's questions. Pure."""

from __future__ import annotations

from controlplane.rollout.copying import replace
from controlplane.rollout.going_back import turn_back
from controlplane.rollout.handlers.situation import Situation, must_carry
from controlplane.rollout.model import Decision, Phase, Rollout
from controlplane.rollout.steps import at, phase_of, share_of
from controlplane.rollout.verdict import judge
from controlplane.rollout.wishes import Wait, WaitKind
from controlplane.traffic.driver import TrafficObservation


def ask(rollout: Rollout, seen: TrafficObservation, phase: Phase, urls: tuple[str, ...], now: float) -> Decision:
    """Ask the candidate on these backends. Roll back when a trial there is not finished by its deadline."""
    plan, check = rollout.plan, rollout.plan.check
    patience = plan.limits.load_s + check.patience_s
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
    return replace(at(rollout, phase, words), asks=urls, verified_since=watching, wait=Wait(WaitKind.WORK, words))


def ask_all(now_is: Situation) -> Decision | Rollout:
    """Wait until the candidate has answered on every backend."""
    rollout, seen, now, evidence = now_is.rollout, now_is.seen, now_is.now, now_is.evidence
    if (broken := must_carry(now_is)) is not None:
        return broken
    asking = judge(rollout, rollout.plan.backends, evidence).asking
    phase = phase_of(share_of(rollout))
    return ask(rollout, seen, phase, asking, now) if asking else rollout
