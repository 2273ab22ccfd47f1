"""Reads the content of a version from disk: its digest and facts."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from controlplane.backup.content.adapters import base_of
from controlplane.backup.content.facts import facts_of
from controlplane.backup.content.files import ContentFile, content_files
from controlplane.backup.content.marks import Memory
from controlplane.backup.content.origin import origin_of
from controlplane.backup.direct import open_direct
from controlplane.backup.errors import BackupError, SourceMoving
from controlplane.backup.format.ids import digest_of, file_digest, tree_digest
from controlplane.backup.sources.complete import check_complete
from controlplane.backup.sources.cut import cutting_name, spans
from controlplane.backup.sources.spans import DIRECT_FROM, ShortRead, read_span, span_buffer
from controlplane.backup.sources.walk import GONE, Mark
from controlplane.backup.tally import Tally

ROUNDS: Final = 4
"""Times that changed files are read before the reading gives up."""
PAUSE_S: Final = 2.0
"""Seconds between two rounds: a copy that is under way gets time to end."""
KEPT_EVERY: Final = 4 << 30
"""Bytes after which is written down what was read, so that a reading that is stopped is not lost."""


@dataclass(frozen=True)
class Content:
    """The content of one folder."""

    root: str
    digest: str
    """Digest of all files, in hex: paths and bytes. Times, owners and links do not count."""
    files: int
    bytes: int
    facts: Mapping[str, str] = field(default_factory=dict)
    """Facts of the files: see facts.py, origin.py and adapters.py."""


@dataclass(frozen=True)
class Reading:
    """Options of a reading."""

    memory: Path | None = None
    """Folder of what was remembered of earlier readings. None: every file is read."""
    now: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep
    environment: Mapping[str, str] = field(default_factory=dict)


def read_content(root: Path, reading: Reading | None = None, tally: Tally | None = None) -> Content:
    """Read the content of a folder or of one file. Only files that changed since the last reading are read.

    Raises BackupError when something cannot be read, SourceIncomplete when files are missing, and SourceMoving when
    files go on changing.
    """
    reading, tally = reading or Reading(), tally or Tally()
    files, digests = _digested(root, reading, tally)
    facts = {**facts_of(files), **origin_of(root, files)}
    facts |= base_of(root, files, reading.environment, lambda base: _digest(base, reading, tally))
    return Content(
        root=str(root),
        digest=tree_digest(digests).hex(),
        files=len(files),
        bytes=sum(one.mark.size for one in files),
        facts=facts,
    )


def _digest(root: Path, reading: Reading, tally: Tally) -> str:
    return tree_digest(_digested(root, reading, tally)[1]).hex()


def _digested(root: Path, reading: Reading, tally: Tally) -> tuple[list[ContentFile], dict[str, bytes]]:
    """Return the files of a folder and their digests, once two looks in a row found the same."""
    memory = Memory(reading.memory, root)
    buffer = span_buffer()
    files = content_files(root)
    changed: list[str] = []
    for attempt in range(ROUNDS):
        if attempt:
            reading.pause(PAUSE_S)
            files = content_files(root)
        tally.files, tally.done, tally.bytes = len(files), 0, sum(one.mark.size for one in files)
        digests = {one.path: digest for one in files if (digest := _of_file(one, memory, reading, buffer, tally))}
        memory.keep()
        changed = sorted(_changed(root, files, digests))
        if not changed:
            if root.is_dir():
                _check_complete(root, files)
            return files, digests
    shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
    raise SourceMoving(
        f"{len(changed)} files of {root} changed each of the {ROUNDS} times that they were read: {shown}. Try again"
        " when the copy has ended."
    )


def _check_complete(root: Path, files: list[ContentFile]) -> None:
    where = {one.path: one.where for one in files}
    check_complete(str(root), where, lambda path, limit: _beginning(where[path], limit))


def _beginning(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(limit)
    except OSError as error:
        raise BackupError(f"{file} cannot be read: {error.strerror}") from None


def _changed(root: Path, files: list[ContentFile], digests: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the paths that are not as they were, or could not be read without a change."""
    before = {one.path: one.mark for one in files}
    after = {one.path: one.mark for one in content_files(root)}
    for path in before.keys() | after.keys():
        if before.get(path) != after.get(path) or path not in digests:
            yield path


def _of_file(one: ContentFile, memory: Memory, reading: Reading, buffer: memoryview, tally: Tally) -> bytes | None:
    """Return the digest of a file. None: it changed while it was read."""
    known = memory.digest(one.path, one.mark)
    if known is not None:
        tally.add(one.mark.size)
        return known
    began = reading.now()
    digest = _read(one, buffer, tally)
    if digest is not None:
        memory.note(one.path, one.mark, digest, began)
        if one.mark.size >= KEPT_EVERY:
            memory.keep()
    return digest


def _read(one: ContentFile, buffer: memoryview, tally: Tally) -> bytes | None:
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        large = one.mark.size >= DIRECT_FROM
        handle = open_direct(one.where, flags) if large else os.open(one.where, flags)
    except OSError as error:
        if error.errno in (*GONE, errno.EISDIR):
            return None
        raise BackupError(f"{one.where} cannot be read: {error.strerror}") from None
    try:
        if Mark.of(os.fstat(handle)) != one.mark:
            return None
        return _hashed(one, handle, buffer, tally)
    except ShortRead:
        return None
    except OSError as error:
        if error.errno in GONE:
            return None
        raise BackupError(f"{one.where} cannot be read: {error.strerror}") from None
    finally:
        os.close(handle)


def _hashed(one: ContentFile, handle: int, buffer: memoryview, tally: Tally) -> bytes | None:
    size, digests = one.mark.size, []
    name = cutting_name((one.path, one.where.name))
    with one.where.open("rb") as plain:  # small reads at odd places, for the cutter
        cut = list(spans(name, size, lambda offset, length: os.pread(plain.fileno(), length, offset)))
    for span in cut:
        digests.append(digest_of(read_span(handle, buffer, span)))
        tally.add(span.length)
    return file_digest(size, digests) if Mark.of(os.fstat(handle)) == one.mark else None
