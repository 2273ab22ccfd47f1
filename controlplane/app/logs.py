"""The log: set up once for each process, as text or JSON, with all unprintable characters escaped on output.

A record may quote engines, exporters and clients. In text each record is one line that begins with its time. A
traceback follows indented, so that none of its lines looks like a record. In JSON each record is one object a line.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, TextIO

from controlplane.plain_text import plain, plain_lines

CHATTY = {
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "uvicorn": logging.ERROR,
}
"""Libraries that log too much, each with its lowest level that is logged.

uvicorn logs a warning for each malformed request, so unknown clients could fill the log.
"""
INDENT = "    "
MAX_FIELD = 10_000
"""Most characters of a text in a record. A longer text is cut: one reply of an engine must not fill the disk."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes that every record has. All others are fields that came with `extra`."""


class LogFormat(StrEnum):
    """The formats of the log."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class TextFormatter(logging.Formatter):
    """`time LEVEL logger: message`, and below it a traceback, indented. The time is in UTC, as every verb shows it."""

    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the record's one line."""
        return _cut(plain(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return a traceback, indented so that none of its lines looks like a record."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Return a stack, indented like a traceback."""
        return _indented(stack_info)


class JsonFormatter(logging.Formatter):
    """One object a line: time (RFC 3339, UTC), level, logger, message; also fields and traceback if there are any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. All characters beyond ASCII are escaped in JSON's way."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": time,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
        }
        if fields := {name: value for name, value in vars(record).items() if name not in _OWN}:
            line["fields"] = {name: _plain_data(value) for name, value in fields.items()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, allow_nan=False)


class Handler(logging.StreamHandler[TextIO]):
    """Writes records. A record that cannot be rendered becomes a record about that fault."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Log the place of a record that cannot be rendered. Do nothing when the reader of the log has gone."""
        bug = sys.exc_info()[1]
        if (isinstance(bug, OSError | ValueError) and self.stream.closed) or isinstance(bug, BrokenPipeError):
            return
        note = logging.LogRecord(
            record.name, logging.ERROR, record.pathname, record.lineno,
            "a record of %s:%d cannot be rendered: %s", (record.pathname, record.lineno, type(bug).__name__), None,
        )  # fmt: skip
        try:
            self.stream.write(self.format(note) + self.terminator)
        except OSError:
            return


def set_up_log(form: LogFormat = LogFormat.TEXT, level: LogLevel = LogLevel.INFO, stream: TextIO | None = None) -> None:
    """Write all records of this process to `stream` (by default stderr), with Python's own warnings and crashes."""
    handler = Handler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form is LogFormat.JSON else TextFormatter())
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=number, handlers=[handler], force=True)
    for chatty, least in CHATTY.items():
        logging.getLogger(chatty).setLevel(max(number, least))
    logging.captureWarnings(True)
    log = logging.getLogger(__name__)

    def crashed(kind: type[BaseException], bug: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        log.critical("internal error: the process ends", exc_info=(kind, bug, trace))

    def thread_crashed(seen: threading.ExceptHookArgs) -> None:
        name = seen.thread.name if seen.thread else "a thread"
        if seen.exc_value is not None and not issubclass(seen.exc_type, SystemExit):
            log.error("internal error: %s ends", name, exc_info=(seen.exc_type, seen.exc_value, seen.exc_traceback))

    def left_over(seen: Any) -> None:
        error = (type(seen.exc_value), seen.exc_value, seen.exc_traceback) if seen.exc_value else None
        log.error("%s: %r", seen.err_msg or "an error that could not be raised", seen.object, exc_info=error)

    # Without these hooks Python writes crashes to stderr unescaped.
    sys.excepthook, threading.excepthook, sys.unraisablehook = crashed, thread_crashed, left_over


def _indented(text: str) -> str:
    return "\n".join(f"{INDENT}{line}" for line in plain_lines(text))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_FIELD else f"{text[:MAX_FIELD]}… ({len(text)} characters)"


def _plain_data(value: Any) -> Any:
    """Return a value that JSON can express. Values of other types become texts."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if value == value and abs(value) != float("inf") else str(value)
        case str():
            return _cut(value)
        case dict():
            return {str(key): _plain_data(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain_data(inner) for inner in value]
        case BaseException():
            return _cut("".join(traceback.format_exception_only(value)).strip())
        case _:
            return _cut(str(value))
