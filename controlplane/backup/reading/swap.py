"""Puts a restored folder in the place of an existing one, at one instant, and keeps the old one beside it."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from controlplane.backup.errors import BackupError
from controlplane.whole_file import sync_folder

_RENAME_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100
_UNKNOWN: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
"""Errors of a kernel or a file system that cannot exchange two names."""


@contextmanager
def beside(folder: Path, name: str) -> Iterator[Path]:
    """Yield a path beside `folder` for a restore, and remove what is there when the block fails.

    `swap_in` is called after the block: during an exchange the path holds the old folder.
    """
    path = folder.with_name(f".{folder.name}.restoring-{name}")
    try:
        yield path
    except BaseException:
        _remove(path)
        raise


def swap_in(fresh: Path, folder: Path, name: str) -> Path | None:
    """Give `fresh` the name `folder`. Return where the old folder is now, or None when there was none.

    One instant separates old and new where the kernel can exchange names. Elsewhere the name is missing for the time of
    two renames. Raises BackupError; both folders then exist under the names that the message gives.
    """
    old = folder.with_name(f".{folder.name}.before-{name}")
    try:
        return _swap(fresh, folder, old)
    except OSError as error:
        raise BackupError(
            f"{folder} could not be replaced: {error.strerror}. The restored and the old folder are among {folder},"
            f" {fresh} and {old}."
        ) from error


def swap_back(folder: Path, old: Path, name: str) -> Path:
    """Give the old folder the name `folder` again. Return where the restored folder is now. Raises BackupError."""
    refused = folder.with_name(f".{folder.name}.refused-{name}")
    try:
        _swap(old, folder, refused)
    except OSError as error:
        raise BackupError(
            f"the old folder could not be put back: {error.strerror}. The restored and the old folder are among"
            f" {folder}, {old} and {refused}."
        ) from error
    return refused


def remove(folder: Path) -> None:
    """Delete an old folder. Raises BackupError, and a part of the folder is left then."""
    try:
        _remove(folder)
    except OSError as error:
        raise BackupError(f"{folder} could not be deleted whole: {error.filename}: {error.strerror}") from error


def _swap(fresh: Path, folder: Path, old: Path) -> Path | None:
    if not folder.exists():
        fresh.rename(folder)
        sync_folder(folder.parent)
        return None
    if _exchange(fresh, folder):
        fresh.rename(old)
    else:
        folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            old.rename(folder)
            raise
    sync_folder(folder.parent)
    return old


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names. Return False where that is not possible."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number))


def _remove(folder: Path) -> None:
    """Remove a tree whose folders may be read-only, and nested as deep as paths can be long.

    Raises OSError before anything is removed when another file system is mounted in it: that is not the tree's own.
    """
    if not folder.is_dir() or folder.is_symlink():
        return
    device, folders = _device(folder), [folder]
    for one in folders:  # grows
        if _device(one) != device:
            raise OSError(errno.EXDEV, "another file system is mounted there", str(one))
        one.chmod(0o700)
        with os.scandir(one) as entries:
            folders += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    for one in reversed(folders):
        with os.scandir(one) as entries:
            for entry in entries:
                Path(entry.path).unlink()
        one.rmdir()


def _device(folder: Path) -> int:
    return folder.lstat().st_dev
