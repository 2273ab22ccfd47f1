"""Which packs a prune deletes and which it packs again, from tables alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from controlplane.backup.format.index import Index, segment_of
from controlplane.backup.format.pack import ROW
from controlplane.backup.pruning.plan import Plan, plan


def identity(name: str) -> bytes:
    return name.encode().ljust(32, b".")


def index(packs: Mapping[str, Mapping[str, int]]) -> Index:
    """Return an index of packs, by name the stored bytes of each of their chunks."""
    tables = []
    for pack, chunks in packs.items():
        rows = np.zeros(len(chunks), ROW)
        for number, (chunk, stored) in enumerate(chunks.items()):
            rows[number]["id"] = np.void(identity(chunk))
            rows[number]["stored"], rows[number]["size"], rows[number]["number"] = stored, stored - 16, number
        tables.append((pack * 32, rows))
    return Index([segment_of(tables)])


def planned(packs: Mapping[str, Mapping[str, int]], live: str) -> Plan:
    return plan(index(packs), {identity(one) for one in live}, frozenset())


def test_packs_without_a_needed_chunk_go() -> None:
    found = planned({"aa": {"x": 100, "y": 50}, "bb": {"z": 70}}, live="z")
    assert found == Plan(("aa" * 32,), (), 150, ())


def test_a_pack_from_a_quarter_of_waste_on_is_packed_again() -> None:
    packs = {"aa": {"x": 751, "y": 249}, "bb": {"z": 750, "w": 250}}
    assert planned(packs, live="xz") == Plan((), ("bb" * 32,), 250, (identity("z"),))
    assert planned(packs, live="xyzw") == Plan((), (), 0, ())


def test_a_chunk_with_two_copies_keeps_one() -> None:
    found = planned({"aa": {"x": 100}, "bb": {"x": 100}}, live="x")
    assert len(found.unneeded) == 1 and found.repacked == () and found.freed == 100


def test_packs_of_earlier_lists_are_neither_used_nor_listed_again() -> None:
    found = plan(index({"aa": {"x": 100}, "bb": {"x": 100}}), {identity("x")}, {"aa" * 32})
    assert found == Plan((), (), 0, ())


def test_nothing_is_planned_for_an_empty_repository() -> None:
    assert planned({}, live="x") == Plan((), (), 0, ())
