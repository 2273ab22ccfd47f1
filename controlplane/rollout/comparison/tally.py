"""Counts of requests by bucket, as a histogram or a share gives them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

FAULT_BOUNDS = (0.0,)
"""Bounds of a share: the first bucket holds good requests (0), the second one bad requests (1)."""


@dataclass(frozen=True)
class Tally:
    """Requests by bucket. Bucket i holds values in (bounds[i-1], bounds[i]]; the last one holds those above all bounds.

    Counts need not be whole: an observation that depends on others counts for less than one.
    """

    bounds: tuple[float, ...]
    """Finite upper bounds, ascending."""
    counts: tuple[float, ...]
    """One more than bounds, none negative."""

    def __post_init__(self) -> None:
        assert len(self.counts) == len(self.bounds) + 1

    @property
    def total(self) -> float:
        """Number of requests."""
        return sum(self.counts)

    def scaled(self, by: float) -> Tally:
        """Return the tally with every count multiplied."""
        return Tally(self.bounds, tuple(count * by for count in self.counts))

    def at_bounds(self, bounds: Sequence[float]) -> Tally:
        """Return the tally with fewer bounds. Every one of `bounds` must be a bound of this tally."""
        if tuple(bounds) == self.bounds:
            return self
        sums = [0.0] * (len(bounds) + 1)
        for bound, count in zip(self.bounds, self.counts, strict=False):
            sums[bisect_left(bounds, bound)] += count
        sums[-1] += self.counts[-1]
        return Tally(tuple(bounds), tuple(sums))

    def quantile(self, q: float) -> float | None:
        """Return the value below which the share `q` of the requests is, interpolated in its bucket as PromQL does.

        Above all bounds it is the largest bound. None without requests or without a bound.
        """
        total = self.total
        if total <= 0 or not self.bounds:
            return None
        rank = q * total
        for i, upto in enumerate(accumulate(self.counts)):
            if upto >= rank and self.counts[i] > 0:
                if i == len(self.bounds):
                    return self.bounds[-1]
                low = self.bounds[i - 1] if i else min(0.0, self.bounds[0])
                return low + (self.bounds[i] - low) * (rank - (upto - self.counts[i])) / self.counts[i]
        return self.bounds[-1]


EMPTY = Tally((), (0.0,))
"""No requests, in one bucket."""


def share(bad: float, total: float) -> Tally:
    """Return the tally of a share: `bad` of `total` requests."""
    return Tally(FAULT_BOUNDS, (max(0.0, total - bad), bad))


def aligned(*tallies: Tally) -> tuple[Tally, ...]:
    """Return the tallies at the bounds that all of them have. Two layouts can be compared only there.

    The layout of a tally without requests does not count.
    """
    if all(tally.bounds == tallies[0].bounds for tally in tallies):
        return tallies
    counted = [tally for tally in tallies if tally.total > 0]
    if not counted:
        return tuple(Tally((), (0.0,)) for _ in tallies)
    common = sorted(set(counted[0].bounds).intersection(*(tally.bounds for tally in counted[1:])))
    return tuple(
        tally.at_bounds(common) if tally.total > 0 else Tally(tuple(common), (0.0,) * (len(common) + 1))
        for tally in tallies
    )


def added(*tallies: Tally) -> Tally:
    """Return the sum, at the bounds that all tallies with requests have."""
    together = aligned(*tallies)
    return Tally(together[0].bounds, tuple(sum(column) for column in zip(*(t.counts for t in together), strict=True)))
