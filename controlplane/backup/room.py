"""Free space of a repository that is a folder. Object stores have no end that could be measured."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controlplane.config.backup.buckets import folder_of

LOOK_EVERY_S: Final = 30.0
KNOWN_FOR_S: Final = 300.0
"""Seconds that a measurement counts. Chosen: what a file system said before it hung is soon wrong."""
PATIENCE_S: Final = 1.0
"""Seconds that a reader waits for a measurement that runs."""


@dataclass(frozen=True)
class Room:
    """Bytes of the file system that a repository is on."""

    free: int
    """Bytes that a program without special rights may still write."""
    size: int


class RoomWatch:
    """Measures the space when it is asked for, in a thread of its own.

    A network file system that hangs keeps that thread for ever, and nothing else: readers wait for a second, and get
    the last measurement for some minutes.
    """

    def __init__(
        self,
        measure: Callable[[Path], Room] | None = None,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._measure, self._clock, self._patience_s = measure or measured, clock, patience_s
        self._lock = threading.Lock()
        self._running: threading.Thread | None = None
        self._folder: Path | None = None
        self._found: Room | None = None
        self._at = 0.0

    def room(self, address: str) -> Room | None:
        """Return the space of the repository at an address; None: it is in an object store, or not known now."""
        folder = folder_of(address)
        if folder is None:
            return None
        with self._lock:
            if folder != self._folder:
                self._folder, self._found, self._running = folder, None, None
            due = self._found is None or self._clock() - self._at >= LOOK_EVERY_S
            if due and (self._running is None or not self._running.is_alive()):
                # A daemon: a thread that hangs must not keep the process from ending.
                self._running = threading.Thread(target=self._look, args=(folder,), name="backup-room", daemon=True)
                self._running.start()
            running = self._running
        if due and running is not None:
            running.join(self._patience_s)
        with self._lock:
            return self._found if self._clock() - self._at < KNOWN_FOR_S else None

    def _look(self, folder: Path) -> None:
        try:
            found: Room | None = self._measure(folder)
        except OSError:
            found = None  # the runs of the jobs say why
        with self._lock:
            if folder == self._folder:
                self._found, self._at = found, self._clock()


def measured(folder: Path) -> Room:
    """Return the space of a folder's file system. Raises OSError."""
    status = os.statvfs(folder)
    # Blocks that are reserved for root count neither as free nor as a part of the whole, as in `df`.
    size = status.f_blocks - status.f_bfree + status.f_bavail
    return Room(status.f_bavail * status.f_frsize, size * status.f_frsize)
