"""Finds targets: static addresses, lists in files and of other sources, and files of whole groups of targets.

Files are read again when they change. A bad list affects only its own targets: its last good content stays in use, and
`errors` shows the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from collectors.discovery.addresses import Found, check_label_names, resolved
from collectors.discovery.answers import Answer, taken
from collectors.discovery.entries import SdList, found_of
from collectors.discovery.files import for_group, matching, read_again
from collectors.discovery.group import DiscoveryGroup, DroppedTarget, GroupsFile, SdConfig
from collectors.discovery.groups_files import ReadGroups, read_groups_again
from collectors.errors import DiscoveryError
from collectors.target import Target


def _unasked(_: SdConfig) -> Answer:
    return Answer()


class Discovery:
    """The targets of a configuration. `refresh` does blocking file I/O: call it in a thread, one call at a time."""

    def __init__(
        self, groups: Iterable[DiscoveryGroup], base_dir: Path | None = None, files: Iterable[GroupsFile] = ()
    ) -> None:
        """Relative file_sd paths start at `base_dir`. `files` list more groups.

        Raises DiscoveryError when an own entry of `groups` is wrong.
        """
        self._own = tuple(groups)
        self._groups_files = tuple(files)
        self._base_dir = base_dir or Path()
        self._static: dict[DiscoveryGroup, SdList] = {group: _static(group) for group in self._own}
        self._files: dict[tuple[DiscoveryGroup, Path], SdList] = {}
        self._answered: dict[tuple[DiscoveryGroup, SdConfig], SdList] = {}
        self._read: list[ReadGroups | None] = [None for _ in self._groups_files]
        """State of each file of groups. None: it has not been read."""
        self._before: tuple[tuple[DiscoveryGroup, Path, SdList], ...] = ()
        self._errors: tuple[DiscoveryError, ...] = ()
        self._remarks: tuple[str, ...] = ()
        self._dropped: tuple[DroppedTarget, ...] = ()
        self._sources: tuple[SdConfig, ...] = ()
        self._unanswered: tuple[SdConfig, ...] = ()

    def follow(self, before: Discovery) -> None:
        """Take over the last good content of every file from the previous discovery.

        A file that is bad while the configuration changes then loses no target, and unchanged files are not read again.
        When the settings of a group have changed, its targets get the new settings.
        """
        # `before` may have read nothing yet and hold only inherited lists, so those are passed on too. `_before` is
        # read first: a refresh in another thread sets `_files` before it clears `_before`, so no list is missed.
        inherited = before._before
        self._before = (*((group, path, file) for (group, path), file in before._files.items()), *inherited)
        # Without stamps, because the same file may now stand for other groups.
        known = {file.path: read for file, read in zip(before._groups_files, before._read, strict=True) if read}
        self._read = [ReadGroups(known[f.path].listed) if f.path in known else None for f in self._groups_files]

    @property
    def errors(self) -> tuple[DiscoveryError, ...]:
        """Faults of the last refresh. Each message names the file or source."""
        return self._errors

    @property
    def remarks(self) -> tuple[str, ...]:
        """Parts of files of groups that have no effect, as of the last refresh. Each names file and line."""
        return self._remarks

    @property
    def dropped(self) -> tuple[DroppedTarget, ...]:
        """The addresses of the last refresh that relabelling drops."""
        return self._dropped

    @property
    def files(self) -> tuple[Path, ...]:
        """The file_sd files of the last refresh, readable or not."""
        return tuple(path for _, path in self._files)

    @property
    def sources(self) -> tuple[SdConfig, ...]:
        """The sources of lists other than files, as of the last refresh, each once."""
        return self._sources

    @property
    def unanswered(self) -> tuple[SdConfig, ...]:
        """Those sources of which the last refresh knew neither a list nor a fault."""
        return self._unanswered

    def refresh(self, list_of: Callable[[SdConfig], Answer] = _unasked) -> list[Target]:
        """Read new and changed files and return all targets in the order of the groups, without repeats.

        `list_of` returns what a source has answered so far.
        """
        errors: list[DiscoveryError] = []
        groups = [*self._own, *self._listed_groups(errors)]
        files: dict[tuple[DiscoveryGroup, Path], SdList] = {}
        heard: dict[tuple[DiscoveryGroup, SdConfig], SdList] = {}
        answers: dict[SdConfig, Answer] = {}
        static: dict[DiscoveryGroup, SdList] = {}
        found: list[Found] = []
        for group in groups:
            static[group] = own = self._static.get(group) or _static(group)
            found += own.targets
            errors += own.faults
            listed: list[SdList] = []
            for path in self._paths(group, errors):
                last = self._files.get((group, path)) or self._inherited(path, group)
                files[group, path] = file = read_again(path, group, last)
                listed.append(file)
            for sd in group.sd:
                answers.setdefault(sd, list_of(sd))
                heard[group, sd] = answered = taken(sd, group, self._answered.get((group, sd)), answers[sd])
                listed.append(answered)
            for each in listed:
                found += each.targets
                errors += [*([each.error] if each.error else []), *each.faults]
        errors += [answer.error for answer in answers.values() if answer.error]
        self._sources = tuple(answers)
        self._unanswered = tuple(sd for sd, answer in answers.items() if not (answer.version or answer.error))
        # As in Prometheus, a file that no glob matches any more is dropped with its targets.
        self._files, self._answered, self._static, self._before = files, heard, static, ()
        targets = _without_repeats([each for each in found if isinstance(each, Target)], errors)
        self._dropped = tuple(each for each in found if isinstance(each, DroppedTarget))
        self._errors = tuple(errors)
        return targets

    def _listed_groups(self, errors: list[DiscoveryError]) -> Iterator[DiscoveryGroup]:
        """Yield the groups of files of groups, each once."""
        files = zip(self._groups_files, self._read, strict=True)
        found = [read_groups_again(file, last) for file, last in files]
        self._read = [*found]
        errors += [read.error for read in found if read.error]
        self._remarks = tuple(remark for read in found for remark in read.listed.remarks)
        yield from dict.fromkeys(group for read in found for group in read.listed.groups)

    def _inherited(self, path: Path, group: DiscoveryGroup) -> SdList | None:
        """Return the last good list of a file that was read for another group, or by the discovery before."""
        known = [(of, file) for of, at, file in self._before if at == path]
        known += [(of, file) for (of, at), file in self._files.items() if at == path]
        same = next((file for of, file in known if of == group), None)
        return same or next((kept for _, file in known if (kept := for_group(path, file, group))), None)

    def _paths(self, group: DiscoveryGroup, errors: list[DiscoveryError]) -> list[Path]:
        paths: set[Path] = set()
        for pattern in group.file_sd:
            try:
                paths.update(matching(self._base_dir / pattern))
            except DiscoveryError as error:
                errors.append(error)
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


def _static(group: DiscoveryGroup) -> SdList:
    """Return the targets of a group's own addresses. Raises DiscoveryError, unless they are as in Prometheus."""
    where = f"job {group.job}" if group.job else f"targets of engine {group.engine}"
    labels = dict(group.labels)
    faults: list[DiscoveryError] = []
    try:
        check_label_names(labels, where)
    except DiscoveryError as error:
        if not group.of_prometheus:
            raise
        return SdList(faults=(error,))
    found = list(found_of(group, group.addresses, labels, where, faults))
    found += [resolved(group, url, labels, urlsplit(url).netloc.rpartition("@")[2] or url) for url in group.urls]
    return SdList(targets=tuple(found), faults=tuple(faults))
