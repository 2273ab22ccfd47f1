"""The entries of a list of addresses, as file_sd and its like have them: `[{targets: [host:port], labels: {…}}]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from collectors.discovery.addresses import Found, check_label_names, target_of
from collectors.discovery.group import DiscoveryGroup
from collectors.errors import DiscoveryError

_CONTROL = frozenset(chr(code) for code in (*range(32), *range(127, 160)))


class Entry(NamedTuple):
    """Addresses that share labels."""

    addresses: Sequence[str]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class SdList:
    """State of one list for one group: the targets of its last good content, and the faults of the current one."""

    stamp: object = None
    """Identifies the content that was read. None: it must be read again."""
    targets: tuple[Found, ...] = ()
    error: DiscoveryError | None = None
    """Fault of the current content as a whole. `targets` are then of an earlier one."""
    entries: tuple[Entry, ...] = ()
    """The last good content, for a group whose settings change while the current one is bad."""
    faults: tuple[DiscoveryError, ...] = ()
    """Faults of single addresses, which the others do not suffer from."""


def made(
    entries: tuple[Entry, ...],
    group: DiscoveryGroup,
    source: str,
    meta: Mapping[str, str],
    stamp: object,
    last: SdList | None = None,
) -> SdList:
    """Return the list of a group. `source` begins messages; `meta` are labels of each address.

    `last` is a list of the same group and `meta`: the targets of entries that are the same objects are taken from it.
    As in Prometheus, a wrong address concerns only itself. Raises DiscoveryError for an entry with a wrong label, and
    for a list without any good address, unless addresses are as in Prometheus.
    """
    faults: list[DiscoveryError] = []
    targets: list[Found] = []
    known = _by_entry(last) if last else {}
    for number, entry in enumerate(entries, start=1):
        if (again := known.get(id(entry))) is not None:
            targets += again
            continue
        where = f"{source}: entry {number}"
        labels = {**dict(group.labels), **entry.labels, **meta}
        check_label_names(labels, where)
        targets += found_of(group, entry.addresses, labels, where, faults.append)
    if faults and not targets and not group.of_prometheus:
        raise faults[0]
    return SdList(stamp, tuple(targets), None, entries, tuple(faults))


def _by_entry(last: SdList) -> dict[int, tuple[Found, ...]]:
    """Return the targets of a list by the identity of their entry. With faults, it is not known which are whose."""
    found: dict[int, tuple[Found, ...]] = {}
    at = 0
    for entry in () if last.faults else last.entries:
        found[id(entry)] = last.targets[at : at + len(entry.addresses)]
        at += len(entry.addresses)
    return found


def found_of(
    group: DiscoveryGroup,
    addresses: Sequence[str],
    labels: Mapping[str, str],
    where: str,
    tell: Callable[[DiscoveryError], None] | None,
) -> Iterator[Found]:
    """Yield what becomes of each address. A wrong one is told, or raised where `tell` is None."""
    for address in addresses:
        try:
            yield target_of(group, address, labels, where)
        except DiscoveryError as error:
            if tell is None:
                raise
            tell(error)


def checked_entries(content: Any, where: str) -> tuple[Entry, ...]:
    """Return the entries of parsed JSON or YAML. Raises DiscoveryError, whose message begins with `where`."""
    if not isinstance(content, list):
        raise DiscoveryError(f"{where}: expected a list of {{targets, labels}}")
    return tuple(_checked(entry, f"{where}: entry {number}") for number, entry in enumerate(content, start=1))


def _checked(entry: Any, where: str) -> Entry:
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
    return Entry(addresses, labels)
