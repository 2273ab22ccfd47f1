"""Lines that wait on disk for one destination: a folder of files, each a batch, within a number of bytes.

A file is written in one step and deleted once its lines are accepted or given up: a crash repeats a batch and loses
none. No call is for the event loop: each waits for the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collectors.logs.shipping.record import Record
from collectors.logs.shipping.settings import WriteWhole

_FIRST = 10**12
"""Number of the first file: there is room for files that go before it."""


class Spool:
    """Batches in their order. One thread at a time."""

    def __init__(self, folder: Path, limit: int, write: WriteWhole) -> None:
        """`limit` is in bytes."""
        self._folder, self._limit, self._write = folder, limit, write
        self._files: dict[int, int] = {}
        self.lost = 0
        """Lines that were pushed out by newer ones."""
        self.broken = 0
        """Files that held something else than lines, or could not be read, and are left out."""

    def open(self) -> None:
        """Find what an earlier run left. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.glob("*.jsonl"):
            if path.stem.isdecimal():
                self._files[int(path.stem)] = path.stat().st_size
        self._files = dict(sorted(self._files.items()))
        self._trim()

    @property
    def bytes(self) -> int:
        """Bytes on disk."""
        return sum(list(self._files.values()))

    @property
    def files(self) -> int:
        """Number of batches."""
        return len(self._files)

    def put(self, records: Sequence[Record]) -> None:
        """Append a batch. Where there is no room for it, the oldest go. Raises OSError."""
        self._save(max(self._files, default=_FIRST - 1) + 1, records)
        self._trim()

    def put_first(self, records: Sequence[Record]) -> None:
        """Put a batch before all others. Raises OSError."""
        number = min(self._files, default=_FIRST) - 1
        self._save(number, records)
        self._files = dict(sorted(self._files.items()))
        self._trim()

    def first(self) -> tuple[int, list[Record]] | None:
        """Return the oldest batch that can be read and its number, or None. It stays until `done`."""
        for number in list(self._files):
            try:
                lines = self._path(number).read_text().splitlines()
                return number, [Record.from_json(line) for line in lines]
            except (OSError, ValueError):
                self.broken += 1
                self.done(number)
        return None

    def done(self, number: int) -> None:
        """Forget a batch."""
        self._files.pop(number, None)
        try:
            self._path(number).unlink(missing_ok=True)
        except OSError:  # it is sent again at the next start
            return

    def _save(self, number: int, records: Sequence[Record]) -> None:
        data = "".join(record.to_json() + "\n" for record in records).encode()
        self._write(self._path(number), data)
        self._files[number] = len(data)

    def _trim(self) -> None:
        while len(self._files) > 1 and self.bytes > self._limit:
            number = next(iter(self._files))
            try:
                self.lost += self._path(number).read_bytes().count(b"\n")
            except OSError:
                self.broken += 1
            self.done(number)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:020d}.jsonl"
