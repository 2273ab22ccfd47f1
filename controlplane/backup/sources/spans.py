"""Reads a span of a file into a buffer that is used again. Direct reads need whole blocks."""

from __future__ import annotations

from mmap import mmap
from typing import Final

from controlplane.backup.direct import ALIGNED, read_at
from controlplane.backup.format.pack import CHUNK_LIMIT
from controlplane.backup.sources.cut import Span

DIRECT_FROM: Final = 1 << 20
"""Files from this size on are read beside the page cache, in bytes: the engines' weights live there."""


class ShortRead(Exception):
    """The file ended before the bytes that its size promised: it changed."""


def span_buffer() -> memoryview:
    """Return an aligned buffer that holds every span, 4 MB."""
    return memoryview(mmap(-1, CHUNK_LIMIT + 2 * ALIGNED))


def read_span(handle: int, buffer: memoryview, span: Span) -> memoryview:
    """Read the aligned window around a span, and return the span's bytes: a part of `buffer`.

    Raises ShortRead when the file is too short, and OSError when it cannot be read.
    """
    begin = span.offset // ALIGNED * ALIGNED
    wanted = span.offset + span.length - begin
    window = buffer[: -(-wanted // ALIGNED) * ALIGNED]
    if read_at(handle, window, begin, wanted) < wanted:
        raise ShortRead
    return window[span.offset - begin : wanted]
