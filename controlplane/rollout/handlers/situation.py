"""The input of a step's handler, and functions that several handlers share. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from controlplane.rollout.copying import replace
from controlplane.rollout.going_back import turn_back
from controlplane.rollout.model import Decision, Evidence, Phase, Rollout, Step
from controlplane.rollout.steps import at, carries, phase_of, share_of, silent_since, unknown
from controlplane.rollout.wishes import Wait, WaitKind
from controlplane.rollout.words.sentences import says
from controlplane.traffic.driver import TrafficObservation

NOTHING = Evidence(unknown="no metrics were queried")
"""The evidence where no metrics and no alerts were read."""
AGAIN_S = 10.0
"""Seconds until a work that found too little is repeated. Chosen: less than a scrape interval."""


class Situation(NamedTuple):
    """A rollout at a step, with the observation and the evidence at `now` (unix seconds)."""

    rollout: Rollout
    seen: TrafficObservation
    now: float
    evidence: Evidence
    hold: Wait | None = None
    """Why no further traffic may move to the candidate now, such as a freeze window. None: it may."""

    @property
    def step(self) -> Step:
        """The current step."""
        return self.rollout.plan.steps[self.rollout.step]

    @property
    def since(self) -> float:
        """Start of the current step's waiting time."""
        return self.now if self.rollout.held_since is None else self.rollout.held_since


Handler = Callable[[Situation], Decision | Rollout]
"""Returns the decision of a step that is not done, or the rollout after a step that is."""


def standing(rollout: Rollout) -> Phase:
    """Return the phase of a step that orders nothing."""
    if rollout.switched:
        return Phase.DRAINING
    loads = (step.weight is not None for step in rollout.plan.steps[: rollout.step + 1])
    return phase_of(share_of(rollout)) if any(loads) else rollout.phase


def waiting(now_is: Situation, wait: Wait) -> Decision:
    """Return the decision to wait at the current step."""
    held = replace(now_is.rollout, held_since=now_is.since)
    return replace(at(held, standing(held), wait.words), wait=wait)


def for_operator(now_is: Situation, fault: str, name: str) -> Decision:
    """Return the decision to wait until an operator resumes. `name` is the name of the wait within the step."""
    rollout = now_is.rollout
    words = f"{fault}; `cp rollouts resume {rollout.id}` goes on, `cp rollouts abort {rollout.id}` goes back"
    return waiting(now_is, Wait(WaitKind.OPERATOR, words, name=name))


def must_carry(now_is: Situation) -> Decision | None:
    """Return the decision where the candidate is not seen to have its share on a backend, or None."""
    rollout, seen, now = now_is.rollout, now_is.seen, now_is.now
    plan, version, share = rollout.plan, rollout.plan.to_version, share_of(rollout)
    backends = [seen.backend(url) for url in plan.backends]
    lost = [b for b in backends if not unknown(b, version) and not carries(b, version, share)]
    if lost:
        when = "after the switch" if rollout.switched else "while it was being verified"
        words = f"{version} stopped serving on {lost[0].url} {when}: {says(lost[0], version)}"
        return turn_back(rollout, seen, now, words)
    silent = [(b, why) for b in backends if (why := unknown(b, version))]
    if not silent:
        return None
    backend, why = silent[0]
    quiet = silent_since(rollout, backend, now)
    # After the switch an unknown state is no reason to go back: the candidate was verified.
    if now - quiet > plan.limits.load_s and not rollout.switched:
        words = f"{version} could not be verified within {plan.limits.load_s:g} s: {why}"
        return turn_back(rollout, seen, now, words)
    if backend.reachable:
        words = f"{version} cannot be verified now: {why}"
    else:
        words = f"{version} serves, but cannot be verified while {backend.url} does not answer: {why}"
    quietly = replace(at(rollout, standing(rollout), words), silent_since=quiet)
    # After the switch nothing ends this wait but the backend.
    until = None if rollout.switched else quiet + plan.limits.load_s
    return replace(quietly, wait=Wait(WaitKind.ENGINE, words, until))
