"""A copy of a folder of samples, made while another process writes it. It locks nothing and disturbs nobody.

The journal is read first: it names all files that it needs, and what it names in them was written before. Arenas are
copied as they are: rows that are added meanwhile are whole or below no count, and each has a checksum, so opening the
copy is opening a folder after a kill. For each series the copy ends at some time between its beginning and its end.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from collectors.exposition.interner import Interner
from controlplane.metrics.storage.arena import arena_path
from controlplane.metrics.storage.errors import StorageError
from controlplane.metrics.storage.journal import Kind, damage, records
from controlplane.metrics.storage.packfile import PackFile
from controlplane.metrics.storage.recovery import Contents, newest_journal

TRIES: Final = 5
"""Times that the journal is read again because a file that it names was deleted meanwhile."""
BLOCK: Final = 1 << 20
"""Bytes that are copied at once. A block of zeros becomes a hole."""


@dataclass(frozen=True)
class Copied:
    """Result of a copy."""

    files: int
    missing: tuple[str, ...]
    """Names of files that the journal needs and that are not there: their samples were lost before."""


@dataclass(frozen=True)
class _Needed:
    """Files that one state of the journal needs."""

    journal: Path
    data: bytes
    ends: Mapping[Path, int | None]
    """Bytes of each file that are needed; None: all that it has."""


def copy_folder(source: Path, target: Path) -> Copied:
    """Copy the samples in `source` to the new folder `target`. Full pack files are linked where that works.

    Raises StorageError when there are no samples, and when files cannot be read or written.
    """
    try:
        for attempt in range(1, TRIES + 1):
            needed = _needed(source)
            with ExitStack() as stack:
                opened = _opened(needed, stack)
                missing = sorted(path.name for path in needed.ends.keys() - opened.keys())
                # A file that went after the journal was read was packed or dropped: a newer journal says so.
                if not missing or attempt == TRIES:
                    _copy(needed, opened, target)
                    return Copied(len(opened) + 1, tuple(missing))
    except OSError as error:
        raise StorageError(f"{source}: the samples cannot be copied: {error}") from error
    raise AssertionError("unreachable")


def _needed(source: Path) -> _Needed:
    journal = newest_journal(source) if source.is_dir() else None
    if journal is None:
        raise StorageError(f"{source}: there are no samples here; the control plane's data folder has them in metrics/")
    data = journal.read_bytes()
    stretches = damage(data)
    if stretches and stretches[-1][1] == len(data):
        data = data[: stretches.pop()[0]]  # the record that is being written
    contents, begin = Contents(), 0
    for start, end in [*stretches, (len(data), len(data))]:
        for record in records(data[begin:start]):
            if record.kind in (Kind.CHUNK, Kind.PACKED, Kind.GONE):
                contents.take(record, Interner())
        begin = end
    return _Needed(journal, data, dict(_files(source, contents)))


def _files(source: Path, contents: Contents) -> Iterator[tuple[Path, int | None]]:
    for number in {place.arena for place in contents.places.values()}:
        yield arena_path(source, number), None
    ends: dict[int, int] = defaultdict(int)
    for packed in contents.packed.values():
        ends[packed.file] = max(ends[packed.file], packed.offset + packed.size)
    for number, end in ends.items():
        file = PackFile.find(source, number)
        yield (file.path if file else source / f"{number:08}.raw"), end


def _opened(needed: _Needed, stack: ExitStack) -> dict[Path, BinaryIO]:
    """Open every file that is there: an open file stays whole when its name is deleted."""
    found: dict[Path, BinaryIO] = {}
    for path in needed.ends:
        try:
            found[path] = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            continue
    return found


def _copy(needed: _Needed, opened: Mapping[Path, BinaryIO], target: Path) -> None:
    target.mkdir(mode=0o700)
    for path, file in opened.items():
        end, size = needed.ends[path], os.fstat(file.fileno()).st_size
        if end is None or end < size or not _linked(path, target / path.name):
            _copy_file(file, target / path.name, size if end is None else end)
    journal = target / needed.journal.name
    journal.write_bytes(needed.data)
    journal.chmod(0o600)


def _linked(path: Path, target: Path) -> bool:
    """Link a pack file that is full, so never written again. Return whether that worked."""
    try:
        os.link(path, target)
    except OSError:
        return False
    return True


def _copy_file(file: BinaryIO, target: Path, size: int) -> None:
    with target.open("wb") as out:
        target.chmod(0o600)
        for at in range(0, size, BLOCK):
            data = os.pread(file.fileno(), min(BLOCK, size - at), at)
            if data.count(0) != len(data):
                os.pwrite(out.fileno(), data, at)
        out.truncate(size)
