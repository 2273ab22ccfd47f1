"""Reads the samples of a plan, all series at once.

Rows are in a few arenas, and each arena is one array. The index of a sample follows from its chunk's place, its row
and its column. Therefore one indexing operation an arena reads thousands of series of any number of targets. Three
cases are read block by block: series with several blocks, packed chunks, and rows with staleness markers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import BoolArray, IntArray, is_stale, mark_stale
from controlplane.metrics.series.budget import Budget
from controlplane.metrics.series.plan import PlanGroup, PlanPlaces, ReadPlan, Singles
from controlplane.metrics.series.samples import MAX_GATHER, Axis, SampleSet
from controlplane.metrics.storage.chunk import FLAGS

MAX_PADDING = 2
"""Maximum size of a table of rows of equal width, as a multiple of its samples. Chosen."""

NEVER = np.iinfo(np.int64).min
_AFTER_ALL = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Pieces:
    """Chunks of one arena that belong to blocks of a plan. Arrays are `[pieces]`."""

    where: PlanPlaces
    counts: IntArray
    """[pieces] rows of each chunk. It is read once, so rows that are appended later are not visible."""
    times: IntArray
    """[pieces, rows] unix milliseconds. The greatest int64 stands for rows that do not exist."""

    @classmethod
    def of(cls, where: PlanPlaces) -> Pieces:
        """Return the pieces with the rows that the chunks have now."""
        counts = where.arena.words[where.at]
        rows = np.arange(int(counts.max(initial=0)))
        times = where.arena.words.take(where.at[:, None] + 1 + rows, mode="clip")
        return cls(where, counts, np.where(rows < counts[:, None], times, _AFTER_ALL))

    def until(self, bounds: IntArray) -> IntArray:
        """Return `[pieces, bounds]`: the number of rows at or before each of `bounds` `[bounds]`."""
        if len(bounds) <= 2:
            found = np.stack([(self.times <= bound).sum(axis=1) for bound in bounds.tolist()], axis=1)
        else:
            found = np.array([np.searchsorted(times, bounds, side="right") for times in self.times], dtype=np.int64)
        # A bound may be the greatest int64 itself, which also stands for rows that do not exist.
        return np.minimum(found, self.counts[:, None])

    def has_markers(self, low: IntArray, high: IntArray) -> BoolArray:
        """Return a bool mask `[pieces]`: whether a row from `low` to before `high` has a staleness marker.

        `low` and `high` are row numbers, `[pieces]`.
        """
        rows = np.arange(self.times.shape[1])
        flags = (
            self.where.arena.words.take((self.where.at + 1 + self.where.capacity)[:, None] + rows, mode="clip") & FLAGS
        )
        marked: BoolArray = ((flags != 0) & (rows >= low[:, None]) & (rows < high[:, None])).any(axis=1)
        return marked

    def row_starts(self, rows: IntArray) -> IntArray:
        """Return the indexes in the arena at which `rows` start. Both arrays are `[pieces]` or `[pieces, n]`."""
        where = self.where
        start, columns = where.at + 1 + 2 * where.capacity, where.columns
        if rows.ndim == 2:
            start, columns = start[:, None], columns[:, None]
        found: IntArray = start + rows * columns
        return found

    def pick(self, mask: BoolArray) -> Pieces:
        """Return the pieces where `mask` `[pieces]` is true."""
        return self if mask.all() else Pieces(self.where.pick(mask), self.counts[mask], self.times[mask])


def _sorted_out(plan: ReadPlan, after_ms: int, until_ms: int) -> tuple[list[Pieces], BoolArray]:
    """Return the chunks in arenas, and a mask `[blocks]` of the blocks that must be read one by one.

    These blocks have packed rows in the time range, or rows that a later era hides.
    """
    located = plan.singles.located()
    apart = np.zeros(len(plan.singles.blocks), dtype=np.bool_)
    wanted = (located.packed_first <= until_ms) & (located.packed_last > after_ms)
    apart[located.packed_axis[wanted]] = True
    if any(block.eras.current for block in plan.singles.blocks[:1]):
        # The clock was set once. Rows that a later era hides are left out by Block.read.
        apart |= np.fromiter((bool(block.hidden) for block in plan.singles.blocks), np.bool_, len(apart))
    return [Pieces.of(where) for where in located.arenas], apart


def read(plan: ReadPlan, after_ms: int, until_ms: int, budget: Budget) -> SampleSet:
    """Return the samples with `after_ms < time <= until_ms`, without staleness markers.

    Raises QueryError once the budget is spent.
    """
    pieces, apart = _sorted_out(plan, after_ms, until_ms)
    windows = []
    for piece in pieces:
        bounds = piece.until(np.array([after_ms, until_ms], dtype=np.int64))
        low, high = bounds[:, 0], bounds[:, 1]
        apart[piece.where.axis[piece.has_markers(low, high)]] = True
        windows.append((piece, low, high - low))
    kept = [
        (p.pick(mask), low[mask], n[mask]) for p, low, n in windows if (mask := (n > 0) & ~apart[p.where.axis]).any()
    ]
    table = _Table(plan.singles, kept, budget)
    axes: list[Axis] = []
    for group in [*(plan.singles.group(n) for n in np.flatnonzero(apart).tolist()), *plan.groups]:
        axis = group.read(after_ms, until_ms, budget)
        if axis is not None:
            axes.extend(axis.without_stale())
    return table.joined(plan, axes)


class _Table:
    """Samples of the series that are read together, in one flat array, series after series."""

    def __init__(self, singles: Singles, windows: Sequence[tuple[Pieces, IntArray, IntArray]], budget: Budget) -> None:
        """Each of `windows` has the pieces of an arena, their first rows and their numbers of rows, both `[pieces]`."""
        blocks = len(singles.blocks)
        self.lengths = np.zeros(blocks, dtype=np.int64)
        offsets = []
        # Pieces of a block follow each other by rank. All pieces of one rank are placed before those of the next rank.
        for rank in range(1 + max((int(p.where.rank.max()) for p, _, _ in windows), default=-1)):
            for number, (piece, _, count) in enumerate(windows):
                mine = piece.where.rank == rank
                if mine.any():
                    offsets.append((number, mine, self.lengths[piece.where.axis[mine]]))
                    self.lengths[piece.where.axis[mine]] += count[mine]
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.times = np.zeros(int(self.lengths.sum()), dtype=np.int64)
        self.width = int(self.lengths.max(initial=0))
        held = self.lengths[singles.axis_of()]
        samples = int(held.sum())
        budget.charge(samples)
        rows = len(singles.members) if self.width else 0
        # Rows of equal width are written as one table. If that were mostly padding, each row has its own width.
        self._even = rows * self.width <= MAX_PADDING * samples
        self._base = np.arange(rows) * self.width if self._even else np.cumsum(held) - held
        # One element more is the padding that `reduceat` needs. It saves a copy when no block is read alone.
        self._flat = np.zeros((rows * self.width if self._even else samples) + 1)
        self._singles = singles
        for number, mine, offset in offsets:
            piece, low, count = windows[number]
            self._fill(piece.pick(mine), low[mine], count[mine], offset, budget)

    def _fill(self, piece: Pieces, low: IntArray, count: IntArray, offset: IntArray, budget: Budget) -> None:
        where, width = piece.where, int(count.max())
        steps = np.arange(width)
        filled = steps < count[:, None]
        rows = np.minimum(low[:, None] + steps, piece.times.shape[1] - 1)
        target = (self.starts[where.axis] + offset)[:, None] + steps
        self.times[target[filled]] = np.take_along_axis(piece.times, rows, axis=1)[filled]
        singles = self._singles
        counts = np.diff(singles.starts)[where.axis]
        owner = np.repeat(np.arange(len(where.axis)), counts)
        first = np.cumsum(counts) - counts
        member = np.arange(len(owner)) - np.repeat(first - singles.starts[where.axis], counts)
        begin = piece.row_starts(low)[owner] + singles.columns[member]
        batch = max(1, MAX_GATHER // max(1, width))
        alike = bool((where.columns == where.columns[0]).all())
        for at in range(0, len(owner), batch):
            budget.check()
            mine = slice(at, at + batch)
            strides = int(where.columns[0]) if alike else where.columns[owner[mine], None]
            index = begin[mine, None] + strides * steps
            values = where.arena.floats.take(index, mode="clip")
            if singles.factors is not None:
                values = _scaled(values, singles.factors[member[mine]])
            self._place(values, member[mine], offset[owner[mine]], filled[owner[mine]])

    def _place(self, values: FloatArray, member: IntArray, offset: IntArray, filled: BoolArray) -> None:
        width = values.shape[1]
        if self._even and not offset.any():
            # Elements after a series' last sample are never read, and the next piece overwrites them.
            first, last = int(member[0]), int(member[-1]) + 1
            rows = slice(first, last) if last - first == len(member) else member
            self._flat[:-1].reshape(-1, self.width)[rows, :width] = values
        else:
            target = (self._base[member] + offset)[:, None] + np.arange(width)
            self._flat[target[filled]] = values[filled]

    def joined(self, plan: ReadPlan, axes: Sequence[Axis]) -> SampleSet:
        """Return these samples together with `axes`, the samples of the blocks that were read one by one."""
        blocks = len(self.lengths)
        apart = SampleSet.of(plan.labels, axes)
        size = len(self._flat) - 1
        base, axis = apart.base + size, apart.axis + blocks
        if self.width:
            own = self._singles.axis_of()
            here = np.flatnonzero(self.lengths[own])
            base[self._singles.members[here]] = self._base[here]
            axis[self._singles.members[here]] = own[here]
        starts = np.concatenate((self.starts, apart.axis_start + len(self.times)))
        values = np.concatenate((self._flat[:-1], apart.values)) if axes else self._flat
        return SampleSet(plan.labels, values, base, axis, np.concatenate((self.times, apart.times)), starts)


def _scaled(values: FloatArray, factors: FloatArray) -> FloatArray:
    """Multiply `values` `[rows, samples]` by `factors` `[rows]` in place. Staleness markers stay unchanged."""
    stale = is_stale(values)
    values *= factors[:, None]
    if stale.any():
        mark_stale(values, stale)
    return values


@dataclass(frozen=True)
class Newest:
    """The newest sample of every series at every step. Arrays are `[series, steps]`."""

    values: FloatArray
    """0 where there is no sample."""
    present: BoolArray
    times: IntArray
    """Unix milliseconds. Without meaning where there is no sample."""

    def at(self, steps: slice) -> Newest:
        """Return a view of some steps: writing to the view writes to this object."""
        return Newest(self.values[:, steps], self.present[:, steps], self.times[:, steps])


def newest(plan: ReadPlan, after_ms: IntArray, until_ms: IntArray, budget: Budget) -> Newest:
    """Return, for every series and step k, its last sample with `after_ms[k] < time <= until_ms[k]`.

    `after_ms` and `until_ms` are `[steps]`. A staleness marker is not a sample, and it hides the samples before it.
    Raises QueryError once the budget is spent.
    """
    series, steps = len(plan.labels), len(until_ms)
    budget.charge(series * steps)
    result = Newest(np.zeros((series, steps)), np.zeros((series, steps), np.bool_), np.zeros((series, steps), np.int64))
    pieces, apart = _sorted_out(plan, int(after_ms.min()), int(until_ms.max()))
    # Each step is looked up in each chunk. There may be many more chunks than series.
    looked_at = max(1, len(plan.singles.blocks) + sum(len(piece.counts) for piece in pieces))
    batch = max(1, MAX_GATHER // looked_at)
    for first in range(0, steps, batch):
        budget.check()
        some = slice(first, first + batch)
        _newest_together(plan.singles, pieces, ~apart, (after_ms[some], until_ms[some]), result.at(some))
    groups = [*(plan.singles.group(n) for n in np.flatnonzero(apart).tolist()), *plan.groups]
    _newest_apart(groups, (after_ms, until_ms), budget, result)
    return result


def _newest_together(
    singles: Singles, pieces: Sequence[Pieces], mine: BoolArray, bounds: tuple[IntArray, IntArray], result: Newest
) -> None:
    after_ms, until_ms = bounds
    blocks, steps = len(singles.blocks), len(until_ms)
    best = np.full((blocks, steps), NEVER)
    place = np.zeros((blocks, steps), dtype=np.int64)
    source = np.full((blocks, steps), -1)
    for number, piece in enumerate(pieces):
        count = piece.until(until_ms)
        row = np.maximum(count - 1, 0)
        times = np.where(count > 0, np.take_along_axis(piece.times, row, axis=1), NEVER)
        starts = piece.row_starts(row)
        for rank in range(int(piece.where.rank.max()) + 1):
            chosen = np.flatnonzero(piece.where.rank == rank)
            axis = piece.where.axis[chosen]
            newer = times[chosen] > best[axis]
            best[axis] = np.where(newer, times[chosen], best[axis])
            place[axis] = np.where(newer, starts[chosen], place[axis])
            source[axis] = np.where(newer, number, source[axis])
    found = (best > after_ms) & mine[:, None]
    axis_of = singles.axis_of()
    for number, piece in enumerate(pieces):
        here = found & (source == number)
        wanted = np.flatnonzero(here.any(axis=1)[axis_of])
        if not len(wanted):
            continue
        axis = axis_of[wanted]
        values = piece.where.arena.floats.take(place[axis] + singles.columns[wanted][:, None], mode="clip")
        present = here[axis] & ~is_stale(values)
        if singles.factors is not None:
            values *= singles.factors[wanted][:, None]
        member = singles.members[wanted]
        # Steps of one series may come from two arenas. Each arena keeps the steps of the other. A sum would lose -0.
        result.values[member] = np.where(present, values, result.values[member])
        result.present[member] |= present
        result.times[member] = np.where(here[axis], best[axis], result.times[member])


def _newest_apart(
    groups: Sequence[PlanGroup], bounds: tuple[IntArray, IntArray], budget: Budget, result: Newest
) -> None:
    after_ms, until_ms = bounds
    for group in groups:
        axis = group.read(int(after_ms.min()), int(until_ms.max()), budget)
        if axis is None:
            continue
        count = np.searchsorted(axis.times, until_ms, side="right")
        row = np.maximum(count - 1, 0)
        found = (count > 0) & (axis.times[row] > after_ms)
        values = np.ascontiguousarray(axis.values[:, row])
        present = found & ~is_stale(values)
        result.values[axis.members] = np.where(present, values, 0.0)
        result.present[axis.members] = present
        result.times[axis.members] = axis.times[row]
