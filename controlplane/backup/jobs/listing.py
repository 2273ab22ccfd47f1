"""The list of a repository's snapshots for pages: read by a child process, kept in memory, and shown with its age.

A repository that hangs, or a bucket with a million snapshots, costs a page nothing: it shows what was read last.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from controlplane.backup.jobs.child import Bounds, fault_of, run_child, untold
from controlplane.backup.jobs.command import PROGRAM, Place, environment_of

log = logging.getLogger(__name__)

MOST: Final = 200
"""Snapshots that are read. Chosen: about 200 KB of a result, below the child's bound, and one page for a person."""
KEPT_S: Final = 300.0
"""Seconds after which a list is read again while somebody looks. Chosen: it costs half a second of one CPU."""
AFTER_FAULT_S: Final = 60.0
"""Seconds after which a list that could not be read is tried again."""
BOUNDS: Final = Bounds(silent_s=None, still_s=120.0, look_s=1.0)
"""The verb tells no progress. Chosen: 200 heads, one after another, over a network with 0.5 s a request."""


@dataclass(frozen=True)
class Listing:
    """The snapshots as they were read last. Times are Unix seconds."""

    read_at: float | None = None
    """When `snapshots` were read; None: not yet."""
    snapshots: tuple[Mapping[str, Any], ...] = ()
    """The newest ones, as `backup list -o json` prints them, the newest first."""
    more: bool = False
    """Whether the repository has more."""
    notes: tuple[str, ...] = ()
    """Sentences of the verb beside its result: snapshots that cannot be read, clocks that differ."""
    fault: str = ""
    """Why the last try failed; empty: it succeeded, or there was none."""
    tried_at: float | None = None
    """End of the last try."""
    reading_since: float | None = None
    """When the try that runs now began; None: none runs."""


class SnapshotLister:
    """Reads the list in the background, one try at a time. All methods are called in the event loop."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        program: Sequence[str] = PROGRAM,
        environment: Mapping[str, str] = os.environ,
        bounds: Bounds = BOUNDS,
    ) -> None:
        self._now, self._program, self._environment, self._bounds = now, tuple(program), environment, bounds
        self._place: Place | None = None
        self._listing = Listing()
        self._task: asyncio.Task[None] | None = None

    def look(self, place: Place, changed_at: float | None = None) -> Listing:
        """Return what is known of a repository's snapshots, at once. Begin to read them where that is old.

        `changed_at` is when a run last ended: what was read before is old.
        """
        if place != self._place:
            if self._task is not None:
                self._task.cancel()
            self._place, self._listing, self._task = place, Listing(), None
        if self._task is None and self._is_old(changed_at):
            self._listing = replace(self._listing, reading_since=self._now())
            self._task = asyncio.create_task(self._read(place), name="list of snapshots")
        return self._listing

    async def close(self) -> None:
        """Stop reading, and wait for the end of the child."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _is_old(self, changed_at: float | None) -> bool:
        known = self._listing
        if known.tried_at is None:
            return True
        kept = AFTER_FAULT_S if known.fault else KEPT_S
        changed = changed_at is not None and not known.fault and changed_at > (known.read_at or 0.0)
        return changed or not 0 <= self._now() - known.tried_at < kept

    async def _read(self, place: Place) -> None:
        found = Listing(fault="it was not read")
        try:
            found = await self._tried(place)
        except Exception as error:
            log.exception("list of snapshots")
            found = Listing(fault=f"{type(error).__name__}: {error}")
        if place != self._place:
            return  # a reload named another repository meanwhile
        if found.fault:
            known = self._listing
            found = replace(known, fault=found.fault)
        self._listing = replace(found, tried_at=self._now(), reading_since=None)
        self._task = None

    async def _tried(self, place: Place) -> Listing:
        began = self._now()
        command = [*self._program, "backup", "list", "--output=json", f"--limit={MOST + 1}"]
        ended = await run_child(command, environment_of(place, self._environment), self._bounds, untold)
        if fault := ended.stopped or fault_of(ended):  # the last words of one that was stopped are a traceback
            return Listing(fault=fault)
        try:
            rows = orjson.loads(ended.output)
        except orjson.JSONDecodeError:
            rows = None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return Listing(fault="its result cannot be read")
        return Listing(began, tuple(rows[:MOST]), len(rows) > MOST, ended.lines)
