"""The programs that print logs: how each is called, and where it goes on after it was started again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from collectors.logs.formats import cursor_of

KERNEL = "kernel"
"""In place of a unit: the kernel's messages."""
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) ")


class Command(Protocol):
    """A program that prints a log."""

    @property
    def place(self) -> str:
        """Its name for people."""
        ...

    def words(self) -> Sequence[str]:
        """Return the words of its next call."""
        ...

    def text_of(self, line: str) -> str | None:
        """Return a line of its output without what the call added, or None for one that came before."""
        ...


class Plain:
    """A program as it was given. After a new start it prints what it prints: lines may be repeated or lost."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)

    @property
    def place(self) -> str:
        """Its first word."""
        return self._words[0]

    def words(self) -> Sequence[str]:
        """Return the words as they were given."""
        return self._words

    def text_of(self, line: str) -> str | None:
        """Return the line."""
        return line


class Journal:
    """`journalctl -f`: it goes on after the last entry that was read."""

    def __init__(self, unit: str, now: float) -> None:
        """Begin with entries that come after `now` (unix seconds)."""
        self._unit = unit
        self._since = now
        self._cursor = ""

    @property
    def place(self) -> str:
        """The unit."""
        return self._unit

    def words(self) -> Sequence[str]:
        """Return the call. `--no-tail` shows all entries since the place, and not the last ten only."""
        whose = ("-k",) if self._unit == KERNEL else ("-u", self._unit)
        since = f"--after-cursor={self._cursor}" if self._cursor else f"--since=@{self._since:.0f}"
        return ("journalctl", "--follow", "--output=json", "--no-pager", "--no-tail", since, *whose)

    def text_of(self, line: str) -> str | None:
        """Return the line, and note its place."""
        self._cursor = cursor_of(line) or self._cursor
        return line


class Docker:
    """`docker logs -f`: it goes on after the last line that was read, also in a new container of the same name."""

    def __init__(self, container: str, now: float) -> None:
        """Begin with lines that come after `now` (unix seconds)."""
        self._container = container
        self._last = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        self._began = self._last

    @property
    def place(self) -> str:
        """The container."""
        return self._container

    def words(self) -> Sequence[str]:
        """Return the call. `--since` includes its own instant, so the last line comes again."""
        self._began = self._last
        return ("docker", "logs", "--follow", "--timestamps", "--since", self._last, self._container)

    def text_of(self, line: str) -> str | None:
        """Return the line without its time. Docker writes each time with nine digits: their texts compare as times."""
        stamp = _STAMP.match(line)
        if stamp is None:
            return line
        if stamp[1] <= self._began:
            return None
        self._last = max(self._last, stamp[1])
        return line[stamp.end() :]
