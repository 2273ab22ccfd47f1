"""Progress of long work, and the number of threads that do it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import Final

MOST_LANES: Final = 4
"""Most lanes of a run: 4 take 292 MB, which with Python stays below 400 MB."""


def usual_lanes() -> int:
    """Return the number of threads of a run on this machine."""
    return min(MOST_LANES, os.cpu_count() or 1)


@dataclass
class Tally:
    """Progress of a run. Any thread may count and read."""

    files: int = 0
    bytes: int = 0
    """Bytes of all files of the source."""
    done: int = 0
    """Bytes that were read, or are known to be unchanged."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, count: int) -> None:
        """Count bytes as done."""
        with self.lock:
            self.done += count
