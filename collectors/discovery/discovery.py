"""Finds targets: static addresses, lists in files and of other sources, and files and sources of whole groups.

Files are read again when they change. A bad list affects only its own targets: its last good content stays in use, and
`errors` shows the fault.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from collectors.discovery.addresses import Found, check_label_names, target_of_url
from collectors.discovery.answers import Answer, taken
from collectors.discovery.entries import SdList, found_of
from collectors.discovery.files import for_group, matching, read_again
from collectors.discovery.group import (
    DiscoveryGroup,
    DroppedTarget,
    GroupsFile,
    GroupsSource,
    ListedGroups,
    SdConfig,
)
from collectors.discovery.groups_files import ReadGroups, read_groups_again
from collectors.discovery.monitors.list_part import Parts, asked
from collectors.errors import DiscoveryError
from collectors.samples import Labels
from collectors.target import Target


def _unasked(_: SdConfig) -> Answer:
    return Answer()


class Discovery:
    """The targets of a configuration. `refresh` does blocking file I/O: call it in a thread, one call at a time."""

    def __init__(
        self,
        groups: Iterable[DiscoveryGroup],
        base_dir: Path | None = None,
        files: Iterable[GroupsFile] = (),
        groups_sources: Iterable[GroupsSource] = (),
    ) -> None:
        """Relative file_sd paths start at `base_dir`. `files` and `groups_sources` list more groups.

        Raises DiscoveryError when an own entry of `groups` is wrong.
        """
        self._own = tuple(groups)
        self._groups_files = tuple(files)
        self._groups_sources = tuple(groups_sources)
        self._listed: list[tuple[int, ListedGroups]] = [(0, ListedGroups(())) for _ in self._groups_sources]
        """The groups of each source of groups, with the version of its answer."""
        self._parts = Parts()
        self._base_dir = base_dir or Path()
        self._static: dict[DiscoveryGroup, SdList] = {group: _static(group) for group in self._own}
        self._files: dict[tuple[DiscoveryGroup, Path], SdList] = {}
        self._answered: dict[tuple[DiscoveryGroup, SdConfig], SdList] = {}
        self._read: list[ReadGroups | None] = [None for _ in self._groups_files]
        """State of each file of groups. None: it has not been read."""
        self._before: tuple[tuple[DiscoveryGroup, Path, SdList], ...] = ()
        self._errors: tuple[DiscoveryError, ...] = ()
        self._remarks: tuple[str, ...] = ()
        self._left_out: tuple[str, ...] = ()
        self._jobs: tuple[str, ...] = ()
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
        """Parts of files and sources of groups that have no effect, as of the last refresh. Each names its place."""
        return self._remarks

    @property
    def left_out(self) -> tuple[str, ...]:
        """Parts of sources of groups that are left out, as of the last refresh. The lists are up to date."""
        return self._left_out

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs that files and sources of groups list, as of the last refresh."""
        return self._jobs

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
        answers: dict[SdConfig, Answer] = {each.sd: list_of(each.sd) for each in self._groups_sources}
        groups = [*self._own, *self._listed_groups(answers, errors)]
        files: dict[tuple[DiscoveryGroup, Path], SdList] = {}
        heard: dict[tuple[DiscoveryGroup, SdConfig], SdList] = {}
        idle: list[str] = []
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
                answer = answers.setdefault(asked(sd), list_of(asked(sd)))
                part = self._parts.of(sd, answer)
                heard[group, sd] = answered = taken(sd, group, self._answered.get((group, sd)), part)
                listed.append(answered)
            idle += _idle(group, listed)
            for each in listed:
                found += each.targets
                errors += [each.error] if each.error else each.faults  # these are of the last good content
        errors += [answer.error for answer in answers.values() if answer.error]
        self._parts.keep(answers)
        self._remarks = (*self._remarks, *idle)
        self._sources = tuple(answers)
        self._unanswered = tuple(sd for sd, answer in answers.items() if not (answer.version or answer.error))
        # As in Prometheus, a file that no glob matches any more is dropped with its targets.
        self._files, self._answered, self._static, self._before = files, heard, static, ()
        targets = _without_repeats([each for each in found if isinstance(each, Target)], errors)
        self._dropped = tuple(_told_dropped(found))
        self._errors = tuple(errors)
        return targets

    def _listed_groups(
        self, answers: Mapping[SdConfig, Answer], errors: list[DiscoveryError]
    ) -> Iterator[DiscoveryGroup]:
        """Yield the groups of files and sources of groups, each once."""
        files = zip(self._groups_files, self._read, strict=True)
        found = [read_groups_again(file, last) for file, last in files]
        self._read = [*found]
        errors += [read.error for read in found if read.error]
        for number, source in enumerate(self._groups_sources):
            version = answers[source.sd].version
            if self._listed[number][0] != version:
                self._listed[number] = version, source.groups(answers[source.sd].objects)
        every = [*(read.listed for read in found), *(listed for _, listed in self._listed)]
        self._remarks = tuple(remark for listed in every for remark in listed.remarks)
        self._left_out = tuple(sentence for listed in every for sentence in listed.left_out)
        groups = dict.fromkeys(group for listed in every for group in listed.groups)
        self._jobs = tuple(dict.fromkeys(group.job for group in groups))
        yield from groups

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


def _idle(group: DiscoveryGroup, listed: Sequence[SdList]) -> Iterator[str]:
    """Yield a sentence about a group that was made of an object and has no target."""
    found = [each for one in listed for each in one.targets]
    answered = all(one.stamp is not None for one in listed)
    if not (group.words and group.words.owner and answered) or any(isinstance(each, Target) for each in found):
        return
    if found:
        why = f"its rules drop all {len(found)} addresses there; `cp targets --dropped --search {group.job}` says why"
    elif any(one.faults for one in listed):
        return  # its addresses are refused, and the faults say why
    else:
        why = "there is no address in its namespaces"
    yield f"{group.words.owner} selects nothing: {why}"


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


def _told_dropped(found: Sequence[Found]) -> Iterator[DroppedTarget]:
    """Yield the dropped addresses, of groups of last resort only those that no other group has."""
    wanted = {each.last_resort for each in found if isinstance(each, DroppedTarget) and each.last_resort}
    seen: dict[tuple[str, ...], set[tuple[str, ...]]] = {names: set() for names in wanted}
    for names, values in seen.items():
        values.update(
            _values(each, names) for each in found if not (isinstance(each, DroppedTarget) and each.last_resort)
        )
    for each in found:
        if not isinstance(each, DroppedTarget):
            continue
        if not each.last_resort or _values(each, each.last_resort) not in seen[each.last_resort]:
            yield each


def _values(of: Found, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_value(of.discovered, name) for name in names)


def _value(labels: Labels, name: str) -> str:
    at = bisect_left(labels, (name, ""))
    return labels[at][1] if at < len(labels) and labels[at][0] == name else ""


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
    tell = faults.append if group.of_prometheus else None
    found = list(found_of(group, group.addresses, labels, where, tell))
    found += [target_of_url(group, url) for url in group.urls]
    return SdList(targets=tuple(found), faults=tuple(faults))
