"""Trials that run: the questions to a candidate, and to the old version after a rollback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from controlplane.rollout.copying import replace
from controlplane.rollout.model import Phase, Rollout, Trial
from controlplane.rollout.running import trial
from controlplane.rollout.steps import is_judged
from controlplane.traffic.driver import Driver

log = logging.getLogger(__name__)

MAX_ASKING = 8
"""Maximum number of trials that run at a time, of all models together; each has one question out. Chosen."""


class _Key(NamedTuple):
    rollout: str
    backend: str
    of_stable: bool


class Questions:
    """The trials that this process runs."""

    def __init__(self, news: Callable[[], None]) -> None:
        """`news` is called when a trial has ended."""
        self._news = news
        self._asking: dict[_Key, asyncio.Task[None]] = {}
        self._answered: dict[_Key, Trial] = {}
        self._turns = asyncio.Semaphore(MAX_ASKING)

    def ask(self, driver: Driver, rollout: Rollout, url: str, *, of_stable: bool = False) -> asyncio.Task[None]:
        """Start the trial on one backend unless it is running. After a restart of the process it begins anew."""
        key = _Key(rollout.id, url, of_stable)
        asked = rollout.trial_of_stable(url) if of_stable else rollout.trial(url)
        assert asked is not None  # advance() stores the trial before the first question
        if key not in self._asking or self._asking[key].done():
            fresh = self._answered.get(key, Trial(url, asked.since, of_stable=of_stable))
            task = asyncio.create_task(self._run(driver, rollout, fresh), name=f"rollout {rollout.id} asks {url}")
            task.add_done_callback(self._ended)
            self._asking[key] = task
        return self._asking[key]

    def noted(self, rollout: Rollout) -> Rollout:
        """Return the rollout with the answers that came since the last tick."""
        if not self._answered or not rollout.trials:
            return rollout
        trials = tuple(
            t if t.finished else self._answered.get(_Key(rollout.id, t.backend, t.of_stable), t) for t in rollout.trials
        )
        return replace(rollout, trials=trials)

    def forget(self, rollout: Rollout) -> None:
        """Cancel the trials that nothing waits for, and those on backends that load the candidate again."""
        # Only the keys that this rollout can have: a tick forgets for each of hundreds of rollouts.
        for key in (_Key(rollout.id, url, old) for url in rollout.plan.backends for old in (False, True)):
            if not _is_wanted(rollout, key):
                self._answered.pop(key, None)
                if task := self._asking.pop(key, None):
                    task.cancel()

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return the trials that were started."""
        return list(self._asking.values())

    def drop(self) -> list[asyncio.Task[None]]:
        """Cancel all trials, and return them."""
        tasks = self.tasks()
        self._asking.clear()
        for task in tasks:
            task.cancel()
        return tasks

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._news()

    async def _run(self, driver: Driver, rollout: Rollout, fresh: Trial) -> None:
        key, plan = _Key(rollout.id, fresh.backend, fresh.of_stable), rollout.plan

        def note(answered: Trial) -> None:
            self._answered[key] = answered

        try:
            async with self._turns:
                if fresh.of_stable:
                    await trial.run(driver, plan.from_version, plan.check, fresh, note)
                else:
                    await trial.run(driver, plan.to_version, plan.check, fresh, note, plan.from_version)
        except Exception as error:  # a job's boundary: a fault in a driver must end in the rollout's history
            log.exception("rollout %s: asking %s failed", rollout.id, fresh.backend)
            failures = plan.check.failures + 1
            words = f"it could not be asked ({type(error).__name__}: {error})"
            note(replace(fresh, asked=failures, failed=failures, words=words, finished=True))


def _is_wanted(rollout: Rollout, key: _Key) -> bool:
    if key.of_stable:
        return rollout.phase is Phase.ROLLING_BACK and rollout.trial_of_stable(key.backend) is not None
    return is_judged(rollout) and rollout.trial(key.backend) is not None
