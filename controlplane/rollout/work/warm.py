"""The warm gate: the same prompts to the candidate, one after another, until its time to the first token settles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from controlplane.config.models import ModelSection
from controlplane.rollout.findings import Finding, Outcome, Sample, Work
from controlplane.rollout.model import Plan, Rollout
from controlplane.rollout.options import Warm
from controlplane.rollout.work.prompts import question_of
from controlplane.traffic.driver import Driver, NotSent, Question

NOISE_S = 0.01
"""Differences up to this many seconds count as none. Chosen: 20 % of 20 ms is less than the noise of a scheduler."""
FAULTS = 3
"""Number of bad answers in a row with which the candidate fails. Chosen: it was asked before and answered."""
PAUSE_S, TRIES = 0.5, 10
"""Seconds between two tries to reach a backend, and the most failed tries in a row. As for test requests."""
SHOWN = 20
"""Most times in a sentence."""


class WarmWorker:
    """A rollout.workers.Worker: warms the candidate up on the backend that has the work's name, or on all.

    Requests go to the candidate's own address. No gateway counts them, and no user's limit or bill has them. Engines'
    own counters include them; looks begin with the first request of a client, so they never see them.
    """

    def __init__(
        self,
        drivers: Callable[[str], Driver | None],
        sections: Callable[[str], ModelSection | None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`drivers` and `sections` return the present driver and section of a model by its name, or None."""
        self._drivers, self._sections, self._monotonic, self._sleep = drivers, sections, monotonic, sleep

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """Return PASS when the time settled on every backend, FAIL for bad answers or a time that did not settle.

        A backend that cannot be reached is NOT_ENOUGH.
        """
        plan = rollout.plan
        driver, section, warm = self._drivers(plan.model), self._sections(plan.model), plan.options.warm or Warm()
        if driver is None or section is None:
            return Finding(Outcome.NOT_ENOUGH, (f"model {plan.model} is not in fleet.yaml",))
        questions = _questions(plan, section, warm)
        if not questions:
            cure = "set rollout.warm.prompts or verify: of the model"
            return Finding(Outcome.FAIL, (f"there is no prompt to warm {plan.to_version} up with; {cure}",))
        backends = (work.name,) if work.name in plan.backends else plan.backends
        ends = await asyncio.gather(*(self._warm(driver, url, plan, warm, questions) for url in backends))
        worst = next((o for o in (Outcome.FAIL, Outcome.NOT_ENOUGH) if any(e.outcome is o for e in ends)), Outcome.PASS)
        ordered = sorted(ends, key=lambda end: end.outcome is not worst)
        return Finding(worst, tuple(end.words for end in ordered), tuple(end.sample for end in ends))

    async def _warm(self, driver: Driver, url: str, plan: Plan, warm: Warm, questions: Sequence[Question]) -> _End:
        """Ask all questions in rounds. The time of a round is the sum of its questions' times to the first token."""
        version = plan.to_version
        ends_at = self._monotonic() + warm.timeout_s
        rounds: list[float] = []
        fault = ""
        number = faults = tries = 0
        while number < warm.at_most and (left := ends_at - self._monotonic()) > 0:
            try:
                seconds, fault = await self._round(driver, url, version, questions, left)
            except NotSent as error:
                tries += 1
                if tries == TRIES:
                    return _end(Outcome.NOT_ENOUGH, url, rounds, warm, f"{url} cannot be asked: {error}")
                await self._sleep(PAUSE_S)
                continue
            tries = 0
            number += 1
            if fault:
                faults += 1
                rounds.clear()  # what came before a fault does not show that the candidate is warm
                if faults == FAULTS:
                    return _end(
                        Outcome.FAIL, url, rounds, warm, f"{version} on {url} gave {FAULTS} bad answers: {fault}"
                    )
                continue
            faults = 0
            rounds.append(seconds)
            if settled(rounds, warm):
                return _end(Outcome.PASS, url, rounds, warm, f"{version} is warm on {url}: {_told(rounds, warm)}")
        when = f"in {number} rounds" if number == warm.at_most else f"within {warm.timeout_s:g} s"
        if not rounds:
            return _end(Outcome.FAIL, url, rounds, warm, f"{version} on {url} gave no good answer {when}: {fault}")
        words = f"the time to the first token of {version} on {url} did not settle {when}: {_told(rounds, warm)}"
        return _end(Outcome.FAIL, url, rounds, warm, words)

    async def _round(
        self, driver: Driver, url: str, version: str, questions: Sequence[Question], left: float
    ) -> tuple[float, str]:
        seconds = 0.0
        for question in questions:
            # A cold engine may take minutes for its first answer, so only the gate's own deadline counts.
            answer = await driver.ask(url, version, replace(question, timeout_s=left))
            if answer.fault:
                return 0.0, answer.fault
            seconds += answer.seconds if answer.first_s is None else answer.first_s
        return seconds, ""


class _End(NamedTuple):
    """The end of the warm-up of one backend."""

    outcome: Outcome
    words: str
    sample: Sample


def settled(rounds: Sequence[float], warm: Warm) -> bool:
    """Return whether the last `at_least` times differ from their median by at most the share `within`.

    `[3.0, 0.4, 0.2, 0.21, 0.2]` with `at_least=3` and `within=0.2` has settled.
    """
    last = rounds[-warm.at_least :]
    if len(last) < warm.at_least:
        return False
    middle = median(last)
    return all(abs(seconds - middle) <= max(warm.within * middle, NOISE_S) for seconds in last)


def _questions(plan: Plan, section: ModelSection, warm: Warm) -> list[Question]:
    if warm.prompts:
        return [question_of(plan, section, prompt, warm.timeout_s) for prompt in warm.prompts]
    return list(plan.check.questions)


def _end(outcome: Outcome, url: str, rounds: Sequence[float], warm: Warm, words: str) -> _End:
    number, middle = float(len(rounds)), median(rounds[-warm.at_least :]) if rounds else None
    return _End(outcome, words, Sample("ttft", "seconds", middle, None, number, 0.0, outcome=outcome, words=url))


def _told(rounds: Sequence[float], warm: Warm) -> str:
    last = rounds[-warm.at_least :]
    shown = ", ".join(f"{seconds:.3g}" for seconds in rounds[-SHOWN:])
    return f"{median(last):.3g} s, the last {len(last)} of {len(rounds)} rounds; first {rounds[0]:.3g} s ({shown})"
