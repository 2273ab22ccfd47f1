"""Looks whether somebody set the machine's clock, says so, and takes every part of the control plane along."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Protocol

from controlplane.clock.system import STEP_S, ClockReport, ClockStep, SystemClock

log = logging.getLogger(__name__)

LOOK_S = 1.0


class RuleEvaluator(Protocol):
    """Who evaluates rules."""

    @property
    def steady(self) -> AbstractAsyncContextManager[None]:
        """Entered to be alone: nobody reads or writes times meanwhile."""
        ...

    settle_s: float
    """How long it takes until every target was scraped twice, and rules have seen that."""


class ClockWatch:
    """Watches one clock. `turn` is called every LOOK_S."""

    def __init__(
        self,
        clock: SystemClock,
        evaluator: RuleEvaluator,
        followers: Sequence[Callable[[float], None]],
        ahead_s: float = 0.0,
    ) -> None:
        """Each of `followers` is told by how many seconds the clock went forward, right after it did.

        `ahead_s` is by how much the newest sample of earlier runs lies in the future.
        """
        self._clock, self._evaluator, self._followers = clock, evaluator, followers
        self._creeps = self._adopting = False
        self._stepped_at: float | None = None
        """Monotonic seconds of the last step."""
        if ahead_s >= STEP_S:
            self._stepped_at = clock.monotonic()
            self._say_start(clock.note(-ahead_s))

    async def turn(self) -> None:
        """Measure; on a step, let everybody follow."""
        if self._clock.measure():
            self._adopting = True
            async with self._evaluator.steady:
                self._adopting = False
                if step := self._clock.adopt():
                    self._stepped_at = self._clock.monotonic()
                    for follow in self._followers:
                        follow(step.by_s)
                    self._say(step)
        if self._clock.report().creeps != self._creeps:
            self._creeps = not self._creeps
            self._say_creep(self._clock.report())

    def not_ready(self) -> str:
        """Return why what is shown may not hold just now; empty when all is well."""
        if self._adopting:
            return "the clock was set by somebody just now"
        step = self._clock.report().last
        if self._stepped_at is None or step is None:
            return ""
        left_s = self._stepped_at + self._evaluator.settle_s - self._clock.monotonic()
        if left_s <= 0:
            return ""
        return (
            f"the clock was set {_direction(step.by_s)} by {_words(abs(step.by_s))} at {_when(step.at)}; "
            f"ready in {math.ceil(left_s)} s, when targets and rules have been looked at since"
        )

    def _say(self, step: ClockStep) -> None:
        log.error(
            "clock: it was set %s by %s and shows %s now; waiting alerts, messages and rollouts were moved along%s",
            _direction(step.by_s),
            _words(abs(step.by_s)),
            _when(step.at),
            "" if step.by_s > 0 else ", and samples of the time that is lived again replace those of before",
        )

    def _say_start(self, step: ClockStep) -> None:
        log.error(
            "clock: there are samples from %s, and it is %s: the clock was set back by %s or more while the control "
            "plane was down, or was ahead before",
            _when(step.at - step.by_s),
            _when(step.at),
            _words(-step.by_s),
        )

    def _say_creep(self, report: ClockReport) -> None:
        if self._creeps:
            where = "ahead" if report.creep_s > 0 else "back"
            log.error(
                "clock: it creeps: small changes took it %s by %.1f s within an hour; is this machine's time "
                "synchronised?",
                where,
                abs(report.creep_s),
            )
        else:
            log.info("clock: it no longer creeps")


def _direction(by_s: float) -> str:
    return "forward" if by_s > 0 else "back"


def _words(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
