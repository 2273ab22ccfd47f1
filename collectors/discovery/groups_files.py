"""Files that list groups of targets, such as a prometheus.yml. A bad file keeps its last good groups, with an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from collectors.discovery.files import Stamp, matching, stamp_of
from collectors.discovery.group import GroupsFile, ListedGroups
from collectors.errors import DiscoveryError

_UNREAD = Stamp(-1, -1, -1)
"""Version of a file that was read without a look at its version: it is read once more."""


@dataclass(frozen=True)
class ReadGroups:
    """State of a file of groups: its last good groups, and the fault of its current content, if any."""

    listed: ListedGroups
    stamps: Mapping[Path, Stamp | None] = field(default_factory=dict)
    """Versions of the file and of those that it names. None: it cannot be read."""
    error: DiscoveryError | None = None


def read_groups_again(file: GroupsFile, last: ReadGroups | None) -> ReadGroups:
    """Return the groups of a file now, or its last good ones with an error. Blocking. Raises nothing for a bad file."""
    good = last.listed if last else ListedGroups(())
    before = _stamps(file.path, good.patterns)
    if last and before == last.stamps:
        return last
    try:
        # Looked at before the content is read, so that a change in between is not missed.
        if before[file.path] is None:
            stamp_of(file.path)
        listed = file.read()
    except DiscoveryError as error:
        return ReadGroups(good, before, error)
    except OSError as error:
        return ReadGroups(good, before, DiscoveryError(f"{file.path}: cannot be read: {error.strerror}"))
    after = _stamps(file.path, listed.patterns)
    return ReadGroups(listed, {path: before.get(path, _UNREAD) for path in after})


def _stamps(path: Path, patterns: Iterable[str]) -> dict[Path, Stamp | None]:
    found: dict[Path, Stamp | None] = {}
    for each in (path, *(p for pattern in patterns for p in _matching(pattern))):
        try:
            found[each] = stamp_of(each)
        except (OSError, DiscoveryError):
            found[each] = None
    return found


def _matching(pattern: str) -> list[Path]:
    try:
        return matching(Path(pattern))
    except DiscoveryError:
        return []  # reading the file tells it
