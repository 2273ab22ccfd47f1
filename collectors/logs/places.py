"""Places up to which logs were read, in a small file: the next run of the exporter goes on there."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

MAX_BYTES = 8 << 20
"""Most bytes of the file that are read: 50 logs of 200 files take less."""
SAVE_S = 5.0
"""Seconds between two writes. A crash reads at most the lines of these seconds again."""
_VERSION = 1
_log = logging.getLogger(__name__)

Key = tuple[int, int]
"""Device and inode."""


class FilePlace(NamedTuple):
    """Place up to which a file was read."""

    path: str
    """Its last name."""
    offset: int
    """Bytes up to the end of the last whole line."""
    head: bytes
    """Its first bytes: another file with the same inode has others."""


class LogPlace(NamedTuple):
    """Place up to which a log was read."""

    files: Mapping[Key, FilePlace] = {}
    at: str = ""
    """The journal's cursor, or the time of Docker's last line; "" for others."""


class Places:
    """The places of all logs. Any thread may call `of` and `note`; `load` and `save` wait for the disk."""

    def __init__(self, path: Path, write: Callable[[Path, bytes], None]) -> None:
        """Know no place yet. `write` replaces a file in one step and raises OSError."""
        self._path, self._write = path, write
        self._lock = threading.Lock()
        self._places: dict[str, LogPlace] = {}
        self._saved = b""
        self._said = ""

    def load(self, names: Iterable[str]) -> None:
        """Read the places of logs with these names.

        A file that cannot be read, or makes no sense, is told and counts as none.
        """
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            read = _places_of(data)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("%s: cannot be read: %s; logs are read from their end", self._path, error.strerror or error)
            return
        except ValueError as error:
            _log.warning("%s: %s; logs are read from their end", self._path, error)
            return
        self._places = {name: read[name] for name in names if name in read}

    def of(self, name: str) -> LogPlace | None:
        """Return the place of a log, None for an unknown one."""
        with self._lock:
            return self._places.get(name)

    def note(self, name: str, place: LogPlace) -> None:
        """Take the place of a log."""
        with self._lock:
            self._places[name] = place

    def save(self) -> None:
        """Write the places, if they have changed. A fault is told once; the next call tries again."""
        with self._lock:
            data = json.dumps(_written(self._places)).encode()
        if data == self._saved:
            return
        try:
            self._write(self._path, data)
        except OSError as error:
            said = f"{self._path}: cannot be written: {error.strerror or error}"
            if said != self._said:
                _log.error("%s; lines that come while the exporter is away will not be read", said)
            self._said = said
            return
        self._saved, self._said = data, ""


def _written(places: Mapping[str, LogPlace]) -> dict[str, Any]:
    logs = {
        name: {
            "at": place.at,
            "files": [[*key, own.offset, own.head.hex(), own.path] for key, own in place.files.items()],
        }
        for name, place in places.items()
    }
    return {"version": _VERSION, "logs": logs}


def _places_of(data: bytes) -> dict[str, LogPlace]:
    """Return the places in the file's content. Raises ValueError with the fault."""
    if len(data) > MAX_BYTES:
        raise ValueError("is too large for a file of places")
    try:
        read = json.loads(data)
        if read["version"] != _VERSION:
            raise ValueError("version")
        return {str(name): _place(own) for name, own in read["logs"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError("is damaged, or of another version of the exporter") from None


def _place(own: Any) -> LogPlace:
    files: dict[Key, FilePlace] = {}
    for device, inode, offset, head, path in own["files"]:
        if not (type(device) is type(inode) is type(offset) is int and offset >= 0 and isinstance(path, str)):
            raise ValueError("file")
        files[device, inode] = FilePlace(path, offset, bytes.fromhex(head))
    if not isinstance(own["at"], str):
        raise ValueError("at")
    return LogPlace(files, own["at"])
