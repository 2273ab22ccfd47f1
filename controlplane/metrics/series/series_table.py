"""The table of series: their names, their labels and the places of their samples. One thread writes, many read.

A series has one or more slots. A slot is `factor * sum(columns)` of one block. Nearly all series have one slot of one
column. Therefore slots are flat arrays, and dictionaries hold the exceptions. This costs some 170 bytes a series. The
series' name and labels cost nothing more, because the source's layout has them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from collectors.samples import Labels, Metadata, Series
from controlplane.metrics.series.index import METRIC_NAME, LabelIndex
from controlplane.metrics.series.matchers import Matcher
from controlplane.metrics.series.plan import ReadPlan, Slots
from controlplane.metrics.storage.block import Block
from controlplane.metrics.storage.eras import Eras
from controlplane.metrics.storage.records import Description

MAX_FAMILIES = 50_000
"""Maximum number of metric families whose type and help are kept. Chosen: a fleet has some thousands."""


class SeriesTable:
    """Series by name and labels, and by matchers. Callers hold the store's lock around every call."""

    def __init__(self) -> None:
        self.eras = Eras()
        self.blocks: dict[int, Block] = {}
        """Blocks by layout number."""
        self._members: dict[int, array[int]] = {}
        """Numbers of the series of each block, by layout number."""
        self._ids: dict[Series, int] = {}
        self._series: dict[int, Series] = {}
        self._slots: dict[int, int | tuple[int, ...]] = {}
        self._slot_block, self._slot_column = array("q"), array("q")
        self._slot_factor = array("d")
        self._sums: dict[int, tuple[int, ...]] = {}
        """All columns of each slot that is a sum of several, by slot."""
        self._dead_slots = 0
        self._index = LabelIndex()
        self._next = 0
        self._metadata: dict[str, Metadata] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def id_of(self, series: Series) -> int | None:
        """Return the number of a series, or None if it is not in the table."""
        return self._ids.get(series)

    def add(self, description: Description) -> Block:
        """Add a layout. Return its block, which has no rows yet."""
        layout = description.layout
        block = self.blocks[description.number] = Block(
            description.number, description.source, len(layout.raw), description.era, self.eras
        )
        refused = frozenset(description.refused)
        members = self._members[description.number] = array("q")
        for position, series in enumerate(layout.raw):
            if position not in refused:
                members.append(self._place(series, block, (position,), 1.0))
        for position, view in enumerate(layout.views, len(layout.raw)):
            if position not in refused:
                members.append(self._place(view.series, block, view.columns, view.factor))
        self._metadata.update(layout.metadata)
        return block

    def _place(self, series: Series, block: Block, columns: tuple[int, ...], factor: float) -> int:
        slot = len(self._slot_block)
        self._slot_block.append(block.number)
        self._slot_column.append(columns[0])
        self._slot_factor.append(factor)
        if len(columns) > 1:
            self._sums[slot] = columns
        number = self._ids.get(series)
        if number is None:
            number, self._next = self._next, self._next + 1
            self._ids[series] = number
            self._series[number] = series
            self._slots[number] = slot
            self._index.add(number, with_name(series))
        else:
            before = self._slots[number]
            self._slots[number] = (*(before if isinstance(before, tuple) else (before,)), slot)
        return number

    def remove(self, numbers: Iterable[int]) -> set[str]:
        """Remove blocks by layout number, and series that no other block has. Return the names of all their series."""
        removed = {layout for layout in numbers if self.blocks.pop(layout, None) is not None}
        touched: dict[int, None] = {}
        for layout in removed:
            members = self._members.pop(layout)
            self._dead_slots += len(members)
            touched.update(dict.fromkeys(members))
        gone: list[tuple[int, Labels]] = []
        names: set[str] = set()
        for number in touched:
            slots = self._slots[number]
            every = slots if isinstance(slots, tuple) else (slots,)
            kept = tuple(slot for slot in every if self._slot_block[slot] not in removed)
            series = self._series[number]
            names.add(series.name)
            if kept:
                self._slots[number] = kept if len(kept) > 1 else kept[0]
            else:
                gone.append((number, with_name(series)))
                del self._ids[series], self._series[number], self._slots[number]
        if gone:
            self._index.remove(gone)
        if self._dead_slots > 1000 and self._dead_slots > len(self._slot_block) // 2:
            self._compact()
        return names

    def _compact(self) -> None:
        """Renumber the used slots without gaps. Plans have copies of the arrays and are not affected."""
        old = (self._slot_block, self._slot_column, self._slot_factor, self._sums)
        self._slot_block, self._slot_column, self._slot_factor, self._sums = array("q"), array("q"), array("d"), {}
        self._dead_slots = 0
        for number, slots in self._slots.items():
            moved = []
            for slot in slots if isinstance(slots, tuple) else (slots,):
                moved.append(len(self._slot_block))
                self._slot_block.append(old[0][slot])
                self._slot_column.append(old[1][slot])
                self._slot_factor.append(old[2][slot])
                if slot in old[3]:
                    self._sums[moved[-1]] = old[3][slot]
            self._slots[number] = tuple(moved) if len(moved) > 1 else moved[0]

    def count_series(self, numbers: Iterable[int]) -> int:
        """Return the number of distinct series of some blocks, given by layout number."""
        members = [np.array(self._members[n], dtype=np.int64) for n in numbers]
        if len(members) < 2:
            return sum(len(one) for one in members)
        # Members are ascending runs, which the stable sort merges.
        found = np.sort(np.concatenate(members), kind="stable")
        return int(np.count_nonzero(found[1:] != found[:-1])) + bool(len(found))

    def label_values(self, name: str) -> list[str]:
        """Return the values that a label has, unsorted."""
        return self._index.values(name)

    def plan(self, accepted: Sequence[tuple[Matcher, frozenset[str]]]) -> ReadPlan:
        """Return the plan of the series that satisfy all matchers; see LabelIndex.select."""
        ids = self._index.select(accepted).tolist()
        labels = tuple(with_name(self._series[i]) for i in ids)
        first = np.empty(len(ids), dtype=np.int64)
        more: dict[int, tuple[int, ...]] = {}
        for position, number in enumerate(ids):
            slots = self._slots[number]
            if isinstance(slots, tuple):
                more[position] = slots
                first[position] = slots[0]
            else:
                first[position] = slots
        tables = (np.array(self._slot_block), np.array(self._slot_column), np.array(self._slot_factor))
        return ReadPlan.of(labels, first, more, Slots(*tables, self._sums, self.blocks))

    @property
    def metadata(self) -> Mapping[str, Metadata]:
        """Type and help of each metric family, from the latest exposition that had it."""
        return self._metadata

    def describe(self, families: Mapping[str, Metadata]) -> None:
        """Add type and help of families that are in no layout. Beyond MAX_FAMILIES no family is added."""
        room = max(MAX_FAMILIES - len(self._metadata), 0)
        new = {*[name for name in families if name not in self._metadata][:room]}
        self._metadata.update((n, m) for n, m in families.items() if n in self._metadata or n in new)

    def limit_metadata(self, current: Iterable[Mapping[str, Metadata]]) -> None:
        """Keep only the families of `current` layouts once there are more than MAX_FAMILIES.

        That happens when a target makes up names.
        """
        if len(self._metadata) > MAX_FAMILIES:
            self._metadata = {name: data for known in current for name, data in known.items()}


def with_name(series: Series) -> Labels:
    """Return a series' labels with `__name__`, sorted."""
    name = (METRIC_NAME, series.name)
    labels = series.labels
    if not labels or labels[0][0] > METRIC_NAME:
        return (name, *labels)
    return tuple(sorted((*labels, name)))
