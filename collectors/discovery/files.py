"""Files in Prometheus's file_sd format. A bad file keeps its last good list, with an error."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from collectors.discovery.entries import Entry, SdList, checked_entries, made
from collectors.discovery.group import DiscoveryGroup
from collectors.errors import DiscoveryError
from collectors.yaml_text import YamlError, load_texts

_MAGIC = re.compile(r"[*?\[]")
MAX_FILE_BYTES = 4 * 2**20
"""Maximum size of a file_sd file: some 20,000 targets. A larger file is a mistake (a log, a database)."""


class Stamp(NamedTuple):
    """Identifies a version of a file. Editors and ConfigMaps replace files, so the inode is part of it."""

    inode: int
    mtime_ns: int
    size: int


def stamp_of(path: Path) -> Stamp:
    """Return the version of a file now. Raises OSError; DiscoveryError for what is no file."""
    status = path.stat()
    # Opening a pipe would block for ever.
    if not stat.S_ISREG(status.st_mode):
        raise DiscoveryError(f"{path}: not a regular file")
    return Stamp(status.st_ino, status.st_mtime_ns, status.st_size)


def matching(path: Path) -> list[Path]:
    """Return a path, or the paths that its last part matches as a glob. Raises DiscoveryError."""
    if not _MAGIC.search(path.name):
        return [path]
    try:
        return sorted(path.parent.glob(path.name))
    except (OSError, ValueError) as error:
        raise DiscoveryError(f"{path}: cannot list the folder: {error}") from error


def read_again(path: Path, group: DiscoveryGroup, last: SdList | None) -> SdList:
    """Return the file as it is now, or its last good list with an error. Does not raise for a bad file."""
    good = last or SdList()
    stamp: Stamp | None = None
    try:
        stamp = stamp_of(path)
        if last and last.stamp == stamp:
            return last
        if stamp.size > MAX_FILE_BYTES:
            raise DiscoveryError(f"{path}: {stamp.size} bytes, more than the {MAX_FILE_BYTES} allowed")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
        return _made(path, _entries(path, content.decode()), group, stamp)
    except DiscoveryError as error:
        fault = error
    except UnicodeDecodeError as error:
        fault = DiscoveryError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}")
    except OSError as error:
        stamp, fault = None, DiscoveryError(f"{path}: cannot be read: {error.strerror}")
    return SdList(stamp, good.targets, fault, good.entries, good.faults)


def for_group(path: Path, last: SdList, group: DiscoveryGroup) -> SdList | None:
    """Return a file's last good list with the group's settings, without a stamp; None if they do not fit."""
    try:
        return _made(path, last.entries, group, None)
    except DiscoveryError:
        return None


def _made(path: Path, entries: tuple[Entry, ...], group: DiscoveryGroup, stamp: Stamp | None) -> SdList:
    return made(entries, group, str(path), {"__meta_filepath": str(path)}, stamp)


def _entries(path: Path, text: str) -> tuple[Entry, ...]:
    parsers: Mapping[str, Callable[[str], Any]] = {
        ".json": json.loads,
        ".yml": load_texts,
        ".yaml": load_texts,
    }
    parser = parsers.get(path.suffix.lower())
    if not parser:
        raise DiscoveryError(f"{path}: the name ends in none of {', '.join(parsers)}")
    try:
        content = parser(text)
    except json.JSONDecodeError as error:
        raise DiscoveryError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except YamlError as error:
        line = "" if error.line is None else f":{error.line}"
        raise DiscoveryError(f"{path}{line}: {error.reason}") from error
    except (ValueError, RecursionError) as error:
        raise DiscoveryError(f"{path}: cannot be parsed ({type(error).__name__})") from error
    return checked_entries(content, str(path))
