"""The answers of a source of addresses, and the targets of a group that they become. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.discovery.entries import Entry, SdList, made
from collectors.discovery.group import DiscoveryGroup, Objects, SdConfig
from collectors.errors import DiscoveryError


@dataclass(frozen=True)
class Answer:
    """State of a source: its last good list, and its present fault."""

    version: int = 0
    """Number of the last good list that differs from the one before; 0: there is none."""
    entries: tuple[Entry, ...] = ()
    """Content of that list."""
    error: DiscoveryError | None = None
    """Why the list may not be up to date."""
    objects: Objects = field(default_factory=dict, repr=False)
    """Content of the list of a source of groups, which has no entries. It may have secrets."""


def taken(sd: SdConfig, group: DiscoveryGroup, last: SdList | None, found: Answer) -> SdList:
    """Return the list of a group after the source's answers, or the last good one with an error."""
    if not found.version or (last and last.stamp == found.version):
        return last or SdList()
    try:
        return made(found.entries, group, sd.place, {}, found.version, last)
    except DiscoveryError as error:
        good = last or SdList()
        return SdList(found.version, good.targets, error, good.entries, good.faults)
