"""Plan of a prune, as a pure function of the index and the chunks that snapshots refer to."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from controlplane.backup.format.index import Index

REPACK_FROM: Final = 0.25
"""Share of a pack's bytes that nothing needs, from which on its other chunks are packed again."""


@dataclass(frozen=True)
class Plan:
    """Packs that a prune will delete, and chunks that it will copy before."""

    unneeded: tuple[str, ...]
    """Packs without a chunk that is needed."""
    repacked: tuple[str, ...]
    """Packs whose needed chunks are copied to new packs first."""
    freed: int
    """Bytes that the repository shrinks by."""
    moved: tuple[bytes, ...]
    """Ids of the chunks that are copied."""


def plan(index: Index, live: Set[bytes], doomed: Set[str], *, repack_from: float = REPACK_FROM) -> Plan:
    """Return the plan. `live` has the ids of all chunks that snapshots refer to.

    Each live chunk is kept in one pack, never in one of `doomed`, which earlier lists will delete.
    """
    home = {}
    for identity in live:
        place = next((one for one in index.copies(identity) if one.pack not in doomed), None)
        if place is not None:
            home[identity] = place
    needed: dict[str, int] = {}
    for place in home.values():
        needed[place.pack] = needed.get(place.pack, 0) + place.stored
    unneeded, repacked, freed = [], [], 0
    for name in sorted(set(index.packs) - doomed):
        stored = int(index.of_pack(name)["stored"].sum())
        used = needed.get(name, 0)
        if not used:
            unneeded.append(name)
        elif stored - used >= repack_from * stored:
            repacked.append(name)
        else:
            continue
        freed += stored - used
    chosen = set(repacked)
    moved = tuple(sorted(identity for identity, place in home.items() if place.pack in chosen))
    return Plan(tuple(unneeded), tuple(repacked), freed, moved)
