"""The forms in which container runtimes and journals wrap a line of an engine, and their removal."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from collectors.logs.lines import MAX_LINE, without_colours

_CRI = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP])(?::\S*)? ?(.*)", re.DOTALL)
"""`2026-11-29T15:00:00.1Z stderr F text`. P: the line goes on in the next one of the same stream."""
_MICROS = re.compile(r"[0-9]{1,16}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)


class Unwrapper:
    """Turns lines of one file or command into lines of the engine, and joins the parts of a line."""

    def __init__(self) -> None:
        self.written_ns = 0
        """Unix time in nanoseconds that the form of the last line told, 0 where it tells none."""
        self._parts: dict[str, str] = {}

    def text_of(self, line: str) -> str | None:
        """Return the engine's line, or None where only a part of it has come.

        Known are the formats CRI, Docker's json-file and the journal's JSON. Any other line is returned as it is. Of a
        line that the engine itself writes as JSON, `LEVEL message` is returned.
        """
        self.written_ns = 0
        if match := _CRI.match(line):
            self.written_ns = ns_of(match[1])
            joined = self._joined(match[2], match[4], whole=match[3] == "F")
            return None if joined is None else _message(joined)
        if not line.startswith("{"):
            return line
        fields = _object(line)
        if fields is None:
            return line
        if isinstance(log := fields.get("log"), str) and "stream" in fields:
            self.written_ns = ns_of(str(fields.get("time", "")))
            joined = self._joined(str(fields["stream"]), log.removesuffix("\n"), whole=log.endswith("\n"))
            return None if joined is None else _message(joined)
        if "MESSAGE" in fields and "__CURSOR" in fields:
            micros = str(fields.get("__REALTIME_TIMESTAMP", ""))
            self.written_ns = int(micros) * 1000 if _MICROS.fullmatch(micros) else 0
            return _message(_journal_text(fields["MESSAGE"]))
        return _told(fields) or line

    def _joined(self, stream: str, text: str, *, whole: bool) -> str | None:
        text = (self._parts.pop(stream, "") + text)[:MAX_LINE]
        if whole:
            return text
        if len(self._parts) < 4:  # a format has two streams; other names come from lines that imitate it
            self._parts[stream] = text
        return None


def ns_of(stamp: str) -> int:
    """Return the unix time in nanoseconds of a time of RFC 3339, 0 for anything else."""
    match = _TIME.fullmatch(stamp)
    if match is None:
        return 0
    try:
        whole = datetime.fromisoformat(match[1] + match[3])
    except ValueError:
        return 0
    return round(whole.timestamp()) * 10**9 + int((match[2] or "").ljust(9, "0"))


def cursor_of(line: str) -> str:
    """Return the journal's position of a line, or ""."""
    fields = _object(line) if line.startswith("{") else None
    cursor = fields.get("__CURSOR") if fields else None
    return cursor if isinstance(cursor, str) else ""


def lines_in(text: str) -> list[str]:
    """Return the lines of a text without blank ones. An entry of the journal and a message in JSON may have several."""
    if "\n" not in text:
        return [text]
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def _message(text: str) -> str:
    text = without_colours(text)  # a wrapper's JSON hides them before
    fields = _object(text) if text.startswith("{") else None
    return (_told(fields) or text) if fields else text


def _told(fields: dict[str, Any]) -> str:
    """Return `LEVEL message` of an engine's JSON line, "" where it has none."""
    inner = fields.get("fields")
    message = fields.get("message") or fields.get("msg") or (inner.get("message") if isinstance(inner, dict) else "")
    if not isinstance(message, str):
        return ""
    level = fields.get("level") or fields.get("levelname") or ""
    return f"{level.upper()} {message}" if isinstance(level, str) and level and message else message


def _journal_text(message: object) -> str:
    match message:
        case str():
            return message
        case list() if not all(type(one) is int for one in message):  # of a field that the entry has several times
            return "\n".join(_journal_text(one) for one in message if not isinstance(one, list) or _is_bytes(one))
        case list():  # the journal's form for bytes that are not printable text
            return bytes(message).decode("utf-8", "replace") if _is_bytes(message) else ""
        case _:
            return ""


def _is_bytes(values: list[Any]) -> bool:
    return all(type(one) is int and 0 <= one < 256 for one in values)


def _object(text: str) -> dict[str, Any] | None:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None
