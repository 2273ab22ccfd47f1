"""Samples of many series, laid out for evaluation over all series and steps at once.

Values lie flat, series after series. Series that share their timestamps (those of one target do) share one axis, so
window bounds are found once an axis, not once a series.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from collectors.samples import FloatArray, Labels
from controlplane.metrics.arrays import BoolArray, IntArray, is_stale

MAX_GATHER = 4_000_000
"""Elements of a gathered window matrix (32 MB); larger work is cut into pieces."""

MAX_REDUCED = 100_000_000
"""Elements reduced (some 0.1 s of work) between two looks at the clock."""


@dataclass(frozen=True)
class Axis:
    """Series with the same timestamps: `values[i, j]` is series `members[i]` at `times[j]`."""

    members: IntArray
    times: IntArray
    values: FloatArray

    def without_stale(self) -> list[Axis]:
        """Return axes that hold no staleness marker, split where series went stale at different times."""
        stale = is_stale(self.values)
        if not stale.any():
            return [self]
        return [
            Axis(self.members[rows], self.times[keep], np.ascontiguousarray(self.values[np.ix_(rows, keep)]))
            for rows, keep in by_pattern(~stale)
        ]


def by_pattern(mask: BoolArray) -> list[tuple[IntArray, IntArray]]:
    """Group the rows of a mask `[rows, columns]` that are alike: (row numbers, numbers of the true columns)."""
    if not mask.shape[0]:
        return []
    if (mask == mask[0]).all():
        return [(np.arange(mask.shape[0]), np.flatnonzero(mask[0]))]
    packed = np.packbits(mask, axis=1)
    _, first, inverse = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    return [(np.flatnonzero(inverse == n), np.flatnonzero(mask[row])) for n, row in enumerate(first)]


@dataclass(frozen=True)
class SampleSet:
    """Samples of `len(labels)` series. Labels include `__name__`. Times are unix milliseconds."""

    labels: Sequence[Labels]
    values: FloatArray
    """[samples + 1]: flat, series after series; the last element is padding for `reduceat`."""
    base: IntArray
    """[series] where a series starts in `values`."""
    axis: IntArray
    """[series] which axis it is on."""
    times: IntArray
    """The axes' timestamps, axis after axis."""
    axis_start: IntArray
    """[axes + 1] where an axis starts in `times`."""

    @classmethod
    def of(cls, labels: Sequence[Labels], axes: Sequence[Axis]) -> SampleSet:
        """Lay out axes whose `members` are positions in `labels`; a series without an axis has no samples."""
        base = np.zeros(len(labels), dtype=np.int64)
        axis = np.full(len(labels), len(axes), dtype=np.int64)
        position = 0
        for number, one in enumerate(axes):
            base[one.members] = position + np.arange(len(one.members)) * len(one.times)
            axis[one.members] = number
            position += one.values.size
        values = np.concatenate([*(one.values.reshape(-1) for one in axes), np.zeros(1)])
        # One empty axis at the end serves the series that have none.
        lengths = [0, *(len(one.times) for one in axes), 0]
        times = [one.times for one in axes]
        flat = np.concatenate(times) if times else np.empty(0, dtype=np.int64)
        return cls(labels, values, base, axis, flat, np.cumsum(lengths, dtype=np.int64))

    def windows(self, after_ms: IntArray, until_ms: IntArray, check: Callable[[], None] = lambda: None) -> Windows:
        """Return, for every series and step, the samples with `after_ms[k] < time <= until_ms[k]`.

        `check` is called between pieces of long work; it raises to end it.
        """
        low, high = self._count_until(after_ms), self._count_until(until_ms)
        base = self.base[:, None]
        return Windows(self, base + low[self.axis], base + high[self.axis], check)

    def _count_until(self, bounds: IntArray) -> IntArray:
        """Return [axes, steps]: how many of an axis's timestamps are at or before each bound."""
        axes = len(self.axis_start) - 1
        if not len(self.times):
            return np.zeros((axes, len(bounds)), dtype=np.int64)
        # All axes are searched at once: shifting each by a span keeps their concatenation sorted.
        oldest, newest = int(self.times.min()), int(self.times.max())
        span = newest - oldest + 2
        shift = np.arange(axes, dtype=np.int64) * span
        keys = self.times - oldest + np.repeat(shift, np.diff(self.axis_start))
        wanted = np.clip(bounds, oldest - 1, newest) - oldest
        found = np.searchsorted(keys, shift[:, None] + wanted[None, :], side="right")
        counts: IntArray = found - self.axis_start[:-1, None]
        return counts


@dataclass(frozen=True)
class Windows:
    """One window of samples for every series and step: `values[start[s, k]:end[s, k]]`."""

    samples: SampleSet
    start: IntArray
    end: IntArray
    check: Callable[[], None]

    @property
    def counts(self) -> IntArray:
        """[series, steps] samples in each window."""
        return self.end - self.start

    def value_at(self, index: IntArray) -> FloatArray:
        """Return the values at flat indexes `[series, steps]`; an index outside any window yields some value."""
        return self.samples.values[np.clip(index, 0, len(self.samples.values) - 1)]

    def time_at(self, index: IntArray) -> IntArray:
        """Return the timestamps at flat indexes `[series, steps]`; an index outside any window yields some time."""
        samples = self.samples
        if not len(samples.times):
            return np.zeros_like(index)
        shifted = index + (samples.axis_start[samples.axis] - samples.base)[:, None]
        times: IntArray = samples.times[np.clip(shifted, 0, len(samples.times) - 1)]
        return times

    def reduce(self, ufunc: np.ufunc, flat: FloatArray | None = None, skip: int = 0) -> FloatArray:
        """Reduce each window (less its first `skip` samples) by a ufunc; windows left empty yield 0.

        `flat` replaces the samples' values, and has their shape.
        """
        flat = self.samples.values if flat is None else flat
        start, end = self.start + skip, self.end
        picked = np.flatnonzero(end > start)
        out = np.zeros(start.shape)
        if not len(picked):
            return out
        piece = max(1, MAX_REDUCED // int((end - start).max()))
        for at in range(0, len(picked), piece):
            self.check()
            part = picked[at : at + piece]
            bounds = np.empty(2 * len(part), dtype=np.int64)
            bounds[0::2], bounds[1::2] = start.reshape(-1)[part], end.reshape(-1)[part]
            out.reshape(-1)[part] = ufunc.reduceat(flat, bounds)[::2]
        return out

    def difference(self, cumulated: IntArray, skip: int = 0) -> IntArray:
        """Return sums over windows (less the first `skip` samples) from an inclusive integer cumulation."""
        start, end = self.start + skip, self.end
        last = len(cumulated) - 1
        total = cumulated[np.clip(end - 1, 0, last)] - cumulated[np.clip(start - 1, 0, last)]
        total += np.where(start <= 0, cumulated[0], 0)
        return np.where(end > start, total, 0)

    def apply(self, function: WindowFunction, least: int = 1) -> tuple[FloatArray, BoolArray]:
        """Apply a function of gathered windows; return values and presence `[series, steps]`.

        `function(values [n, width], filled [n, width], times [n, width], picked [n])` gets windows of at least
        `least` samples, left-aligned and padded with 0, and returns `[n]`. `picked` are flat (series, step) numbers.
        """
        counts = self.counts
        present = counts >= least
        out = np.zeros(counts.shape)
        picked = np.flatnonzero(present)
        width = int(counts.max()) if counts.size else 0
        piece = max(1, MAX_GATHER // max(1, width))
        for at in range(0, len(picked), piece):
            self.check()
            part = picked[at : at + piece]
            offsets = np.arange(width)[None, :]
            filled = offsets < counts.reshape(-1)[part][:, None]
            index = np.where(filled, self.start.reshape(-1)[part][:, None] + offsets, 0)
            shift = (self.samples.axis_start[self.samples.axis] - self.samples.base)[part // counts.shape[1]]
            times = self.samples.times[np.where(filled, index + shift[:, None], 0)]
            out.reshape(-1)[part] = function(np.where(filled, self.samples.values[index], 0.0), filled, times, part)
        return out, present


WindowFunction = Callable[[FloatArray, BoolArray, IntArray, IntArray], FloatArray]
"""See Windows.apply."""
