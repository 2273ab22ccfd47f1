"""Detects steps of the machine's clock, logs them, and notifies every part of the control plane."""

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
    """The part that evaluates rules."""

    @property
    def steady(self) -> AbstractAsyncContextManager[None]:
        """Lock that excludes all readers and writers of stored times."""
        ...

    @property
    def settle_s(self) -> float:
        """Seconds until every target was scraped twice and rules have read those samples."""
        ...


class ClockWatch:
    """Watches one clock. `turn` is called every LOOK_S."""

    def __init__(
        self,
        clock: SystemClock,
        evaluator: RuleEvaluator,
        followers: Sequence[Callable[[float], None]],
        ahead_s: float = 0.0,
    ) -> None:
        """Call each of `followers` right after a step with its seconds; forward is positive.

        `ahead_s` is the time in seconds from now to the newest sample of earlier runs, positive if it is in the future.
        """
        self._clock, self._evaluator, self._followers = clock, evaluator, followers
        self._creeps = self._adopting = False
        self._stepped_at: float | None = None
        """Monotonic seconds of the last step."""
        if ahead_s >= STEP_S:
            self._stepped_at = clock.monotonic()
            self._say_start(clock.note(-ahead_s))

    async def turn(self) -> None:
        """Measure the clock. After a step, call all followers."""
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
        """Return why shown values may be wrong at the moment; "" when they are not."""
        if self._adopting:
            return "the machine's clock was set just now"
        step = self._clock.report().last
        if self._stepped_at is None or step is None:
            return ""
        left_s = self._stepped_at + self._evaluator.settle_s - self._clock.monotonic()
        if left_s <= 0:
            return ""
        return (
            f"the clock was set {_direction(step.by_s)} by {_words(abs(step.by_s))} at {_when(step.at)}; "
            f"ready in {math.ceil(left_s)} s, after new scrapes and evaluations"
        )

    def _say(self, step: ClockStep) -> None:
        log.error(
            "clock: it was set %s by %s and shows %s now; waiting alerts, messages and rollouts were moved along%s",
            _direction(step.by_s),
            _words(abs(step.by_s)),
            _when(step.at),
            "" if step.by_s > 0 else ", and new samples replace the old ones of the repeated time",
        )

    def _say_start(self, step: ClockStep) -> None:
        log.error(
            "clock: the newest sample is from %s, but it is %s now: the clock was set back by %s or more while the "
            "control plane was down, or it was ahead before",
            _when(step.at - step.by_s),
            _when(step.at),
            _words(-step.by_s),
        )

    def _say_creep(self, report: ClockReport) -> None:
        if self._creeps:
            where = "ahead" if report.creep_s > 0 else "back"
            log.error(
                "clock: small changes moved it %s by %.1f s within an hour; check the time synchronisation of this "
                "machine",
                where,
                abs(report.creep_s),
            )
        else:
            log.info("clock: the small changes have stopped")


def _direction(by_s: float) -> str:
    return "forward" if by_s > 0 else "back"


def _words(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
