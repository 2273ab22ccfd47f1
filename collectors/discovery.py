"""Finds targets: static addresses, and files in Prometheus's file_sd format, which are read again when they change.

A bad file affects only its own targets: its last good list stays in use, and `errors` shows the fault.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from collectors.durations import parse_duration
from collectors.errors import DiscoveryError
from collectors.samples import Labels, labels_of
from collectors.target import Auth, Target

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ADDRESS = re.compile(r"(?:[^\s/:@?#\[\]]+|\[[0-9a-fA-F:.%a-z]+\]):(\d{1,5})")
_CONTROL = frozenset(chr(code) for code in (*range(32), *range(127, 160)))
_MAGIC = re.compile(r"[*?\[]")
MAX_FILE_BYTES = 4 * 2**20
"""Maximum size of a file_sd file: some 20,000 targets. A larger file is a mistake (a log, a database)."""


@dataclass(frozen=True)
class DiscoveryGroup:
    """Targets of one engine kind that share labels and credentials.

    `addresses` are `host:port`; `scheme` and `path` complete them. `urls` are complete (`local:nvml` too). `file_sd`
    are paths or globs of files that list addresses.
    """

    engine: str
    addresses: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    file_sd: tuple[str, ...] = ()
    labels: Labels = ()
    models: Labels = ()
    scheme: str = "http"
    path: str = "/metrics"
    interval_s: float = 15.0
    timeout_s: float = 10.0
    auth: Auth | None = None


class _Stamp(NamedTuple):
    """Identifies a version of a file. Editors and ConfigMaps replace files, so the inode is part of it."""

    inode: int
    mtime_ns: int
    size: int


@dataclass(frozen=True)
class _File:
    """State of a file_sd file: its last good list, and the fault of its current content, if any."""

    stamp: _Stamp | None
    targets: tuple[Target, ...] = ()
    error: DiscoveryError | None = None
    entries: Sequence[Any] = ()
    """Entries of the last good list, for a group whose settings change while the file is bad."""


class Discovery:
    """The targets of a configuration. `refresh` does blocking file I/O: call it in a thread, one call at a time."""

    def __init__(self, groups: Iterable[DiscoveryGroup], base_dir: Path | None = None) -> None:
        """Relative file_sd paths start at `base_dir`. Raises DiscoveryError when a group's own entries are wrong."""
        self._groups = tuple(groups)
        self._base_dir = base_dir or Path()
        self._static = [tuple(_static_targets(group)) for group in self._groups]
        self._files: dict[tuple[int, Path], _File] = {}
        self._before: tuple[tuple[DiscoveryGroup, Path, _File], ...] = ()
        self._errors: tuple[DiscoveryError, ...] = ()

    def follow(self, before: Discovery) -> None:
        """Take over the last good list of every file_sd file from the previous discovery.

        A file that is bad while the configuration changes then loses no target, and unchanged files are not read again.
        When the settings of a group have changed, its targets get the new settings.
        """
        # `before` may have read nothing yet and hold only inherited lists, so those are passed on too. `_before` is
        # read first: a refresh in another thread sets `_files` before it clears `_before`, so no list is missed.
        inherited = before._before
        read = tuple((before._groups[index], path, file) for (index, path), file in before._files.items())
        self._before = (*read, *inherited)

    @property
    def errors(self) -> tuple[DiscoveryError, ...]:
        """Faults of the last refresh. Each message names the file."""
        return self._errors

    @property
    def files(self) -> tuple[Path, ...]:
        """The file_sd files of the last refresh, readable or not."""
        return tuple(path for _, path in self._files)

    def refresh(self) -> list[Target]:
        """Read new and changed files and return all targets in the order of the groups, without repeats."""
        files: dict[tuple[int, Path], _File] = {}
        errors: list[DiscoveryError] = []
        found: list[Target] = []
        for index, group in enumerate(self._groups):
            found += self._static[index]
            for path in self._paths(group, errors):
                last = self._files.get((index, path)) or self._inherited(path, group)
                files[index, path] = file = _read_again(path, group, last)
                found += file.targets
                if file.error:
                    errors.append(file.error)
        # As in Prometheus, a file that no glob matches any more is dropped with its targets.
        self._files, self._before = files, ()
        targets = _without_repeats(found, errors)
        self._errors = tuple(errors)
        return targets

    def _inherited(self, path: Path, group: DiscoveryGroup) -> _File | None:
        known = [(of, file) for of, at, file in self._before if at == path]
        same = next((file for of, file in known if of == group), None)
        return same or next((kept for _, file in known if (kept := _for_group(path, file, group))), None)

    def _paths(self, group: DiscoveryGroup, errors: list[DiscoveryError]) -> list[Path]:
        paths: set[Path] = set()
        for pattern in group.file_sd:
            path = self._base_dir / pattern
            if not _MAGIC.search(path.name):
                paths.add(path)
                continue
            try:
                paths.update(path.parent.glob(path.name))
            except (OSError, ValueError) as error:
                errors.append(DiscoveryError(f"{path}: cannot list the folder: {error}"))
        return sorted(paths)


def _without_repeats(found: Iterable[Target], errors: list[DiscoveryError]) -> list[Target]:
    by_key: dict[str, Target] = {}
    for target in found:
        first = by_key.setdefault(target.key, target)
        if first != target:
            errors.append(
                DiscoveryError(
                    f"{target.url} is listed twice as job {target.job!r}, instance {target.instance!r}, with different"
                    " settings; the first is used. Give one of them another job or instance label"
                )
            )
    return list(by_key.values())


def _static_targets(group: DiscoveryGroup) -> Iterator[Target]:
    where = f"targets of engine {group.engine}"
    labels = dict(group.labels)
    _check_label_names(labels, where)
    for address in group.addresses:
        yield _target(group, address, labels, where)
    for url in group.urls:
        yield _resolved(group, url, labels, urlsplit(url).netloc.rpartition("@")[2] or url)


def _read_again(path: Path, group: DiscoveryGroup, last: _File | None) -> _File:
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
        return _File(stamp, tuple(_file_targets(path, found, group)), entries=found)
    except DiscoveryError as error:
        return _File(stamp, good, error, entries)
    except UnicodeDecodeError as error:
        fault = DiscoveryError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}")
        return _File(stamp, good, fault, entries)
    except OSError as error:
        return _File(None, good, DiscoveryError(f"{path}: cannot be read: {error.strerror}"), entries)


def _for_group(path: Path, last: _File, group: DiscoveryGroup) -> _File | None:
    """Return a file's last good list with the group's settings, without a stamp; None if they do not fit."""
    try:
        return _File(None, tuple(_file_targets(path, last.entries, group)), entries=last.entries)
    except DiscoveryError:
        return None


def _file_targets(path: Path, entries: Sequence[Any], group: DiscoveryGroup) -> Iterator[Target]:
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: entry {number}"
        addresses, own = _checked_entry(entry, where)
        labels = {**dict(group.labels), **own}
        _check_label_names(labels, where)
        for address in addresses:
            yield _target(group, address, labels, where)


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


def _check_label_names(labels: Mapping[str, str], where: str) -> None:
    for name in labels:
        parameter = name.startswith("__param_")  # the rest is the name of a URL parameter, which may have any character
        if not parameter and not _LABEL_NAME.fullmatch(name):
            raise DiscoveryError(f"{where}: {name[:40]!r} is not a label name (letters, digits and _)")


def _target(group: DiscoveryGroup, address: str, labels: Mapping[str, str], where: str) -> Target:
    match = _ADDRESS.fullmatch(address)
    if not match or not 0 < int(match[1]) < 65536:
        raise DiscoveryError(f"{where}: {address[:80]!r} is not host:port (the port cannot be left out)")
    scheme = labels.get("__scheme__") or group.scheme
    if scheme not in ("http", "https"):
        raise DiscoveryError(f"{where}: scheme {scheme[:40]!r} is neither http nor https")
    path = labels.get("__metrics_path__") or group.path
    url = f"{scheme}://{address}{quote('/' + path.removeprefix('/'), safe='/%:@!$&()*+,;=~')}"
    prefix = "__param_"
    if params := sorted((k.removeprefix(prefix), v) for k, v in labels.items() if k.startswith(prefix)):
        url = f"{url}?{urlencode(params)}"
    seconds = partial(_seconds, labels, where=where)
    interval_s = seconds("__scrape_interval__", group.interval_s)
    # A target's own interval below the group's timeout shortens the timeout too, and is not refused.
    timeout_s = seconds("__scrape_timeout__", min(group.timeout_s, interval_s))
    if timeout_s > interval_s:
        raise DiscoveryError(f"{where}: scrape timeout {timeout_s:g}s is longer than the interval {interval_s:g}s")
    return _resolved(group, url, labels, address, interval_s, timeout_s)


def _resolved(
    group: DiscoveryGroup,
    url: str,
    labels: Mapping[str, str],
    address: str,
    interval_s: float | None = None,
    timeout_s: float | None = None,
) -> Target:
    own = {name: value for name, value in labels.items() if not name.startswith("__")}
    return Target(
        engine=group.engine,
        url=url,
        job=own.pop("job", "") or group.engine,
        instance=own.pop("instance", "") or address,
        labels=labels_of(own),
        models=group.models,
        interval_s=group.interval_s if interval_s is None else interval_s,
        timeout_s=group.timeout_s if timeout_s is None else timeout_s,
        auth=group.auth,
    )


def _seconds(labels: Mapping[str, str], name: str, default: float, *, where: str) -> float:
    text = labels.get(name)
    if not text:
        return default
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise DiscoveryError(f"{where}: {name}: expected a duration such as 15s or 1m30s, got {text[:40]!r}")
    return seconds
