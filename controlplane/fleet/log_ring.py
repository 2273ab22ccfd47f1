"""The control plane's newest log lines, in memory, for people without access to its standard error."""

from __future__ import annotations

import logging
from collections import deque
from typing import NamedTuple

KEPT = 1000
"""Number of lines. Chosen: enough context around a fault, in at most 4 MB (1000 x MAX_LINE)."""
MAX_LINE = 4096
"""Maximum number of characters of one line, a traceback included. Chosen."""


class LogLine(NamedTuple):
    """One log record. Ids grow, also across restarts; `at` is unix seconds."""

    id: int
    at: float
    level: str
    logger: str
    message: str


class LogRing(logging.Handler):
    """Keeps the newest lines of the loggers that it is added to."""

    def __init__(self, started_at: float, kept: int = KEPT) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._lines: deque[LogLine] = deque(maxlen=kept)
        # Ids start at the time of the start, so that a reader's last id of an earlier process is smaller.
        self._id = int(started_at) * 1_000_000

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record. Called by logging, under this handler's lock."""
        text = self.format(record)
        if len(text) > MAX_LINE:
            text = text[:MAX_LINE] + "…"
        self._id += 1
        self._lines.append(LogLine(self._id, record.created, record.levelname.lower(), record.name, text))

    def lines(self, after: int | None, limit: int, level: int) -> list[LogLine]:
        """Return up to `limit` lines of `level` and above: the newest ones, or the first ones after id `after`."""
        assert self.lock is not None
        with self.lock:
            kept = list(self._lines)
        grave = [line for line in kept if logging.getLevelNamesMapping()[line.level.upper()] >= level]
        if after is None:
            return grave[-limit:]
        # An id above the newest comes from a process with a later clock: the reader has seen none of these lines.
        known = after if kept and after <= kept[-1].id else -1
        return [line for line in grave if line.id > known][:limit]
