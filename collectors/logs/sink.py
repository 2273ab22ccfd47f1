"""Receiver of the lines that readers of logs read."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Fault(NamedTuple):
    """Something that keeps a log, or a file of it, from being read. It lasts until the reader no longer reports it."""

    kind: str
    """unreadable, no-file, not-a-file, too-many or ended: a short stable word for metrics."""
    sentence: str
    """For people: the thing, and what is wrong with it."""


class Sink(Protocol):
    """Takes lines in the thread of the reader. Each call returns at once."""

    def line(self, place: str, text: str, written_ns: int = 0) -> None:
        """Take one line of the engine, from a file or a command.

        `written_ns` is unix time in nanoseconds, as the container's runtime or the journal tells it; 0 for unknown.
        """
        ...

    def skipped(self, reason: str, count: int = 1) -> None:
        """Count lines that are left out (`binary`) or cut (`long`)."""
        ...
