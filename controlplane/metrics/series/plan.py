"""Read plans: the columns and blocks that hold the series of a selection.

Nearly all series are one column of one block. These series are read together, whatever their number: see gather.py.
Two kinds of series are read block by block: those in several blocks (their target's layout changed), and those that
are sums of columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import NamedTuple

import numpy as np

from collectors.samples import FloatArray, Labels
from controlplane.metrics.arrays import BoolArray, IntArray, Rows, is_stale, mark_stale
from controlplane.metrics.series.budget import Budget
from controlplane.metrics.series.label_sets import LabelSets
from controlplane.metrics.series.samples import Axis
from controlplane.metrics.storage.arena import Arena
from controlplane.metrics.storage.block import AnyChunk, Block
from controlplane.metrics.storage.chunk import Chunk


class Slots(NamedTuple):
    """Places of series: a slot is `factor * sum(columns)` of one block. Arrays are `[slots]`."""

    block: IntArray
    """Layout numbers."""
    column: IntArray
    """The first column."""
    factor: FloatArray
    sums: Mapping[int, tuple[int, ...]]
    """All columns of each slot that has several, by slot."""
    blocks: Mapping[int, Block]
    """Blocks by layout number."""


class PlanPlaces(NamedTuple):
    """Places of the chunks in one arena that a plan reads. Arrays are `[pieces]`, one element a chunk."""

    arena: Arena
    axis: IntArray
    """Index of the chunk's block in the plan."""
    rank: IntArray
    """Number of earlier chunks of the same block."""
    at: IntArray
    """Index of the chunk's first word in the arena."""
    capacity: IntArray
    """Rows that the chunk has room for."""
    columns: IntArray

    def pick(self, mask: BoolArray) -> PlanPlaces:
        """Return the places where `mask` `[pieces]` is true."""
        arrays = (self.axis, self.rank, self.at, self.capacity, self.columns)
        return PlanPlaces(self.arena, *(array[mask] for array in arrays))


class Located(NamedTuple):
    """The chunks of a plan's blocks."""

    chunks: tuple[tuple[AnyChunk, ...], ...]
    """Chunks of each block when this was made. A block's tuple is replaced when its chunks change."""
    arenas: tuple[PlanPlaces, ...]
    packed_axis: IntArray
    """[packed chunks] index of the chunk's block in the plan."""
    packed_first: IntArray
    """[packed chunks] unix milliseconds of the first row."""
    packed_last: IntArray
    """[packed chunks] unix milliseconds of the last row."""

    @classmethod
    def of(cls, chunks: tuple[tuple[AnyChunk, ...], ...]) -> Located:
        """Return the places of the chunks of each block."""
        by_arena: dict[int, list[tuple[Chunk, tuple[int, ...]]]] = {}
        packed = []
        for axis, of_block in enumerate(chunks):
            rank = 0
            for chunk in of_block:
                if isinstance(chunk, Chunk):
                    place = (axis, rank, chunk.at, chunk.capacity, chunk.columns)
                    by_arena.setdefault(id(chunk.arena), []).append((chunk, place))
                    rank += 1
                else:
                    packed.append((axis, chunk.first_ms, chunk.last_ms))
        arenas = tuple(
            PlanPlaces(found[0][0].arena, *np.array([place for _, place in found], dtype=np.int64).T)
            for found in by_arena.values()
        )
        return cls(chunks, arenas, *np.array(packed, dtype=np.int64).reshape(-1, 3).T)


@dataclass(frozen=True)
class Singles:
    """Series that are one column of one block each."""

    members: IntArray
    """[n] positions in the plan's labels, grouped by block."""
    blocks: tuple[Block, ...]
    starts: IntArray
    """[blocks + 1] index in `members` at which each block's series begin."""
    columns: IntArray
    """[n] column of each series in its block."""
    factors: FloatArray | None
    """[n] factor of each series. None where all are 1."""
    _located: list[Located] = field(default_factory=list, compare=False)
    """The last result of `located`, at most one."""

    def located(self) -> Located:
        """Return the places of the blocks' chunks now."""
        chunks = tuple([block.chunks for block in self.blocks])
        known = self._located[:1]
        if known and all(map(is_, known[0].chunks, chunks)):
            return known[0]
        found = Located.of(chunks)
        self._located[:] = [found]
        return found

    def axis_of(self) -> IntArray:
        """Return the index of each series' block: int64 of shape [n]."""
        return np.repeat(np.arange(len(self.blocks)), np.diff(self.starts))

    def group(self, number: int) -> PlanGroup:
        """Return the series of one block as a group, to read them alone."""
        mine = slice(int(self.starts[number]), int(self.starts[number + 1]))
        factors = None if self.factors is None else self.factors[mine]
        return PlanGroup(self.members[mine], (PlanPart(self.blocks[number], self.columns[mine], (), factors),))


@dataclass(frozen=True)
class PlanPart:
    """Columns that a group reads from one block."""

    block: Block
    first: IntArray
    """[members] the first column of each member."""
    more: tuple[tuple[int, tuple[int, ...]], ...]
    """Pairs (member, all its columns) of the members that are sums of columns."""
    factors: FloatArray | None
    """[members] factor of each member. None where all are 1."""

    def read(self, after_ms: int, until_ms: int) -> list[Rows]:
        """Return the members' rows with `after_ms < time <= until_ms`. A staleness marker stays one in the result."""
        extra = [column for _, columns in self.more for column in columns]
        wanted = np.concatenate((self.first, np.array(extra, dtype=np.int64)))
        return [rows._replace(values=self._take(rows.values)) for rows in self.block.read(wanted, after_ms, until_ms)]

    def _take(self, table: FloatArray) -> FloatArray:
        if not self.more and self.factors is None:
            return table
        values = table[: len(self.first)].copy()
        stale = is_stale(values)
        at = len(self.first)
        for member, columns in self.more:
            wanted = table[at : at + len(columns)]
            at += len(columns)
            stale[member] = is_stale(wanted).any(axis=0)
            values[member] = wanted.sum(axis=0)
        if self.factors is not None:
            values *= self.factors[:, None]
        if stale.any():
            mark_stale(values, stale)
        return values


@dataclass(frozen=True)
class PlanGroup:
    """Series with the same list of blocks. They share one time axis."""

    members: IntArray
    """[members] positions in the plan's labels."""
    parts: tuple[PlanPart, ...]

    def read(self, after_ms: int, until_ms: int, budget: Budget) -> Axis | None:
        """Return the samples with `after_ms < time <= until_ms`, with staleness markers, or None if there is none.

        Raises QueryError once the budget is spent.
        """
        found: list[Rows] = []
        for part in self.parts:
            for rows in part.read(after_ms, until_ms):
                budget.charge(rows.values.size)
                found.append(rows)
        if not found:
            return None
        if len(found) == 1:
            return Axis(self.members, found[0].times, found[0].values)
        when = np.concatenate([rows.times for rows in found])
        table = np.concatenate([rows.values for rows in found], axis=1)
        if len(self.parts) > 1 and not (np.diff(when) > 0).all():
            keep = _merge(when, np.concatenate([rows.ends for rows in found]))
            when, table = when[keep], np.ascontiguousarray(table[:, keep])
        return Axis(self.members, when, table)


def _merge(times: IntArray, ends: BoolArray) -> IntArray:
    """Return the row numbers in order of time, one row for each time: int64.

    Of several rows at one time, a data row wins over an end row. Of several data rows, the one of the later block wins.
    """
    order = np.lexsort((~ends, times))
    ordered = times[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    kept: IntArray = order[last]
    return kept


@dataclass(frozen=True)
class ReadPlan:
    """The series of a selection and the places of their samples."""

    labels: LabelSets
    """[series] labels with `__name__`."""
    singles: Singles
    groups: tuple[PlanGroup, ...]

    @classmethod
    def of(
        cls, labels: Sequence[Labels], first: IntArray, more: Mapping[int, tuple[int, ...]], slots: Slots
    ) -> ReadPlan:
        """Return the plan of series. `first` `[series]` is each one's first slot.

        `more` has all slots of the series that have several, by position.
        """
        own = [p for p, slot in enumerate(first.tolist()) if slot in slots.sums] if slots.sums else []
        apart = sorted({*more, *own})
        plain = np.setdiff1d(np.arange(len(labels)), np.array(apart, dtype=np.int64), assume_unique=True)
        grouped: dict[tuple[int, ...], list[int]] = {}
        for position in apart:
            mine = more.get(position, (int(first[position]),))
            grouped.setdefault(tuple(int(slots.block[s]) for s in mine), []).append(position)
        groups = [
            PlanGroup(
                np.array(members, dtype=np.int64), _parts([more.get(m, (int(first[m]),)) for m in members], slots)
            )
            for members in grouped.values()
        ]
        return cls(LabelSets.of(labels), _singles(plain, first[plain], slots), tuple(groups))

    @property
    def blocks(self) -> list[Block]:
        """All blocks that the plan reads."""
        return [*self.singles.blocks, *(part.block for group in self.groups for part in group.parts)]

    def everything(self) -> list[PlanGroup]:
        """Return all series as groups."""
        return [*(self.singles.group(n) for n in range(len(self.singles.blocks))), *self.groups]


def _singles(members: IntArray, taken: IntArray, slots: Slots) -> Singles:
    order = np.argsort(slots.block[taken], kind="stable")
    members, taken = members[order], taken[order]
    numbers, starts = np.unique(slots.block[taken], return_index=True)
    factors = slots.factor[taken]
    return Singles(
        members,
        tuple(slots.blocks[n] for n in numbers.tolist()),
        np.append(starts, len(members)).astype(np.int64),
        slots.column[taken],
        None if (factors == 1.0).all() else factors,
    )


def _parts(taken: Sequence[tuple[int, ...]], slots: Slots) -> tuple[PlanPart, ...]:
    """Return one part for each block. `taken` has the slots of each series, and all series have the same blocks."""
    parts = []
    for number in range(len(taken[0])):
        mine = [one[number] for one in taken]
        factors = slots.factor[mine]
        parts.append(
            PlanPart(
                slots.blocks[int(slots.block[mine[0]])],
                slots.column[mine],
                tuple((n, slots.sums[s]) for n, s in enumerate(mine) if s in slots.sums),
                None if (factors == 1.0).all() else factors,
            )
        )
    return tuple(parts)
