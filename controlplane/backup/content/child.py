"""Has contents read by child processes at low priority: nothing that hangs or is large slows the control plane down."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from controlplane.backup.content.in_snapshot import FolderContent
from controlplane.backup.content.reading import Content
from controlplane.backup.errors import BackupError
from controlplane.backup.jobs.child import Bounds, Made, result_of, run_child, untold
from controlplane.backup.jobs.command import PROGRAM, WITHHELD, Place, environment_of

READING: Final = Bounds(silent_s=300.0, still_s=600.0, most_output=32 << 20)
"""When a reading counts as hanging. Chosen: a look at 100,000 files of a slow file server takes minutes."""
LISTING: Final = Bounds(silent_s=None, still_s=1800.0, most_output=32 << 20)
"""The same for commands that tell no progress: the time in all. Chosen: 10,000 heads of a slow bucket take minutes."""
AT_A_TIME: Final = 2
"""Most children at a time. Chosen: a promotion need not wait for the look at all versions."""
MOST_LEFT: Final = 16
"""Most children that could not be killed before no further one is started. Each holds about 50 MB."""


@dataclass
class _Reading:
    """One reading that somebody waits for."""

    task: asyncio.Task[Content]
    waiting: int = 0


@dataclass(frozen=True)
class Head:
    """One snapshot as `backup list` shows it. Times are Unix seconds."""

    id: str
    at: float
    """Time by the repository's clock."""
    subject: str
    version: str
    source: str
    host: str
    by: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """Facts of its files, where it is a snapshot of one version."""


class ContentReader:
    """Reads contents. Callers that want the same folder share one reading, which ends when nobody waits any more."""

    def __init__(
        self,
        memory: Path,
        *,
        program: Sequence[str] = PROGRAM,
        environment: Mapping[str, str] = os.environ,
        bounds: Bounds = READING,
        listing: Bounds = LISTING,
    ) -> None:
        """`memory` is the folder for what is remembered of files that do not change.

        `bounds` are those of readings of a folder, `listing` those of commands that tell no progress.
        """
        self.memory, self._program, self._environment = memory, tuple(program), environment
        self._bounds, self._listing = bounds, listing
        self._readings: dict[Path, _Reading] = {}
        self._tasks: set[asyncio.Task[Content]] = set()
        self._left: dict[str, int] = {}
        """Children that could not be killed, by what they read."""
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def read(self, root: Path) -> Content:
        """Return the content of a folder or a file. Raises BackupError, also when the reading hangs."""
        reading = self._readings.get(root)
        if reading is None:
            reading = self._readings[root] = _Reading(asyncio.create_task(self._read(root)))
            self._tasks.add(reading.task)
            reading.task.add_done_callback(self._ended)
        reading.waiting += 1
        try:
            return await asyncio.shield(reading.task)
        finally:
            reading.waiting -= 1
            if not reading.waiting:
                reading.task.cancel()  # nothing where it is done
                if self._readings.get(root) is reading:
                    del self._readings[root]

    async def snapshots(self, place: Place) -> list[Head]:
        """Return the snapshots of a repository, the newest first. Raises BackupError."""
        return await self._run((*self._program, "backup", "list", "--output=json"), self._of(place), _heads)

    async def in_snapshot(self, place: Place, snapshot: str, globs: Sequence[str]) -> list[FolderContent]:
        """Return the contents of a snapshot's folders whose paths match one of `globs`. Raises BackupError."""
        words = (
            *self._program,
            "backup",
            "contents",
            snapshot,
            *(f"--folder={glob}" for glob in globs),
            "--output=json",
        )
        return await self._run(words, self._of(place), lambda rows: [FolderContent(**row) for row in rows])

    async def existing(self, globs: Sequence[str]) -> list[Path]:
        """Return the paths that match a glob. Raises BackupError."""
        command = (sys.executable, "-m", "controlplane.backup.content.listing", *globs)
        return await self._run(command, self._own(), lambda rows: [Path(row) for row in rows])

    async def close(self) -> None:
        """Stop every reading, and wait for the ends of the children."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Content]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # also where nobody waits for it any more

    async def _read(self, root: Path) -> Content:
        words = ("models", "digest", f"--memory={self.memory}", "--output=json", "--", str(root))
        return await self._run((*self._program, *words), self._own(), lambda row: Content(**row), self._bounds)

    def _own(self) -> dict[str, str]:
        return {name: value for name, value in self._environment.items() if name not in WITHHELD}

    def _refuse_beside_hanging(self, what: str) -> None:
        """Raise BackupError while an earlier child that reads the same hangs, or too many hang: each try adds one."""
        self._left = {each: pid for each, pid in self._left.items() if _is_alive(pid)}
        if what in self._left:
            raise BackupError(f"an earlier reading still hangs (process {self._left[what]}): is a file server away?")
        if len(self._left) >= MOST_LEFT:
            raise BackupError(f"{len(self._left)} earlier readings still hang: is a file server away?")

    def _of(self, place: Place) -> dict[str, str]:
        return environment_of(place, self._environment)

    async def _run(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        made: Callable[[Any], Made],
        bounds: Bounds | None = None,
    ) -> Made:
        """Run a command and return what `made` makes of its result. Raises BackupError.

        Without `bounds` it is one that tells no progress.
        """
        what = words[-1]
        async with self._turns:
            self._refuse_beside_hanging(what)
            ended = await run_child(words, environment, bounds or self._listing, untold)
        if ended.left is not None:
            self._left[what] = ended.left
        try:
            return result_of(ended, made)
        except BackupError as error:
            raise BackupError(str(error).replace("controlplane: ", "", 1)) from None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # the number belongs to another user's process by now
    return True


def _heads(rows: Any) -> list[Head]:
    return [
        Head(
            id=str(row["id"]),
            at=datetime.fromisoformat(row["stored_at"]).timestamp(),
            subject=str(row["subject"]),
            version=str(row["version"] or ""),
            source=str(row["source"]),
            host=str(row["host"]),
            by=str(row["by"]),
            facts={str(name): str(text) for name, text in row["facts"].items()},
        )
        for row in rows
    ]
