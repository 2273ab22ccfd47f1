"""Whether the stable version itself answers the candidate's questions, asked when a rollout is planned."""

from __future__ import annotations

import time
from dataclasses import replace

from controlplane.rollout.model import Plan
from controlplane.rollout.running.answers import Judged, judged
from controlplane.traffic.driver import Driver, NotSent, TrafficObservation

DOUBT_S = 5.0
"""Seconds that planning waits at most for the stable version's answers to all questions. Chosen."""


async def doubted(driver: Driver, plan: Plan, seen: TrafficObservation) -> Plan:
    """Return the plan with the stable version's answers to the questions, and a note about its first bad one.

    The answers are not known where it does not serve alone on any backend, and beyond DOUBT_S.
    """
    check, stable = plan.check, plan.from_version
    serving = next((b.url for b in seen.backends if b.serving == stable), None)
    if serving is None or not check.questions:
        return plan
    what = f"the question of {check.origin}" if len(check.questions) == 1 else f"the questions of {check.origin}"
    ends_at = time.monotonic() + DOUBT_S
    answers: list[Judged] = []
    warnings: list[str] = []
    for number, question in enumerate(check.questions):
        left = ends_at - time.monotonic()
        if left <= 0:
            break
        try:
            answers.append(await judged(driver, serving, stable, check, number, min(question.timeout_s, left)))
        except NotSent as error:
            warnings.append(f"{stable} could not be asked {what}: {error}")
            break
    warnings += [_warning(plan, what, answer) for answer in answers if answer.fault]
    known = tuple(not answer.fault for answer in answers)
    return replace(plan, check=replace(check, answered=known), notes=(*plan.notes, *warnings[:1]))


def _warning(plan: Plan, what: str, answer: Judged) -> str:
    new = plan.to_version
    if answer.refused:
        end = f"{new} is not rolled back if it refuses the question too, and not verified by it"
    else:
        end = f"If the question is wrong, {new} will be rolled back too"
    return f"{plan.from_version} itself does not answer {what} well ({answer.fault}). {end}"
