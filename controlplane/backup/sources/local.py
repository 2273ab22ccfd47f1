"""Files of a folder: read beside the page cache where they are large, and noticed when they change meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from controlplane.backup.direct import open_direct
from controlplane.backup.errors import BackupError
from controlplane.backup.sources.cut import Span
from controlplane.backup.sources.origin import Moved
from controlplane.backup.sources.spans import DIRECT_FROM, ShortRead, read_span
from controlplane.backup.sources.walk import GONE, Found, Mark, Source, Walk, walk

_REPLACED: Final = (*GONE, errno.ELOOP, errno.EISDIR)
"""Errors of a file that was deleted, or whose name a link or a folder took. The next walk sees it."""


class Folder:
    """The files below the root of a source."""

    def __init__(self, source: Source) -> None:
        self._source, self.place = source, str(source.root)

    def walk(self) -> Walk:
        """Return what is below the root. Raises BackupError."""
        return walk(self._source)

    def open(self, found: Found) -> LocalFile:
        """Open a file. Raises Moved, and BackupError when it cannot be read."""
        path = self._source.root / found.path
        with _told(path):
            return LocalFile(path, found.mark.size)

    def content(self, path: str, limit: int) -> bytes:
        """Return at most `limit` bytes of a file, nothing of what is no file or cannot be read."""
        file = self._source.root / path
        try:
            if not file.is_file():
                return b""  # A pipe would never end.
            with file.open("rb") as opened:
                return opened.read(limit)
        except OSError:
            return b""

    def close(self) -> None:
        """Do nothing: each file is closed by itself."""


class LocalFile:
    """One open file."""

    def __init__(self, path: Path, size: int) -> None:
        """Open the file. Raises OSError, also for a link."""
        self._path = path
        self._handle = open_source(path, size)
        try:
            self.mark = self.mark_now()
        except BaseException:
            self.close()
            raise

    def read_at(self, offset: int, length: int) -> bytes:
        """Return bytes of the file, fewer at its end. Raises Moved and BackupError."""
        with _told(self._path), self._path.open("rb") as file:
            return os.pread(file.fileno(), length, offset)

    def ahead(self, span: Span) -> None:
        """Do nothing: the kernel and the disk need no help."""

    @contextmanager
    def filled(self, span: Span, buffer: memoryview) -> Iterator[memoryview]:
        """Yield the bytes of a span, in `buffer`. Raises Moved and BackupError."""
        try:
            with _told(self._path):
                data = read_span(self._handle, buffer, span)
        except ShortRead:
            raise Moved from None
        yield data

    def drop(self, span: Span) -> None:
        """Do nothing: nothing was begun."""

    def mark_now(self) -> Mark:
        """Return the mark that the open file has now. Raises OSError."""
        return Mark.of(os.fstat(self._handle))

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Translate the errors of a file to Moved and BackupError."""
    try:
        yield
    except OSError as error:
        if error.errno in _REPLACED:
            raise Moved from None
        raise BackupError(f"{path} cannot be read: {error.strerror}") from error


def open_source(path: Path, size: int) -> int:
    """Return a handle on a file, beside the page cache where it is large. Raises OSError, also for a link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    return open_direct(path, flags) if size >= DIRECT_FROM else os.open(path, flags | os.O_CLOEXEC)
