"""Reads and writes beside the page cache, which holds the engines' weights, where a file system can.

Direct I/O takes whole blocks from aligned buffers. Where it is refused (EINVAL), the handle goes on through the page
cache: at the end of a file, or on a file system without direct I/O. Several threads may share a handle.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

ALIGNED: Final = 4096
"""Bytes of a block. Offsets, lengths and buffers of direct I/O are multiples of it."""


def open_direct(path: Path, flags: int) -> int:
    """Return a handle on a file, direct where the file system can. A new file has mode 0600. Raises OSError."""
    handle = os.open(path, flags | os.O_CLOEXEC, 0o600)
    with suppress(OSError):
        fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) | os.O_DIRECT)
    return handle


def read_at(handle: int, out: memoryview, offset: int, enough: int) -> int:
    """Read bytes from `offset` into `out` until it has `enough` of them, or the file ends. Return their number."""
    done = 0
    while done < enough:
        got = _once_more(handle, os.preadv, handle, [out[done:]], offset + done)
        if not got:
            break
        done += got
    return done


def write_at(handle: int, data: memoryview, offset: int) -> None:
    """Write all bytes at `offset`. Raises OSError."""
    while data:
        done = _once_more(handle, os.pwrite, handle, data, offset)
        data, offset = data[done:], offset + done


def _once_more(handle: int, call: Callable[..., int], *arguments: object) -> int:
    """Return the result of a call. Where direct I/O is refused, call again through the page cache."""
    try:
        return call(*arguments)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # Another thread may have ended direct I/O on the handle already: the second call decides.
    fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) & ~os.O_DIRECT)
    return call(*arguments)
