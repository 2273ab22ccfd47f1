"""Asking a candidate the plan's questions on one backend: in turn, each with a deadline, until a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from statistics import median

from controlplane.rollout.model import Check, Trial
from controlplane.rollout.running.answers import Control, control, judged
from controlplane.traffic.driver import Driver, NotSent

PAUSE_S, TRIES = 0.5, 10
"""Seconds between two tries to reach a backend, and the maximum number of failed tries in a row. Chosen."""


async def run(
    driver: Driver, version: str, check: Check, trial: Trial, note: Callable[[Trial], None], stable: str = ""
) -> None:
    """Ask `version` on the trial's backend. `note` gets the trial after each answer.

    A question that it refuses counts against it only if `stable` answers it well. "": there is no version to compare.

    An unreachable backend says nothing about the version: after TRIES tries the trial is left unfinished.
    """
    good: list[float] = []
    controls: dict[int, Control] = {}
    """By the number of the question."""
    tries = 0
    while not trial.finished and tries < TRIES:
        try:
            number = trial.asked % len(check.questions)
            answer = await judged(driver, trial.backend, version, check, number, check.questions[number].timeout_s)
        except NotSent:
            tries += 1
            await asyncio.sleep(PAUSE_S)
            continue
        tries = 0
        fault, remark = answer.fault, ""
        if answer.refused and stable:
            if number not in controls:
                controls[number] = await control(driver, trial.backend, stable, check, number)
            compared = f"{fault}; {controls[number].words}"
            fault, remark = (compared, "") if controls[number].well else ("", compared)
        if not answer.fault:
            good.append(answer.seconds)
        trial = replace(
            trial,
            asked=trial.asked + 1,
            failed=trial.failed + bool(fault),
            misfits=trial.misfits + bool(remark),
            words=trial.words or fault,
            remark=trial.remark or remark,
            median_s=median(good) if good else None,
            slowest_s=max(good, default=None),
        )
        enough = trial.asked >= check.requests or trial.failed > check.failures
        trial = replace(trial, finished=enough)
        note(trial)
