"""The files that a version's content is made of. Links are followed: the names count, and the bytes behind them.

A snapshot of the Hugging Face cache holds links to blobs. A copy of it, or a restored backup, may hold the files
themselves. Both have the same content.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from controlplane.backup.errors import BackupError, SourceIncomplete
from controlplane.backup.sources.walk import GONE, UNFINISHED, Mark

LEFT_OUT: Final = (*UNFINISHED, "__pycache__", ".git", ".cache")
"""Names that are no part of a version: unfinished files, and what programs write beside a model while they use it."""
MOST_FILES: Final = 100_000
"""Most files of a version. Chosen: the largest models have some hundred; a whole disk is a mistake."""


@dataclass(frozen=True)
class ContentFile:
    """One file of a version."""

    path: str
    """Path below the version's folder, with `/`. It may be the name of a link."""
    where: Path
    """The file itself, behind all links."""
    mark: Mark
    owner: int
    """Number of the user that owns it."""


def is_left_out(path: str) -> bool:
    """Return whether a path below a version's folder is no part of the version."""
    return any(fnmatchcase(name, glob) for name in PurePosixPath(path).parts for glob in LEFT_OUT)


def content_files(root: Path) -> list[ContentFile]:
    """Return the files below a folder, in the order of paths, or the one file that `root` is.

    Raises BackupError when something cannot be looked at, and SourceIncomplete when a link points to nothing.
    """
    status = _status(root, "")
    assert status is not None  # a root that is not there is an error
    if stat.S_ISREG(status.st_mode):
        return [_file(root, root.name, status)]
    if not stat.S_ISDIR(status.st_mode):
        raise BackupError(f"{root} cannot be read: it is neither a folder nor a file")
    found: list[ContentFile] = []
    for one in _inside(root):
        found.append(one)
        if len(found) > MOST_FILES:
            raise BackupError(f"{root} holds more than {MOST_FILES:,} files: name the folder of one version")
    return sorted(found, key=lambda one: one.path)


def _inside(root: Path) -> Iterator[ContentFile]:
    """Yield the files below a folder. A folder that contains itself, by a link, is entered once."""
    folders: list[tuple[Path, str, frozenset[tuple[int, int]]]] = [(root, "", frozenset())]
    while folders:
        folder, below, above = folders.pop()
        if (status := _status(folder, below)) is None:
            continue
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise BackupError(f"{folder} cannot be read: it is a link to a folder that it is in")
        for name in _names(folder):
            path = f"{below}{name}"
            if is_left_out(path):
                continue
            if (status := _status(folder / name, path)) is None:
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append((folder / name, f"{path}/", above | {here}))
            elif stat.S_ISREG(status.st_mode):
                yield _file(folder / name, path, status)


def _names(folder: Path) -> Sequence[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        if error.errno in GONE:
            return ()
        raise BackupError(f"the folder {folder} cannot be read: {error.strerror}") from None


def _file(place: Path, path: str, status: os.stat_result) -> ContentFile:
    return ContentFile(path, Path(os.path.realpath(place)), Mark.of(status), status.st_uid)


def _status(place: Path, path: str) -> os.stat_result | None:
    """Return the status behind all links. None: what was listed below the root is gone.

    Raises BackupError, and SourceIncomplete for a link to nothing.
    """
    try:
        return place.stat()
    except OSError as error:
        if path and error.errno in GONE and place.is_symlink():
            raise SourceIncomplete(
                f"{place} points to {place.readlink()}, which is not there. Complete the download."
            ) from None
        if path and error.errno in GONE:
            return None  # deleted since its folder was listed: the next look decides
        raise BackupError(f"{place} cannot be read: {error.strerror}") from None
