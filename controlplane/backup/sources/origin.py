"""The interface between a run and what it backs up: a folder (`local.py`) or a bucket (`bucket.py`)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from controlplane.backup.format.buffers import Buffer
from controlplane.backup.sources.cut import Span
from controlplane.backup.sources.walk import Found, Mark, Walk


class Moved(Exception):
    """The file is not what it was when it was looked at: it changed, was cut off, replaced or deleted."""


class Handle(Protocol):
    """One file that is being read, by several threads. `close` must be called."""

    mark: Mark
    """The file's mark when it was opened."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Return bytes of the file, fewer at its end. Raises Moved, BackupError and OSError."""
        ...

    def ahead(self, span: Span) -> None:
        """Begin to read a span, where reading ahead pays. It blocks while enough spans are being read.

        `filled` or `drop` must follow for the span.
        """
        ...

    def filled(self, span: Span, buffer: memoryview) -> AbstractContextManager[Buffer]:
        """Return the bytes of a span, which are valid during the block. `buffer` has room for a span and two blocks.

        Raises Moved, BackupError and OSError.
        """
        ...

    def drop(self, span: Span) -> None:
        """Give a span up that `ahead` began to read."""
        ...

    def mark_now(self) -> Mark:
        """Return the mark that the open file has now. Raises OSError."""
        ...

    def close(self) -> None:
        """Free what the handle holds."""
        ...


class Origin(Protocol):
    """Files below one root. `close` must be called."""

    place: str
    """The root, for people."""

    def walk(self) -> Walk:
        """Return what is below the root. Raises BackupError."""
        ...

    def open(self, found: Found) -> Handle:
        """Open a file. Raises Moved, and BackupError when it cannot be read."""
        ...

    def content(self, path: str, limit: int) -> bytes:
        """Return at most `limit` bytes of a file, nothing of what is no file or cannot be read."""
        ...

    def close(self) -> None:
        """Free what the origin holds."""
        ...
