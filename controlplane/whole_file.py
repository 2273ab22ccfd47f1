"""Files that are written whole: a crash, or a power cut, leaves the old file or the new one, never a part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file of this program in one step, with mode 0600.

    Blocking: waits for the disk. Raises OSError; the old file stays.
    """
    _replace(path, data, _stays_private)


def replace_file(path: Path, data: bytes, new_mode: int = 0o644, *, expected: bytes | None = None) -> bool:
    """Replace a file of another program in one step. Mode and group stay, and the owner where this process may set it.

    A link stays a link. `new_mode` is the mode of a file that did not exist. With `expected`, return False and leave
    the file where it has other contents just before the replacement. Blocking: waits for the disk. Raises OSError, and
    then the old file is still there: also where the group of the old file cannot be set.
    """
    path = path.resolve()

    def fit(draft: Path) -> None:
        if not path.exists():
            draft.chmod(new_mode)
            return
        before = path.stat()
        if draft.stat().st_gid != before.st_gid:
            os.chown(draft, -1, before.st_gid)  # other programs read the file by its group
        with suppress(PermissionError):  # only root may give a file away
            os.chown(draft, before.st_uid, -1)
        draft.chmod(before.st_mode & 0o7777)

    return _replace(path, data, fit, expected)


def _replace(path: Path, data: bytes, fit: Callable[[Path], None], expected: bytes | None = None) -> bool:
    """Write a draft beside the file, `fit` its mode, and move it into place. No draft stays, also after a fault.

    Return False, and move nothing, where the file has other contents than `expected`.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # its mode is 0600
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fit(draft)
        if expected is not None and path.read_bytes() != expected:  # after the wait for the disk, which is the longest
            return False
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def sync_folder(path: Path) -> None:
    """Bring to the disk which files a folder has. Blocking. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stays_private(_draft: Path) -> None:
    """Leave the mode 0600 that a draft begins with."""
