"""How a selection of series is read: which columns of which blocks, grouped by shared timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from collectors.samples import FloatArray, Labels
from controlplane.metrics.blocks import Block, BoolArray, IntArray, Rows, is_stale, mark_stale
from controlplane.metrics.budget import Budget
from controlplane.metrics.samples import Axis, SampleSet


class Segment(NamedTuple):
    """A stretch of a series: `factor * sum(columns)` of one block."""

    block: Block
    columns: tuple[int, ...]
    factor: float


@dataclass(frozen=True)
class Part:
    """What a group reads from one block."""

    block: Block
    first: IntArray
    """[members] the first column of each member."""
    more: tuple[tuple[int, tuple[int, ...]], ...]
    """(member, all its columns) of those that add several columns up."""
    factors: FloatArray | None
    """[members], None where all are 1."""

    def take(self, rows: Rows) -> FloatArray:
        """Return the members' values `[members, rows]`; staleness markers survive the arithmetic."""
        values: FloatArray = np.ascontiguousarray(rows.values.take(self.first, axis=1).T)
        if not self.more and self.factors is None:
            return values
        stale = is_stale(values)
        for member, columns in self.more:
            wanted = np.ascontiguousarray(rows.values[:, list(columns)])
            stale[member] = is_stale(wanted).any(axis=1)
            values[member] = wanted.sum(axis=1)
        if self.factors is not None:
            values *= self.factors[:, None]
        if stale.any():
            marked = values[stale]
            mark_stale(marked)
            values[stale] = marked
        return values


@dataclass(frozen=True)
class Group:
    """Series with the same list of blocks, hence one time axis."""

    members: IntArray
    """Positions in the plan's labels."""
    parts: tuple[Part, ...]

    def read(self, after_ms: int, until_ms: int, budget: Budget) -> Axis | None:
        """Return the samples with `after_ms < time <= until_ms`, markers included; None if there is none."""
        times: list[IntArray] = []
        ends: list[BoolArray] = []
        values: list[FloatArray] = []
        for part in self.parts:
            for rows in part.block.rows(after_ms, until_ms):
                budget.charge(len(rows.times) * len(self.members))
                times.append(rows.times)
                ends.append(rows.ends)
                values.append(part.take(rows))
        if not times:
            return None
        if len(times) == 1:
            return Axis(self.members, times[0], values[0])
        when, table = np.concatenate(times), np.concatenate(values, axis=1)
        if len(self.parts) > 1 and not (np.diff(when) > 0).all():
            keep = _merge(when, np.concatenate(ends))
            when, table = when[keep], np.ascontiguousarray(table[:, keep])
        return Axis(self.members, when, table)


def _merge(times: IntArray, ends: BoolArray) -> IntArray:
    """Return the order of rows by time. Of rows at one time a data row wins over an end row, else the later block."""
    order = np.lexsort((~ends, times))
    ordered = times[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    kept: IntArray = order[last]
    return kept


@dataclass(frozen=True)
class Plan:
    """A selection, resolved once per version of the index."""

    labels: tuple[Labels, ...]
    """With `__name__`."""
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, series: Sequence[tuple[Labels, tuple[Segment, ...]]]) -> Plan:
        """Group series by the blocks that hold them."""
        grouped: dict[tuple[int, ...], list[int]] = {}
        for position, (_, segments) in enumerate(series):
            grouped.setdefault(tuple(id(s.block) for s in segments), []).append(position)
        groups = [
            Group(np.array(members, dtype=np.int64), _parts([series[m][1] for m in members]))
            for members in grouped.values()
        ]
        return cls(tuple(labels for labels, _ in series), tuple(groups))

    def read(self, after_ms: int, until_ms: int, budget: Budget, *, stale: bool) -> SampleSet:
        """Load the samples with `after_ms < time <= until_ms`. `stale` keeps staleness markers in.

        Raises QueryError once the budget is spent.
        """
        axes: list[Axis] = []
        for group in self.groups:
            axis = group.read(after_ms, until_ms, budget)
            if axis is not None:
                axes.extend([axis] if stale else axis.without_stale())
        return SampleSet.of(self.labels, axes)


def _parts(segments: Sequence[tuple[Segment, ...]]) -> tuple[Part, ...]:
    """Return one part per block of series that all have the same blocks."""
    parts = []
    for column in range(len(segments[0])):
        mine = [s[column] for s in segments]
        factors = np.array([s.factor for s in mine])
        parts.append(
            Part(
                mine[0].block,
                np.array([s.columns[0] for s in mine], dtype=np.int64),
                tuple((n, s.columns) for n, s in enumerate(mine) if len(s.columns) > 1),
                None if (factors == 1.0).all() else factors,
            )
        )
    return tuple(parts)
