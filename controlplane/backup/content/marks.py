"""Memories of folders between two readings, so that an unchanged file is not read again.

A memory is one file of JSON for each folder. It is only a help: one that is damaged or missing means to read again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson
from blake3 import blake3

from controlplane.backup.sources.walk import Mark
from controlplane.whole_file import write_whole

FORMAT: Final = 1
LIMIT: Final = 256 << 20
"""Largest memory that is read, in bytes."""
UNUSED_S: Final = 30 * 86400.0
"""Seconds after which an unused memory is deleted. Chosen: an adapter's base is asked for only now and then."""


class Memory:
    """Digests of the files of one folder by their marks. A file that was just written to is not remembered."""

    def __init__(self, folder: Path | None, root: Path) -> None:
        """`folder` has the memories. None: nothing is remembered."""
        self._path = None if folder is None else folder / memory_name(root)
        self._root = str(root)
        self._known = self._read()
        self._fresh: dict[str, tuple[Mark, str]] = {}

    def digest(self, path: str, mark: Mark) -> bytes | None:
        """Return the digest of a file that has not changed since it was read. None: it must be read."""
        for known in (self._fresh, self._known):
            found = known.get(path)
            if found is not None and found[0] == mark:
                self._fresh[path] = found
                return bytes.fromhex(found[1])
        return None

    def note(self, path: str, mark: Mark, digest: bytes, began: float) -> None:
        """Note the digest of a file whose reading began at `began`, Unix seconds, unless it was just written to."""
        if mark.settled(began):
            self._fresh[path] = mark, digest.hex()

    def keep(self) -> None:
        """Write down what is known of the files that were asked for. A full disk costs only the next reading."""
        if self._path is None:
            return
        if self._fresh == self._known:
            with suppress(OSError):
                os.utime(self._path)  # it is in use
            return
        files = {path: [*_numbers(mark), digest] for path, (mark, digest) in self._fresh.items()}
        with suppress(OSError, TypeError):  # TypeError: a name that is not UTF-8
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._path, orjson.dumps({"format": FORMAT, "root": self._root, "files": files}))

    def _read(self) -> dict[str, tuple[Mark, str]]:
        if self._path is None:
            return {}
        try:
            with self._path.open("rb") as file:
                document = orjson.loads(file.read(LIMIT))
            if (document["format"], document["root"]) != (FORMAT, self._root):
                return {}
            return {path: (_mark(row[:5]), _hex(row[5])) for path, row in document["files"].items()}
        except (OSError, orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError, AttributeError):
            return {}


def memory_name(root: Path) -> str:
    """Return the name of a folder's memory."""
    return f"{blake3(str(root).encode(errors='surrogateescape')).hexdigest()[:32]}.json"


def forget_unused(folder: Path, now: float) -> None:
    """Delete the memories that nobody used for UNUSED_S at `now`, Unix seconds. Blocking."""
    with suppress(OSError):
        for path in folder.glob("*.json"):
            if now - path.stat().st_mtime > UNUSED_S:
                path.unlink(missing_ok=True)


def _mark(row: list[int]) -> Mark:
    size, mtime_ns, ctime_ns, inode, device = (int(number) for number in row)
    return Mark(size, mtime_ns, ctime_ns, inode, device)


def _numbers(mark: Mark) -> tuple[int, ...]:
    """Return the mark of a file on disk as `_mark` takes it."""
    return mark.size, mark.mtime_ns, mark.ctime_ns, mark.inode, mark.device


def _hex(text: str) -> str:
    if len(bytes.fromhex(text)) != 32:
        raise ValueError
    return text
