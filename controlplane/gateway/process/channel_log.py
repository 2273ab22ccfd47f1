"""The log of a worker: its records go over the control channel to the supervisor, which writes the one log."""

from __future__ import annotations

import logging
import sys
from typing import Any

from controlplane.gateway.process.control import Channel
from controlplane.plain_text import plain

MAX_CHARS = 10_000
"""Largest text of one record, in characters. A longer one is cut: it may quote a client."""


class ChannelHandler(logging.Handler):
    """Sends records to the supervisor. Without one they go to stderr."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self.alone = False

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, with its traceback as text."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + (self.formatter or logging.Formatter()).formatException(record.exc_info)
        if self.alone:
            sys.stderr.write(f"{record.levelname} {record.name}: {plain(text[:MAX_CHARS])}\n")
        else:
            head = {"type": "log", "level": record.levelno, "logger": record.name, "text": text[:MAX_CHARS]}
            self._channel.send(head)


def log_for(worker: int, head: dict[str, Any]) -> None:
    """Write a worker's record into this process's log."""
    log = logging.getLogger(str(head.get("logger")))
    level = int(head.get("level", logging.INFO))
    if log.isEnabledFor(level):
        log.log(level, "worker %d: %s", worker, head.get("text"))
