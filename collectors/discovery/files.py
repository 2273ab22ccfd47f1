"""Files in Prometheus's file_sd format. A bad file keeps its last good list, with an error."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from collectors.discovery.addresses import Found, check_label_names, target_of
from collectors.discovery.group import DiscoveryGroup
from collectors.errors import DiscoveryError

_CONTROL = frozenset(chr(code) for code in (*range(32), *range(127, 160)))
MAX_FILE_BYTES = 4 * 2**20
"""Maximum size of a file_sd file: some 20,000 targets. A larger file is a mistake (a log, a database)."""


class _Stamp(NamedTuple):
    """Identifies a version of a file. Editors and ConfigMaps replace files, so the inode is part of it."""

    inode: int
    mtime_ns: int
    size: int


@dataclass(frozen=True)
class SdFile:
    """State of a file_sd file: its last good list, and the fault of its current content, if any."""

    stamp: _Stamp | None
    targets: tuple[Found, ...] = ()
    error: DiscoveryError | None = None
    entries: Sequence[Any] = ()
    """Entries of the last good list, for a group whose settings change while the file is bad."""


def read_again(path: Path, group: DiscoveryGroup, last: SdFile | None) -> SdFile:
    """Return the file as it is now, or its last good list with an error. Does not raise for a bad file."""
    good, entries = (last.targets, last.entries) if last else ((), ())
    stamp: _Stamp | None = None
    try:
        status = path.stat()
        stamp = _Stamp(status.st_ino, status.st_mtime_ns, status.st_size)
        if last and last.stamp == stamp:
            return last
        # Opening a pipe would block for ever.
        if not stat.S_ISREG(status.st_mode):
            raise DiscoveryError(f"{path}: not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise DiscoveryError(f"{path}: {status.st_size} bytes, more than the {MAX_FILE_BYTES} allowed")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
        found = _entries(path, content.decode())
        return SdFile(stamp, tuple(_file_targets(path, found, group)), entries=found)
    except DiscoveryError as error:
        return SdFile(stamp, good, error, entries)
    except UnicodeDecodeError as error:
        fault = DiscoveryError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}")
        return SdFile(stamp, good, fault, entries)
    except OSError as error:
        return SdFile(None, good, DiscoveryError(f"{path}: cannot be read: {error.strerror}"), entries)


def for_group(path: Path, last: SdFile, group: DiscoveryGroup) -> SdFile | None:
    """Return a file's last good list with the group's settings, without a stamp; None if they do not fit."""
    try:
        return SdFile(None, tuple(_file_targets(path, last.entries, group)), entries=last.entries)
    except DiscoveryError:
        return None


def _file_targets(path: Path, entries: Sequence[Any], group: DiscoveryGroup) -> Iterator[Found]:
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: entry {number}"
        addresses, own = _checked_entry(entry, where)
        labels = {**dict(group.labels), **own, "__meta_filepath": str(path)}
        check_label_names(labels, where)
        for address in addresses:
            yield target_of(group, address, labels, where)


def _entries(path: Path, text: str) -> Sequence[Any]:
    parsers: Mapping[str, Callable[[str], Any]] = {
        ".json": json.loads,
        # The base loader is safe, and keeps every scalar as the written text: `version: 1.10` stays "1.10".
        ".yml": YAML(typ="base").load,
        ".yaml": YAML(typ="base").load,
    }
    parser = parsers.get(path.suffix.lower())
    if not parser:
        raise DiscoveryError(f"{path}: the name ends in none of {', '.join(parsers)}")
    try:
        entries = parser(text)
    except json.JSONDecodeError as error:
        raise DiscoveryError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DiscoveryError(f"{path}{line}: not YAML: {error.problem or error.context}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise DiscoveryError(f"{path}: cannot be parsed ({type(error).__name__})") from error
    if not isinstance(entries, list):
        raise DiscoveryError(f"{path}: expected a list of {{targets, labels}}")
    return entries


def _checked_entry(entry: Any, where: str) -> tuple[list[str], dict[str, str]]:
    if not isinstance(entry, dict):
        raise DiscoveryError(f"{where}: expected a mapping with targets and labels")
    if unknown := sorted(str(key) for key in entry if key not in ("targets", "labels")):
        raise DiscoveryError(f"{where}: unknown field {unknown[0][:40]!r}; known are targets and labels")
    addresses, labels = entry.get("targets") or [], entry.get("labels") or {}
    if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
        raise DiscoveryError(f"{where}: targets: expected a list of host:port")
    if not isinstance(labels, dict) or not all(isinstance(x, str) for pair in labels.items() for x in pair):
        raise DiscoveryError(f"{where}: labels: expected names with texts")
    for name, value in [*labels.items(), *(("targets", address) for address in addresses)]:
        if not _CONTROL.isdisjoint(value) or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
            # No database stores a NUL, and a terminal or page does not show control characters as they are.
            raise DiscoveryError(f"{where}: {name[:40]!r} holds a control character; remove it")
    return addresses, labels
