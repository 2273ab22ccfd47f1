"""Lists of packs that a prune is about to delete. Writers that start after a list was written do not use its packs."""

from __future__ import annotations

import orjson

from controlplane.backup.format.envelope import Kind
from controlplane.backup.repository import Repository


def garbage_lists(repository: Repository) -> dict[str, frozenset[str]]:
    """Return the names of packs on each list, by the list's object name. Raises Damaged and WrongKey."""
    found = {}
    for item in repository.store.list("garbage/"):
        try:
            found[item.name] = frozenset(orjson.loads(repository.read_list(item.name, Kind.GARBAGE)))
        except FileNotFoundError:
            continue
    return found


def doomed_packs(repository: Repository) -> frozenset[str]:
    """Return the names of all packs on any list. Raises Damaged and WrongKey."""
    return frozenset().union(*garbage_lists(repository).values())
