"""Samples of many series, laid out for evaluation over all series and steps at once.

Values are in one flat array, series after series. Series with the same timestamps, such as those of one target, share
an axis. Window bounds are found once an axis, not once a series.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from collectors.samples import FloatArray, Labels
from controlplane.metrics.arrays import BoolArray, IntArray, is_stale

MAX_GATHER = 4_000_000
"""Maximum number of elements of a gathered window matrix (32 MB). Larger work is cut into pieces. Chosen."""

MAX_REDUCED = 100_000_000
"""Elements reduced between two checks of the budget, some 0.1 s of work. Chosen."""


@dataclass(frozen=True)
class Axis:
    """Series with the same timestamps: `values[i, j]` is series `members[i]` at `times[j]`."""

    members: IntArray
    """[members] numbers of the series."""
    times: IntArray
    """[rows] unix milliseconds, ascending."""
    values: FloatArray
    """[members, rows], contiguous."""

    def without_stale(self) -> list[Axis]:
        """Return axes without staleness markers. Series with markers at different times get different axes."""
        stale = is_stale(self.values)
        if not stale.any():
            return [self]
        return [
            Axis(self.members[rows], self.times[keep], np.ascontiguousarray(self.values[np.ix_(rows, keep)]))
            for rows, keep in by_pattern(~stale)
        ]


def by_pattern(mask: BoolArray) -> list[tuple[IntArray, IntArray]]:
    """Group the equal rows of a mask `[rows, columns]`. Return pairs (row numbers, numbers of their true columns)."""
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
    """[samples + 1] values, series after series. The last element is padding for `reduceat`."""
    base: IntArray
    """[series] index in `values` at which each series starts."""
    axis: IntArray
    """[series] number of each series' axis."""
    times: IntArray
    """[times] timestamps of all axes, axis after axis."""
    axis_start: IntArray
    """[axes + 1] index in `times` at which each axis starts."""

    @classmethod
    def of(cls, labels: Sequence[Labels], axes: Sequence[Axis]) -> SampleSet:
        """Return the samples of axes. Their `members` are positions in `labels`. A series without an axis has none."""
        base = np.zeros(len(labels), dtype=np.int64)
        axis = np.full(len(labels), len(axes), dtype=np.int64)
        position = 0
        for number, one in enumerate(axes):
            base[one.members] = position + np.arange(len(one.members)) * len(one.times)
            axis[one.members] = number
            position += one.values.size
        values = np.concatenate([*(one.values.reshape(-1) for one in axes), np.zeros(1)])
        # The last axis is empty. It is the axis of the series without samples.
        lengths = [0, *(len(one.times) for one in axes), 0]
        times = [one.times for one in axes]
        flat = np.concatenate(times) if times else np.empty(0, dtype=np.int64)
        return cls(labels, values, base, axis, flat, np.cumsum(lengths, dtype=np.int64))

    def windows(self, after_ms: IntArray, until_ms: IntArray, check: Callable[[], None] = lambda: None) -> Windows:
        """Return, for every series and step k, the samples with `after_ms[k] < time <= until_ms[k]`.

        `after_ms` and `until_ms` are `[steps]`. `check` is called between pieces of long work, and raises to end it.
        """
        low, high = self._count_until(after_ms), self._count_until(until_ms)
        base = self.base[:, None]
        return Windows(self, base + low[self.axis], base + high[self.axis], check)

    def _count_until(self, bounds: IntArray) -> IntArray:
        """Return [axes, steps]: the number of an axis's timestamps at or before each of `bounds` [steps]."""
        axes = len(self.axis_start) - 1
        if not len(self.times):
            return np.zeros((axes, len(bounds)), dtype=np.int64)
        # All axes are searched at once: a shift of each axis by a multiple of `span` makes `keys` sorted.
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
    """[series, steps] index in `samples.values` of the first sample of each window."""
    end: IntArray
    """[series, steps] index after the last sample."""
    check: Callable[[], None]

    @property
    def counts(self) -> IntArray:
        """[series, steps] number of samples in each window."""
        return self.end - self.start

    def value_at(self, index: IntArray) -> FloatArray:
        """Return the values at flat indexes `[series, steps]`. The value for an index outside a window is undefined."""
        return self.samples.values[np.clip(index, 0, len(self.samples.values) - 1)]

    def time_at(self, index: IntArray) -> IntArray:
        """Return the timestamps at flat indexes `[series, steps]`. The time outside of windows is undefined."""
        samples = self.samples
        if not len(samples.times):
            return np.zeros_like(index)
        shifted = index + (samples.axis_start[samples.axis] - samples.base)[:, None]
        times: IntArray = samples.times[np.clip(shifted, 0, len(samples.times) - 1)]
        return times

    def reduce(self, ufunc: np.ufunc, flat: FloatArray | None = None, skip: int = 0) -> FloatArray:
        """Return each window reduced by `ufunc`, without its first `skip` samples: [series, steps]. 0 if it is empty.

        `flat` replaces the samples' values and has their shape, [samples + 1].
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
        """Return the sum over each window without its first `skip` samples: [series, steps].

        `cumulated` is the inclusive cumulative sum of the summands, [samples + 1].
        """
        start, end = self.start + skip, self.end
        last = len(cumulated) - 1
        total = cumulated[np.clip(end - 1, 0, last)] - cumulated[np.clip(start - 1, 0, last)]
        total += np.where(start <= 0, cumulated[0], 0)
        return np.where(end > start, total, 0)

    def apply(self, function: WindowFunction, least: int = 1) -> tuple[FloatArray, BoolArray]:
        """Apply a function to gathered windows. Return its values and a mask of presence, both `[series, steps]`.

        `function(values [n, width], filled [n, width], times [n, width], picked [n])` gets the windows of at least
        `least` samples and returns `[n]`. Windows are left-aligned and padded with 0. `picked` has their flat indexes
        in `[series, steps]`.
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
"""A function of gathered windows; see Windows.apply."""
