"""One run of a job: it is recorded, its child does the work, and its end is recorded, whatever the end is."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from alerts.interfaces import Clock
from controlplane.backup.errors import BackupError
from controlplane.backup.jobs.child import QUIET, TELLING, Bounds, Ended, fault_of, result_of, run_child
from controlplane.backup.jobs.command import PROGRAM, Place, Work, environment_of
from controlplane.config.backup.section import DRILL, VERIFY
from controlplane.errors import LeaseLost, Unavailable
from controlplane.store.backups.runs import CUT_SHORT, BackupOutcome, BackupResult, BackupRun, BackupRunStore
from controlplane.store.lease import Lease

log = logging.getLogger(__name__)


class BackupRunner:
    """Carries out one work after another."""

    def __init__(
        self,
        runs: BackupRunStore,
        clock: Clock,
        *,
        program: Sequence[str] = PROGRAM,
        environment: Mapping[str, str] = os.environ,
        telling: Bounds = TELLING,
        quiet: Bounds = QUIET,
    ) -> None:
        """`program` runs the verbs. `telling` bounds verbs that tell their progress, `quiet` those that do not."""
        self._runs, self._clock, self._program, self._environment = runs, clock, tuple(program), environment
        self._telling, self._quiet = telling, quiet

    async def run(self, work: Work, place: Place, lease: Lease | None) -> BackupRun:
        """Run a work to its end and return its record.

        Raises BackupError when it failed, LeaseLost when another process took the jobs over (it records the run as
        interrupted), Conflict while a run of the job is open, and Unavailable.
        """
        begun = await asyncio.to_thread(self._runs.begin, work.job, lease, self._clock.now())
        log.info("backup %s: a run begins%s", work.job, f", asked for by {begun.asked_by}" if begun.asked_by else "")
        result = BackupResult(BackupOutcome.INTERRUPTED, CUT_SHORT)
        try:
            result = await self._made(work, place, begun.id, lease)
            if result.outcome is BackupOutcome.SUCCEEDED and work.after:
                good = result
                result = _with(good, "the prune after it was interrupted")
                result = _with(good, await self._pruned(work, place, begun.id, lease))
        except (LeaseLost, Unavailable):
            raise  # the next tick of the holder of the lease ends the run
        except Exception as error:
            log.exception("backup %s", work.job)
            result = BackupResult(BackupOutcome.FAILED, f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            # The process ends. Its loops wait for this, and the calendar's time stays due: the next start makes it up.
            await asyncio.shield(asyncio.to_thread(self._runs.finish, begun.id, result, lease, self._clock.now()))
            raise
        ended = await asyncio.to_thread(self._runs.finish, begun.id, result, lease, self._clock.now())
        if not ended.succeeded:
            raise BackupError(f"the backup {work.job} failed: {ended.words}")
        log.info("backup %s: done%s", work.job, f": {ended.words}" if ended.words else "")
        return ended

    async def _made(self, work: Work, place: Place, run: int, lease: Lease | None) -> BackupResult:
        ended = await self._child(work.command, place, self._telling, run, lease)
        try:
            return result_of(ended, lambda document: _result(work, document))
        except BackupError as error:
            return BackupResult(BackupOutcome.FAILED, str(error))

    async def _pruned(self, work: Work, place: Place, run: int, lease: Lease | None) -> str:
        """Prune, and return what the operator should know of it. A prune that fails takes nothing from the backup."""
        ended = await self._child(work.after, place, self._quiet, run, lease)
        if not (fault := fault_of(ended)):
            gone = [line.split()[0] for line in ended.output.decode("utf-8", "replace").splitlines() if _goes(line)]
            if gone:
                log.info("backup %s: the prune after it deleted the snapshots %s", work.job, ", ".join(gone))
            return ""
        sentence = f"the prune after it failed: {fault}"
        log.warning("backup %s: %s", work.job, sentence)
        return sentence

    async def _child(self, words: Sequence[str], place: Place, bounds: Bounds, run: int, lease: Lease | None) -> Ended:
        """Run a verb, and return its end."""

        async def tell(done: int, total: int) -> None:
            try:
                await asyncio.to_thread(self._runs.progress, run, done, total, lease)
            except Unavailable as error:
                # A backup of hours goes on without the database. No process can have taken the lease over unseen:
                # the next writing checks it.
                log.warning("backup: the progress of a run cannot be stored: %s", error)

        return await run_child([*self._program, *words], environment_of(place, self._environment), bounds, tell)


def _goes(line: str) -> bool:
    """Return whether a line of the output of `backup prune` is about a snapshot that goes."""
    return line.rstrip().endswith(" DELETE")


def _with(result: BackupResult, words: str) -> BackupResult:
    return replace(result, words=f"{result.words} {words}".strip())


def _result(work: Work, document: dict[str, Any]) -> BackupResult:
    """Return the result of a good run. Raises KeyError, TypeError and ValueError for another document."""
    words = " ".join(str(note) for note in document["notes"])
    if work.job == VERIFY:
        read = f"{document['packs']} of {document['of']} packs were read, and are whole"
        return BackupResult(BackupOutcome.SUCCEEDED, f"{read} {words}".strip(), bytes=int(document["bytes"]))
    if work.job.startswith(DRILL):
        words, size = f"{document['sentence']} {words}".strip(), int(document["restored_bytes"])
        at = datetime.fromisoformat(document["stored_at"]).timestamp()
        return BackupResult(BackupOutcome.SUCCEEDED, words, str(document["id"]), at, bytes=size)
    return BackupResult(
        BackupOutcome.SUCCEEDED,
        words,
        str(document["id"]),
        datetime.fromisoformat(document["stored_at"]).timestamp(),
        int(document["bytes"]),
        int(document["new_bytes"]),
    )
