"""Whether the stable version itself answers the candidate's questions, asked when a rollout is planned."""

from __future__ import annotations

import time

from controlplane.rollout.model import Plan
from controlplane.rollout.running.answers import judged
from controlplane.traffic.driver import Driver, NotSent, TrafficObservation

DOUBT_S = 5.0
"""Seconds that planning waits at most for the stable version's answers to all questions. Chosen."""


async def doubt(driver: Driver, plan: Plan, seen: TrafficObservation) -> str:
    """Ask the stable version each question once. Return a warning at its first bad answer, else ""."""
    check, stable = plan.check, plan.from_version
    serving = next((b.url for b in seen.backends if b.serving == stable), None)
    if serving is None:
        return ""
    what = f"the question of {check.origin}" if len(check.questions) == 1 else f"the questions of {check.origin}"
    ends_at = time.monotonic() + DOUBT_S
    for number, question in enumerate(check.questions):
        left = ends_at - time.monotonic()
        if left <= 0:
            return ""
        try:
            answer = await judged(driver, serving, stable, check, number, min(question.timeout_s, left))
        except NotSent as error:
            return f"{stable} could not be asked {what}: {error}"
        if answer.fault:
            return (
                f"{stable} itself does not answer {what} well ({answer.fault}). If the question is wrong, "
                f"{plan.to_version} will be rolled back too"
            )
    return ""
