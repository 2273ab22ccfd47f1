"""Follows files that grow, are rotated, truncated, deleted and made again. Each line is read once.

A file is known by its device and inode and not by its name: after a rotation by rename the reader goes on in the same
file, whatever its name, and finds another one under the old name. While a file is open, no other gets its inode.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
import threading
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from collectors.logs.formats import Unwrapper, lines_in
from collectors.logs.lines import LineSplitter, text_of
from collectors.logs.places import FilePlace, Key, LogPlace
from collectors.logs.sink import Fault, Sink

MAX_FILES = 200
"""Files of one log that are followed at a time."""
MAX_LISTED = 10_000
"""Paths that the patterns of one log may name. Those beyond are not looked at."""
MAX_FAULTS = 20
"""Faults that one poll reports."""
TURN_BYTES = 4 << 20
"""Bytes of one file that one poll reads, so that a busy file leaves the others their turn."""
LINGER_S = 30.0
"""Seconds for which a file is read whose name is gone: its writer still has it open for a while."""

_CHUNK = 64 << 10
_HEAD = 64
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_COPY = re.compile(r"\.\d{1,3}|[.-]\d{8}[\w.-]*")
"""End of the name that a rotation gives to a copy: `.1`, `-20261129`."""


class Tail:
    """Follows the files that patterns name. `poll` is called again and again, always in the same thread."""

    def __init__(
        self, patterns: Sequence[str], sink: Sink, turn_bytes: int = TURN_BYTES, before: LogPlace | None = None
    ) -> None:
        """Open nothing yet. `before` is how far an earlier run read; files that it does not know are then new."""
        self._before = dict(before.files) if before else {}
        self._knows_before = before is not None
        self._patterns = tuple(patterns)
        self._sink = sink
        self._turn_bytes = turn_bytes
        self._files: dict[Key, _File] = {}
        self._met: dict[Key, bool] = {}
        """Files that are not followed, each with whether it is to be read from its beginning."""
        self._started = False
        self._stopped = threading.Event()
        self.faults: tuple[Fault, ...] = ()
        """Faults of the last poll."""

    @property
    def files(self) -> int:
        """Number of files that are followed now."""
        return len(self._files)

    def poll(self, now: float) -> bool:
        """Read what the files have gained, and return whether more waits. `now` is monotonic time in seconds.

        Files that exist at the first poll are read on where an earlier run ended, without one from their end. Files
        that appear later are read from their beginning.
        """
        faults: list[Fault] = []
        if not self._started:
            self._open_renamed(faults)
        there = self._look(faults)
        waiting = False
        for key, file in list(self._files.items()):
            try:
                waiting |= file.read(self._sink, self._turn_bytes, self._stopped)
            except OSError as error:
                faults.append(Fault("unreadable", f"{file.path}: cannot be read: {error.strerror or error}"))
            if file.left_for(now, present=key in there) >= LINGER_S:
                self._files.pop(key).close(self._sink)
        if not self._started and there:  # what has no name any more will not come again
            self._before = {key: place for key, place in self._before.items() if key in there}
        self._started = self._started or bool(there) or not self._before
        self.faults = tuple(faults[:MAX_FAULTS])
        return waiting

    def place(self) -> LogPlace:
        """Return how far each file was read. A place of before stays while its file is not open."""
        return LogPlace({**self._before, **{key: file.place() for key, file in self._files.items()}})

    def stop(self) -> None:
        """Let `poll` end early. A read that waits for a dead disk does not end. Any thread may call this."""
        self._stopped.set()

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._files.popitem()[1].close(None)

    def _look(self, faults: list[Fault]) -> set[Key]:
        """Open the files that are new, and return the keys of all that have a name."""
        there: set[Key] = set()
        new: list[tuple[float, str, Key]] = []
        for path in islice(self._paths(), MAX_LISTED):
            try:
                status = Path(path).stat()
            except FileNotFoundError:  # deleted since it was listed, or a link without its file
                continue
            except OSError as error:
                faults.append(Fault("unreadable", f"{path}: cannot be read: {error.strerror or error}"))
                continue
            key = (status.st_dev, status.st_ino)
            if key in there:
                continue
            there.add(key)
            if not stat.S_ISREG(status.st_mode):
                faults.append(Fault("not-a-file", f"{path}: is not a regular file, and is not read"))
            elif file := self._files.get(key):
                file.path = path
            else:
                new.append((status.st_mtime, path, key))
        if not there:
            faults.append(Fault("no-file", f"{', '.join(self._patterns)}: no file matches"))
        self._open_all([(path, key) for _, path, key in sorted(new, reverse=True)], faults)
        return there

    def _open_all(self, new: Sequence[tuple[str, Key]], faults: list[Fault]) -> None:
        """Open files, the newest first, as long as there is room."""
        later = self._started or self._knows_before
        begins = {key: self._met.get(key, later and not self._is_copy(path)) for path, key in new}
        opened: set[Key] = set()
        for path, key in new:
            if len(self._files) >= MAX_FILES:
                more = len(new) - len(opened)
                told = f"{path}: is not read: {MAX_FILES} files are followed already, and {more} have no room"
                faults.insert(0, Fault("too-many", told))
                break
            if self._opened(path, key, begins[key], faults):
                opened.add(key)
        self._met = {key: whole for key, whole in begins.items() if key not in opened}

    def _paths(self) -> Iterator[str]:
        for pattern in self._patterns:
            for path in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - Path.glob takes no absolute pattern
                if not path.endswith(_COMPRESSED):
                    yield path

    def _is_copy(self, path: str) -> bool:
        """Whether a file's name is that of a followed file, with the end that a rotation by copying gives to it."""
        known = chain((file.path for file in self._files.values()), (place.path for place in self._before.values()))
        return any(path.startswith(name) and _COPY.fullmatch(path, len(name)) for name in known)

    def _open_renamed(self, faults: list[Fault]) -> None:
        """Open the files of before which a rotation has given a name that no pattern matches."""
        for folder in {str(Path(place.path).parent) for place in self._before.values()}:
            try:
                with os.scandir(folder) as entries:
                    found = [(entry.path, entry.inode()) for entry in islice(entries, MAX_LISTED)]
            except OSError:  # the folder is gone, and its files with it
                continue
            own = {key[1]: key for key, place in self._before.items() if str(Path(place.path).parent) == folder}
            for path, inode in found:
                key = own.get(inode)
                if key and path != self._before[key].path and not path.endswith(_COMPRESSED):
                    self._opened(path, key, False, faults)

    def _opened(self, path: str, key: Key, whole: bool, faults: list[Fault]) -> bool:
        try:
            file = _File.opened(path, key, whole, self._before.get(key))
        except OSError as error:
            faults.append(Fault("unreadable", f"{path}: cannot be read: {error.strerror or error}"))
            return False
        if file is None:  # another file has taken the name
            return False
        self._files[key] = file
        self._before.pop(key, None)
        return True


class _File:
    """One open file, and how far it was read."""

    def __init__(self, descriptor: int, path: str, offset: int, *, amid: bool) -> None:
        self.path = path
        self._descriptor = descriptor
        self._offset = self._whole = offset
        """Bytes that were read, and those up to the end of the last whole line."""
        self._head = b""
        """The file's first bytes. Other ones show that it was written anew, however long it is."""
        self._gone_at: float | None = None
        self._begin(amid=amid)

    @classmethod
    def opened(cls, path: str, key: Key, whole: bool, before: FilePlace | None = None) -> _File | None:
        """Open a file, or return None where the path now leads to another. Raises OSError.

        It is read on from `before`. Where it is another file since, or was written anew, it is read as a whole.
        """
        # Without O_NONBLOCK, opening a FIFO that took the file's place would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != key:
                os.close(descriptor)
                return None
            offset = 0 if whole else status.st_size
            if before:
                same = status.st_size >= before.offset and os.pread(descriptor, len(before.head), 0) == before.head
                offset = before.offset if same else 0
            amid = offset > 0 and os.pread(descriptor, 1, offset - 1) != b"\n"
        except OSError:
            os.close(descriptor)
            raise
        return cls(descriptor, path, offset, amid=amid)

    def read(self, sink: Sink, most: int, stopped: threading.Event) -> bool:
        """Hand on the lines of at most `most` bytes, and return whether more waits. Raises OSError.

        Little is read after `stopped` is set.
        """
        if self._was_rewritten():
            self._end(sink)
            self._begin(amid=False)
            self._offset = self._whole = self._first_data()
        if len(self._head) < _HEAD:
            self._head = os.pread(self._descriptor, _HEAD, 0)
        until = self._offset + most
        while self._offset < until and not stopped.is_set():
            chunk = os.pread(self._descriptor, min(_CHUNK, until - self._offset), self._offset)
            if not chunk:
                return False
            if end := chunk.rfind(b"\n") + 1:
                self._whole = self._offset + end
            self._offset += len(chunk)
            cut = self._lines.cut
            for line in self._lines.feed(chunk):
                self._hand_on(line, sink)
            if self._lines.cut > cut:
                sink.skipped("long", self._lines.cut - cut)
        return True

    def place(self) -> FilePlace:
        """Return how far it was read."""
        return FilePlace(self.path, self._whole, self._head)

    def left_for(self, now: float, *, present: bool) -> float:
        """Return the seconds since the file lost its name, 0 while it has one."""
        if present:
            self._gone_at = None
            return 0.0
        self._gone_at = now if self._gone_at is None else self._gone_at
        return now - self._gone_at

    def close(self, sink: Sink | None) -> None:
        """Close the file. Its last line counts without a line break too, when there is a sink."""
        if sink is not None:
            self._end(sink)
        os.close(self._descriptor)

    def _was_rewritten(self) -> bool:
        if os.fstat(self._descriptor).st_size < self._offset:
            return True
        return os.pread(self._descriptor, len(self._head), 0) != self._head

    def _first_data(self) -> int:
        """Return the offset behind the hole that a writer leaves which goes on at its own offset after a truncation."""
        self._head = b""
        try:
            return os.lseek(self._descriptor, 0, os.SEEK_DATA)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.EINVAL):  # empty, or a file system without holes
                return 0
            raise

    def _begin(self, *, amid: bool) -> None:
        self._lines = LineSplitter(amid=amid)
        self._unwrapper = Unwrapper()

    def _end(self, sink: Sink) -> None:
        if rest := self._lines.rest():
            self._hand_on(rest, sink)

    def _hand_on(self, line: bytes, sink: Sink) -> None:
        text = text_of(line)
        if text is None:
            sink.skipped("binary")
        elif (own := self._unwrapper.text_of(text)) is not None:
            for each in lines_in(own):
                sink.line(self.path, each, self._unwrapper.written_ns)
