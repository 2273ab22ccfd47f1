"""The item of the checklist that wants a backup: a run that began after the rollout was created, and succeeded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from controlplane.errors import Conflict
from controlplane.rollout.findings import Finding, Outcome
from controlplane.store.backups.runs import BackupOutcome, BackupRun, BackupRunStore

LOOK_S: Final = 5.0
"""Seconds between two looks at the runs: as often as the control plane looks for wishes."""
RUNS: Final = 20
"""Newest runs that are looked at. More do not end within the time between two looks."""


class BackupWaiter:
    """Waits for backups. The runs are those of the control plane that holds the lease of backups."""

    def __init__(
        self,
        runs: BackupRunStore,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._runs, self._now, self._sleep = runs, now, sleep

    async def fresh(self, job: str, since: float, by: str) -> Finding:
        """Wait for the end of a run of `job` that began at `since`, in unix seconds, or later.

        It asks for one as `by` when there is none, and again after an interrupted one. A run that began earlier does
        not count. PASS: it succeeded. FAIL: it failed. Raises Unavailable.
        """
        while True:
            runs = await asyncio.to_thread(self._runs.runs, job, RUNS)
            after = [run for run in runs if run.started_at is None or run.started_at >= since]
            if (good := next((run for run in after if run.succeeded), None)) is not None:
                made = f": snapshot {good.snapshot}" if good.snapshot else ""
                return Finding(Outcome.PASS, (f"the backup {job} succeeded after the rollout was created{made}",))
            if after and after[0].outcome == BackupOutcome.FAILED and _asked_since(after[0], since):
                return Finding(Outcome.FAIL, (f"the backup {job} failed: {after[0].words or 'it gave no reason'}",))
            if not any(run.outcome is None for run in runs):
                with suppress(Conflict):  # another process has just asked for one
                    await asyncio.to_thread(self._runs.ask, job, by, self._now())
            await self._sleep(LOOK_S)


def _asked_since(run: BackupRun, since: float) -> bool:
    """Return whether a run that failed is one after `since`: one that never began counts by its wish."""
    return (run.asked_at if run.started_at is None else run.started_at) >= since
