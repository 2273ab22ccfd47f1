"""The table of series: their names, their labels and the places of their samples. One thread writes, many read.

A series has one or more slots. A slot is `factor * sum(columns)` of one block. Its number is the block's first number
plus its position in the layout. The number of a series is that of its first slot. So for nearly all series the table
keeps nothing: names, labels and columns are in the layout, and its list of series has one entry (see shape_index.py).
Of any other series it keeps a hash and places in the label index, some 50 bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from collectors.exposition.packed_series import SeriesList
from collectors.samples import Labels, Layout, Metadata, Series
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.series.index import LabelIndex
from controlplane.metrics.series.layout_series import (
    LayoutReader,
    Reads,
    by_pair,
    lists_of,
    metrics_of,
    pairs_of,
    positions_of,
    series_at,
    series_of,
)
from controlplane.metrics.series.matchers import Matcher
from controlplane.metrics.series.plan import ReadPlan, Slots
from controlplane.metrics.series.series_numbers import SeriesNumbers
from controlplane.metrics.series.series_slots import NONE, SeriesSlots
from controlplane.metrics.series.shape_index import ShapeIndex
from controlplane.metrics.storage.block import Block
from controlplane.metrics.storage.eras import Eras
from controlplane.metrics.storage.records import Description

MAX_FAMILIES = 50_000
"""Maximum number of metric families whose type and help are kept. Chosen: a fleet has some thousands."""

WHOLE = 8
"""Part of a layout's series, as 1 / WHOLE, from which on all of them are read: one alone takes ten times as long."""
WIDE = 2**31
"""Numbers from here on take eight bytes."""


class Found(NamedTuple):
    """The series of a layout's positions. Arrays are `[positions]`."""

    hashes: IntArray
    numbers: IntArray
    """Numbers of the series. NONE if a series is not in the table."""


class _Placed:
    """A layout in the table."""

    __slots__ = ("base", "block", "layout", "members")

    def __init__(self, base: int, block: Block, layout: Layout, members: IntArray | None) -> None:
        self.base, self.block, self.layout = base, block, layout
        # The greatest number is below the end of the layout's slots.
        narrow = members is not None and base + len(members) < WIDE
        self.members = members.astype(np.int32) if members is not None and narrow else members
        """[positions] numbers of the series. None if each series has the number of its own slot."""

    def numbers(self) -> IntArray:
        """Return the number of each position's series: int64 of shape [positions]. NONE for a refused series."""
        if self.members is not None:
            return self.members.astype(np.int64)
        return np.arange(self.base, self.base + positions_of(self.layout))


class SeriesTable:
    """Series by name and labels, and by matchers. Callers hold the store's lock around every call."""

    def __init__(self) -> None:
        self.eras = Eras()
        self.blocks: dict[int, Block] = {}
        """Blocks by layout number."""
        self._placed: dict[int, _Placed] = {}
        """Layouts by number."""
        self._order: list[_Placed] = []
        """Layouts in the order of their slots."""
        self._starts, self._ends = array("q"), array("q")
        """[layouts, in that order] first slot of each layout, and the slot after its last."""
        self._elsewhere = SeriesSlots()
        """Slots of series, apart from the one that is a series' number. That one may be gone while others live."""
        self._numbers = SeriesNumbers()
        self._index = LabelIndex()
        self._shapes = ShapeIndex()
        """Lists of new series of shared shapes. All other series are in `_numbers` and `_index`."""
        self._next = 0
        self._count = 0
        self._metadata: dict[str, Metadata] = {}

    def __len__(self) -> int:
        return self._count

    def id_of(self, series: Series) -> int | None:
        """Return the number of a series, or None if it is not in the table."""
        number = int(self._known([series], series.labels).numbers[0])
        return None if number == NONE else number

    def layout_of(self, block: Block) -> Layout:
        """Return the layout of a block of this table."""
        return self._placed[block.number].layout

    def find(self, layout: Layout) -> Found:
        """Return the hashes and the numbers of a layout's series."""
        return self._known(series_of(layout), chain.from_iterable(pairs_of(some) for _, some in lists_of(layout)))

    def _known(self, series: Sequence[Series], pairs: Iterable[tuple[str, str]]) -> Found:
        hashes = np.fromiter(map(hash, series), np.int64, len(series))
        numbers = np.full(len(series), NONE)
        similar = list(self._numbers.find(hashes))
        for (position, number), other in zip(similar, self._series([n for _, n in similar]), strict=True):
            if other == series[position]:
                numbers[position] = number
        for position, number in self._shapes.find(series, pairs):
            numbers[position] = number
        return Found(hashes, numbers)

    def _series(self, numbers: Sequence[int]) -> Iterator[Series | None]:
        """Yield the series of some numbers. None for one whose layout was removed."""
        places = [(slot, self._at(slot)) for slot in self._slot_of(np.array(numbers, dtype=np.int64)).tolist()]
        wanted = Counter(placed.base for _, placed in places if placed)
        whole: dict[int, Sequence[Series]] = {}
        for slot, placed in places:
            if placed is None:
                yield None
            elif wanted[placed.base] * WHOLE < positions_of(placed.layout):
                yield series_at(placed.layout, slot - placed.base)
            else:
                if placed.base not in whole:
                    whole[placed.base] = series_of(placed.layout)
                yield whole[placed.base][slot - placed.base]

    def _at(self, slot: int) -> _Placed | None:
        """Return the layout that a slot belongs to, or None if it was removed."""
        index = bisect_right(self._starts, slot) - 1
        return self._order[index] if index >= 0 and slot < self._ends[index] else None

    def add(self, description: Description, found: Found | None = None) -> Block:
        """Add a layout. Return its block, which has no rows yet. `found` is the result of `find` for the layout."""
        layout = description.layout
        block = Block(description.number, description.source, len(layout.raw), description.era, self.eras)
        found = found or self.find(layout)
        own = np.arange(self._next, self._next + len(found.numbers))
        new = found.numbers == NONE
        new[list(description.refused)] = False
        members = None if new.all() else np.where(new, own, found.numbers)
        if members is not None:
            members[list(description.refused)] = NONE
        self.blocks[description.number] = block
        placed = _Placed(self._next, block, layout, members)
        self._placed[description.number] = placed
        self._order.append(placed)
        self._starts.append(self._next)
        self._next += len(own)
        self._ends.append(self._next)
        for at, series in lists_of(layout):
            mine = slice(at, at + len(series))
            all_new = bool(new[mine].all())
            if not isinstance(series, SeriesList) or not self._shapes.add(placed.base + at, series, all_new=all_new):
                self._post(series, own[mine], found.hashes[mine], new[mine])
        self._count += int(new.sum())
        if members is not None:
            further = (members != NONE) & (members != own)
            self._elsewhere.add(members[further], own[further])
        self._metadata.update(layout.metadata)
        return block

    def _post(self, series: Sequence[Series], numbers: IntArray, hashes: IntArray, mine: BoolArray) -> None:
        """Add the series of a list for which `mine` is true, one by one. Arrays are `[series]`."""
        every = bool(mine.all())
        if not mine.any():
            return
        self._index.add_all(numbers[mine])
        for pair, positions in by_pair(series):
            ids = numbers[positions if every else positions[mine[positions]]]
            if len(ids):
                self._index.add(pair, ids)
        self._numbers.add(hashes[mine].tolist(), numbers[mine].tolist(), self._living)

    def remove(self, numbers: Iterable[int]) -> set[str]:
        """Remove blocks by layout number, and series that no other block has. Return the names of all their series."""
        names: set[str] = set()
        for layout in numbers:
            placed = self._placed.pop(layout, None)
            if placed is not None:
                del self.blocks[layout]
                names |= self._remove(placed)
        return names

    def _remove(self, placed: _Placed) -> set[str]:
        index = bisect_right(self._starts, placed.base) - 1
        while self._order[index] is not placed:  # layouts of no positions begin where the next one does
            index -= 1
        del self._order[index], self._starts[index], self._ends[index]
        numbers = placed.numbers()
        gone = (numbers != NONE) & ~self._living(numbers)
        if placed.members is not None:
            own = np.arange(placed.base, placed.base + len(numbers))
            further = int(np.count_nonzero((numbers != NONE) & (numbers != own)))
            self._elsewhere.gone(further, lambda slots: self._locate(slots) >= 0)
        self._count -= int(gone.sum())
        names: set[str] = set()
        posted = []
        for at, series in lists_of(placed.layout):
            mine = slice(at, at + len(series))
            names |= metrics_of(series, numbers[mine] != NONE)
            if not isinstance(series, SeriesList) or not self._shapes.remove(placed.base + at, series):
                posted.append((series, gone[mine]))
            elif not gone[mine].all():
                # These series have other slots. Their list is gone, so each needs an entry of its own.
                hashes = np.fromiter(map(hash, series), np.int64, len(series))
                self._post(series, numbers[mine], hashes, ~gone[mine])
        self._take_out(posted)
        return names

    def _take_out(self, lists: Sequence[tuple[Sequence[Series], BoolArray]]) -> None:
        """Remove the entries of single series. With each list is a mask `[series]` of those that are gone."""
        total = sum(int(gone.sum()) for _, gone in lists)
        if not total:
            return
        counts: Counter[tuple[str, str]] = Counter()
        for series, gone in lists:
            every = bool(gone.all())
            for pair, positions in by_pair(series):
                counts[pair] += len(positions) if every else int(np.count_nonzero(gone[positions]))
        for pair, count in counts.items():
            if count:
                self._index.remove(pair, count, self._living)
        self._index.remove(None, total, self._living)
        self._numbers.gone(total, self._living)

    def _living(self, numbers: IntArray) -> BoolArray:
        """Return a mask, in the shape of `numbers`, of the series that still exist."""
        found: BoolArray = self._locate(self._slot_of(numbers)) >= 0
        return found

    def _slot_of(self, numbers: IntArray) -> IntArray:
        """Return an existing slot of each series, in the shape of `numbers`. Of a removed series, any slot."""
        slots = numbers.copy()
        if not len(self._elsewhere):
            return slots
        left = np.flatnonzero(self._locate(slots) < 0)
        slots[left] = self._elsewhere.last(numbers[left])
        left = left[(slots[left] != NONE) & (self._locate(slots[left]) < 0)]
        places, further = self._elsewhere.of(numbers[left])
        there = self._locate(further) >= 0
        slots[left[places[there]]] = further[there]
        return slots

    def _locate(self, slots: IntArray) -> IntArray:
        """Return the index in `_order` of each slot's layout, in the shape of `slots`. -1 if the layout was removed."""
        if not self._order:
            return np.full(len(slots), -1)
        index = np.searchsorted(np.array(self._starts), slots, side="right") - 1
        return np.where(slots < np.array(self._ends)[index], index, -1)

    def count_series(self, numbers: Iterable[int]) -> int:
        """Return how many series some blocks have together."""
        members = [self._placed[n].numbers() for n in numbers]
        if not members:
            return 0
        # Members lie in runs that ascend, which the stable sort merges.
        found = np.sort(np.concatenate(members), kind="stable")
        found = found[found != NONE]
        return int(np.count_nonzero(found[1:] != found[:-1])) + bool(len(found))

    def label_values(self, name: str) -> list[str]:
        """Return the values that a label has, unsorted."""
        return list({*self._index.values(name), *self._shapes.values(name)})

    def plan(self, accepted: Sequence[tuple[Matcher, frozenset[str]]]) -> ReadPlan:
        """Return how to read the series that satisfy all matchers; see LabelIndex.select."""
        ids = self._select(accepted)
        slots, more = self._slots(ids)
        order = np.argsort(slots, kind="stable")
        ordered = slots[order]
        where, reader = self._locate(ordered), LayoutReader()
        starts = [0, *(np.flatnonzero(where[1:] != where[:-1]) + 1).tolist()] if len(order) else []
        ends = [*starts[1:], len(order)] if starts else []
        placed = [self._order[index] for index in where[starts].tolist()]
        reads, labels, sums = list[Reads](), list[Labels](), dict[int, tuple[int, ...]]()
        for one, start, end in zip(placed, starts, ends, strict=True):
            positions = ordered[start:end] - one.base
            found = reader.reads(one.layout, positions)
            reads.append(found)
            for n, columns in found.sums.items():
                sums[int(order[start + n])] = columns
            labels += reader.labels(one.layout, positions)
        block, column, factor = np.empty_like(slots), np.empty_like(slots), np.empty(len(slots))
        if reads:
            block[order] = np.repeat([one.block.number for one in placed], np.subtract(ends, starts))
            column[order] = np.concatenate([found.first for found in reads])
            factor[order] = np.concatenate([found.factors for found in reads])
        if slots is not ids:  # then they are in another order, and some series have several
            place = np.argsort(order, kind="stable")[: len(ids)]
            labels = [labels[n] for n in place.tolist()]
        return ReadPlan.of(labels, np.arange(len(ids)), more, Slots(block, column, factor, sums, self.blocks))

    def _select(self, accepted: Sequence[tuple[Matcher, frozenset[str]]]) -> IntArray:
        """Return the sorted numbers of the series that satisfy all matchers: int64 of shape [series]."""
        ids = self._index.select(accepted)
        ids = ids[self._living(ids)]
        more = self._shapes.select([(m.name, values, m.matches("")) for m, values in accepted])
        return np.sort(np.concatenate((ids, more)), kind="stable") if len(more) else ids

    def _slots(self, ids: IntArray) -> tuple[IntArray, dict[int, tuple[int, ...]]]:
        """Return the slots of series `ids` [n], and the places of the slots of each series that has several.

        The first n slots are the first slots of the series. The places are indexes of the returned slots, by the
        series' position in `ids`.
        """
        if not len(self._elsewhere) or not len(ids):
            return ids, {}
        places, further = self._elsewhere.of(ids)
        there = self._locate(further) >= 0
        places, further = places[there], further[there]
        if not len(places):
            return ids, {}
        # The slot that is the series' number may be gone. Then the first of the others takes its place.
        series, first = np.unique(places, return_index=True)
        moved = self._locate(ids[series]) < 0
        slots = ids.copy()
        slots[series[moved]] = further[first[moved]]
        places, further = np.delete(places, first[moved]), np.delete(further, first[moved])
        series, starts = np.unique(places, return_index=True)
        bounds = (np.append(starts, len(places)) + len(ids)).tolist()
        more = {
            place: (place, *range(start, end))
            for place, start, end in zip(series.tolist(), bounds[:-1], bounds[1:], strict=True)
        }
        return np.concatenate((slots, further)), more

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
