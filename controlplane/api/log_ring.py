"""The control plane's own last log lines, kept in memory for those who cannot reach its standard error."""

from __future__ import annotations

import logging
from collections import deque
from typing import NamedTuple

KEPT = 1000
"""Lines: a screenful of context around anything that just went wrong, in four megabytes at the very most."""
MAX_LINE = 4096
"""Characters kept of one line, a traceback included."""


class LogLine(NamedTuple):
    """One record. Ids grow, across restarts too; `at` is unix seconds."""

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
        # A reader that follows across a restart goes on with the new process's first line.
        self._id = int(started_at) * 1_000_000

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record. Called by logging, under this handler's lock."""
        text = self.format(record)
        if len(text) > MAX_LINE:
            text = text[:MAX_LINE] + "…"
        self._id += 1
        self._lines.append(LogLine(self._id, record.created, record.levelname.lower(), record.name, text))

    def lines(self, after: int | None, limit: int, level: int) -> list[LogLine]:
        """Return up to `limit` lines at least as grave as `level`: the newest, or the first ones after id `after`."""
        assert self.lock is not None
        with self.lock:
            kept = list(self._lines)
        grave = [line for line in kept if logging.getLevelNamesMapping()[line.level.upper()] >= level]
        if after is None:
            return grave[-limit:]
        # An id beyond the newest is of a process that ran under a later clock: nothing here was seen yet.
        known = after if kept and after <= kept[-1].id else -1
        return [line for line in grave if line.id > known][:limit]
