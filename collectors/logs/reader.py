"""A thread that reads one log. A disk or a command that hangs holds up this thread only."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from collectors.logs.places import LogPlace, Places
from collectors.logs.sink import Fault
from collectors.logs.tally import Tally

TURN_S = 1.0
"""Seconds between two turns of a reader that has caught up."""
_MEND_S = 5.0
_log = logging.getLogger(__name__)


class Following(Protocol):
    """Source of lines that a reader calls again and again: files, or the output of a command."""

    @property
    def files(self) -> int:
        """Number of files or commands that are followed now."""
        ...

    @property
    def faults(self) -> Sequence[Fault]:
        """Faults of the last turn."""
        ...

    def poll(self, now: float) -> bool:
        """Read what has come, and return whether more waits. `now` is monotonic time in seconds."""
        ...

    def place(self) -> LogPlace:
        """Return how far it was read. Not during `poll`."""
        ...

    def stop(self) -> None:
        """End what `poll` waits for. Any thread may call this, also during `poll`."""
        ...

    def close(self) -> None:
        """Release files and children. Not during `poll`."""
        ...


class Reader:
    """Polls until it is closed."""

    def __init__(self, following: Following, tally: Tally, places: Places | None = None) -> None:
        """Note in `places`, if given, how far the log was read."""
        self._following, self._places = following, places
        self._tally = tally
        self._stop = threading.Event()
        # A daemon: a thread that waits for a dead disk cannot be ended, and must not keep the process.
        self._thread = threading.Thread(target=self._run, name=f"log {tally.settings.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Let the reader end, and end the commands that it runs."""
        self._stop.set()
        self._following.stop()

    def join(self, until: float) -> None:
        """Wait for the end of a stopped reader until a monotonic time. One that hangs is left behind."""
        self._thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        self._poll()
        self._following.close()

    def _poll(self) -> None:
        while not self._stop.is_set():
            try:
                more = self._following.poll(time.monotonic())
            except Exception as bug:  # noqa: BLE001 - the thread's boundary: one log's bug must not end its reading
                _log.exception("internal error: log %s", self._tally.settings.name)
                self._tally.turned(self._following.files, [Fault("internal", f"internal error: {type(bug).__name__}")])
                self._stop.wait(_MEND_S)
                continue
            self._tally.turned(self._following.files, self._following.faults)
            if self._places:
                self._places.note(self._tally.settings.name, self._following.place())
            if not more:
                self._stop.wait(TURN_S)
