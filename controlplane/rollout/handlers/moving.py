"""Steps that send requests, or copies of them, to the candidate. Pure."""

from __future__ import annotations

from controlplane.rollout.copying import replace
from controlplane.rollout.findings import WorkKind
from controlplane.rollout.handlers.placing import MIRRORING, SHIFTING, Words, place, placed
from controlplane.rollout.handlers.situation import Situation, must_carry
from controlplane.rollout.handlers.times import over, time_left
from controlplane.rollout.handlers.works import judged_by
from controlplane.rollout.model import Decision, Rollout
from controlplane.rollout.steps import at, phase_of, share_of
from controlplane.rollout.wishes import Wait, WaitKind

COUNT_S = 30.0
"""Seconds that a new share waits for its first counted request. Chosen: a model may get no requests at all."""


def shift(now_is: Situation) -> Decision | Rollout:
    """Send the step's share of the requests to the candidate. Wait for a while for requests that are counted there."""
    rollout, now = now_is.rollout, now_is.now
    plan, share, version = rollout.plan, share_of(rollout), rollout.plan.to_version
    if (open_yet := _place_all(now_is, SHIFTING)) is not None:
        return open_yet
    backends = [now_is.seen.backend(url) for url in plan.backends]
    phase = phase_of(share)
    since = now if rollout.verified_since is None else rollout.verified_since
    silent = [b for b in backends if b.requests is not None and not b.requests.get(version)]
    if silent and share and now - since < COUNT_S:
        words = (
            f"{version} gets {100 * share:g}% of the requests on {silent[0].url}; waiting for the first to be counted"
        )
        wait = Wait(WaitKind.DATA, words, since + COUNT_S)
        return replace(at(rollout, phase, words), verified_since=since, wait=wait)
    counts = [b for b in backends if b.requests is not None]
    counted = not silent if counts else None
    return replace(rollout, phase=phase, phase_at=now, verified_since=None, weight_since=now, counted=counted)


def mirror(now_is: Situation) -> Decision | Rollout:
    """Send copies of requests to the candidate for the step's time, then compare its answers."""
    if (open_yet := _place_all(now_is, MIRRORING)) is not None:
        return open_yet
    version = now_is.rollout.plan.to_version
    if not over(now_is):
        return time_left(now_is, f"{version} gets copies of {100 * now_is.step.mirror:g}% of the requests")
    return judged_by(
        now_is, WorkKind.MIRRORED, f"Comparing the mirrored answers of {version}", f"{version} answers otherwise"
    )


def testers(now_is: Situation) -> Decision | Rollout:
    """Let testers reach the candidate by a header for the step's time."""
    if (open_yet := _place_all(now_is, MIRRORING)) is not None:
        return open_yet
    if (broken := must_carry(now_is)) is not None:
        return broken
    version = now_is.rollout.plan.to_version
    return now_is.rollout if over(now_is) else time_left(now_is, f"Testers reach {version} by the header")


def _place_all(now_is: Situation, words: Words) -> Decision | None:
    """Return the decision while the candidate has not the step's share and copies on every backend, or None."""
    for url in now_is.rollout.plan.backends:
        if not placed(now_is, backend := now_is.seen.backend(url)):
            return place(now_is, backend, words)
    return None
