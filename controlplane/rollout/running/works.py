"""Works that run: hooks, checks, warm-ups, golden sets, looks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from controlplane.errors import ControlPlaneError
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind, WorkState
from controlplane.rollout.handlers.looks import noted
from controlplane.rollout.model import Rollout
from controlplane.rollout.running.kept import bounded, readable
from controlplane.rollout.workers import RunsOnce, Worker
from controlplane.store.rollout_log import RolloutLog

log = logging.getLogger(__name__)

MAX_RUNNING = 8
"""Maximum number of works of one kind that run at a time, of all models together. Chosen: a golden set of one model
must not hold up the looks at the others."""


class Works:
    """The works that this process runs. One that is not here is begun again after a crash."""

    def __init__(self, rollouts: RolloutLog, workers: Mapping[WorkKind, Worker], news: Callable[[], None]) -> None:
        """`news` is called when a work has ended."""
        self._log, self._workers, self._news = rollouts, dict(workers), news
        self._running: dict[str, dict[Work, asyncio.Task[Finding]]] = {}
        """The works that run, by rollout."""
        self._turns = {kind: asyncio.Semaphore(MAX_RUNNING) for kind in WorkKind}

    def begin(self, rollout: Rollout, work: Work, *, again: bool = False) -> asyncio.Task[Finding]:
        """Start a work unless it is running. `again`: a process that died may have begun it: it was stored then."""
        running = self._running.setdefault(rollout.id, {})
        if work not in running:
            state = rollout.work(work)
            assert state is not None  # advance() stores the work before it begins
            task = asyncio.create_task(self._run(rollout, state, again), name=f"rollout {rollout.id} {work.kind}")
            task.add_done_callback(self._ended)
            running[work] = task
        return running[work]

    def noted(self, rollout: Rollout, now: float) -> Rollout:
        """Return the rollout with the findings that came since the last tick."""
        for work, task in self._running.get(rollout.id, {}).items():
            if task.done():
                rollout = noted(rollout, work, task.result(), now)
        return rollout

    def forget(self, rollout: Rollout) -> None:
        """Cancel the works that nothing waits for."""
        running = self._running.get(rollout.id, {})
        for work in list(running):
            state = rollout.work(work)
            if state is None or state.finding is not None or rollout.finished:
                running.pop(work).cancel()
        if not running:
            self._running.pop(rollout.id, None)

    def tasks(self) -> list[asyncio.Task[Finding]]:
        """Return the works that were started and whose findings are not stored yet."""
        return [task for running in self._running.values() for task in running.values()]

    def drop(self) -> list[asyncio.Task[Finding]]:
        """Cancel all works, and return them."""
        tasks = self.tasks()
        self._running.clear()
        for task in tasks:
            task.cancel()
        return tasks

    def _ended(self, task: asyncio.Task[Finding]) -> None:
        if not task.cancelled():
            self._news()

    async def _run(self, rollout: Rollout, state: WorkState, again: bool) -> Finding:
        work = state.work
        # A hook that cannot be called has failed: its meaning of failure says what follows.
        bad = Outcome.FAIL if work.kind is WorkKind.HOOK else Outcome.NOT_ENOUGH
        worker = self._workers.get(work.kind)
        if worker is None:
            return Finding(bad, (f"this control plane has no worker for {work.kind}",))
        try:
            async with self._turns[work.kind]:
                before = await self._before(rollout, work)
                if again and isinstance(worker, RunsOnce):
                    return bounded(worker.interrupted(rollout, work, before))
                return bounded(await worker.run(rollout, work, state.since, before))
        except ControlPlaneError as error:
            return bounded(Finding(bad, (str(error),)))
        except Exception as error:  # a job's boundary: a fault in a worker must end in the rollout's history
            log.exception("rollout %s: %s %s failed", rollout.id, work.kind, work.name)
            return bounded(Finding(bad, (f"the {work.kind} failed ({type(error).__name__}: {error})",)))

    async def _before(self, rollout: Rollout, work: Work) -> Finding | None:
        """Read the latest finding of the same kind and name, with the worker's own data."""
        if work.number == 1 and work.kind is not WorkKind.GOLDEN:
            return None  # the first of its kind and name
        record = await asyncio.to_thread(self._log.latest_finding, rollout.id, work.kind.value, work.name)
        found = readable([record]) if record is not None else []
        return found[0].finding if found else None
