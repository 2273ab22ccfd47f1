"""Edits of a proxy's files by several models, processes and people: no edit may undo another one.

The lock is flock(2) of the **folder**. A lock of the file itself would belong to the old file after a rename, and a
file beside it would stay behind in a folder that the proxy reads. A person can hold the lock too:
`flock /etc/haproxy vi /etc/haproxy/haproxy.cfg`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from controlplane.errors import Unavailable
from controlplane.whole_file import replace_file

EDIT_S, LOOK_S = 5.0, 0.01
"""Seconds that an edit waits for the lock, and between two attempts. Chosen: other edits take milliseconds, and a
rollback must not wait long for a person's editor."""
TRIES = 10
"""Attempts of one edit while another program changes the file. Chosen: a person saves once."""


@asynccontextmanager
async def turn(folder: Path, within_s: float = EDIT_S) -> AsyncIterator[None]:
    """Hold the lock of a folder, against every other holder in this process and in others.

    Raises Unavailable when another holder does not release it in time, and OSError when the folder cannot be opened, or
    its file system has no locks.
    """
    deadline = time.monotonic() + within_s
    # On the event loop, because none of these calls waits. A thread could not be cancelled: the lock would stay held.
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _locked(held):
            if time.monotonic() > deadline:
                raise Unavailable(f"another process has locked {folder} for {within_s:g} s; is it open in an editor?")
            await asyncio.sleep(LOOK_S)
        yield
    finally:
        os.close(held)  # ends the lock


def edit_file(path: Path, read: Callable[[], bytes], change: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """Replace a file by `change` of its contents, and return the old and the new contents.

    Equal contents are not written. Where another program changed the file in between, it is read again. Blocking; the
    caller has the folder's turn. Raises OSError, and what `read` and `change` raise.
    """
    for _ in range(TRIES):
        before = read()
        after = change(before)
        if after == before or replace_file(path, after, expected=before):
            return before, after
    raise OSError(f"another program changed it {TRIES} times meanwhile")


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
