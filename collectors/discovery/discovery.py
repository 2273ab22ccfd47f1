"""Finds targets: static addresses, and files in Prometheus's file_sd format, which are read again when they change.

A bad file affects only its own targets: its last good list stays in use, and `errors` shows the fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from collectors.discovery.addresses import Found, check_label_names, resolved, target_of
from collectors.discovery.files import SdFile, for_group, read_again
from collectors.discovery.group import DiscoveryGroup, DroppedTarget
from collectors.errors import DiscoveryError
from collectors.target import Target

_MAGIC = re.compile(r"[*?\[]")


class Discovery:
    """The targets of a configuration. `refresh` does blocking file I/O: call it in a thread, one call at a time."""

    def __init__(self, groups: Iterable[DiscoveryGroup], base_dir: Path | None = None) -> None:
        """Relative file_sd paths start at `base_dir`. Raises DiscoveryError when a group's own entries are wrong."""
        self._groups = tuple(groups)
        self._base_dir = base_dir or Path()
        self._static = [tuple(_static_targets(group)) for group in self._groups]
        self._files: dict[tuple[int, Path], SdFile] = {}
        self._before: tuple[tuple[DiscoveryGroup, Path, SdFile], ...] = ()
        self._errors: tuple[DiscoveryError, ...] = ()
        self._dropped: tuple[DroppedTarget, ...] = ()

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
    def dropped(self) -> tuple[DroppedTarget, ...]:
        """The addresses of the last refresh that relabelling drops."""
        return self._dropped

    @property
    def files(self) -> tuple[Path, ...]:
        """The file_sd files of the last refresh, readable or not."""
        return tuple(path for _, path in self._files)

    def refresh(self) -> list[Target]:
        """Read new and changed files and return all targets in the order of the groups, without repeats."""
        files: dict[tuple[int, Path], SdFile] = {}
        errors: list[DiscoveryError] = []
        found: list[Found] = []
        for index, group in enumerate(self._groups):
            found += self._static[index]
            for path in self._paths(group, errors):
                last = self._files.get((index, path)) or self._inherited(path, group)
                files[index, path] = file = read_again(path, group, last)
                found += file.targets
                if file.error:
                    errors.append(file.error)
        # As in Prometheus, a file that no glob matches any more is dropped with its targets.
        self._files, self._before = files, ()
        targets = _without_repeats([each for each in found if isinstance(each, Target)], errors)
        self._dropped = tuple(each for each in found if isinstance(each, DroppedTarget))
        self._errors = tuple(errors)
        return targets

    def _inherited(self, path: Path, group: DiscoveryGroup) -> SdFile | None:
        known = [(of, file) for of, at, file in self._before if at == path]
        same = next((file for of, file in known if of == group), None)
        return same or next((kept for _, file in known if (kept := for_group(path, file, group))), None)

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
        # As in Prometheus, addresses that relabelling makes equal are one target.
        if first is not target and replace(first, discovered=()) != replace(target, discovered=()):
            errors.append(
                DiscoveryError(
                    f"{target.url} is listed twice as job {target.job!r}, instance {target.instance!r}, with different"
                    " settings; the first is used. Give one of them another job or instance label"
                )
            )
    return list(by_key.values())


def _static_targets(group: DiscoveryGroup) -> Iterator[Found]:
    where = f"targets of engine {group.engine}"
    labels = dict(group.labels)
    check_label_names(labels, where)
    for address in group.addresses:
        yield target_of(group, address, labels, where)
    for url in group.urls:
        yield resolved(group, url, labels, urlsplit(url).netloc.rpartition("@")[2] or url)
