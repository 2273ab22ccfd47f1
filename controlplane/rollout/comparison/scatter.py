"""The scatter of looks: by how much the difference of two equal versions varies beyond independent requests. Pure.

A queue of one version fills for half a minute, or a client repeats its failed request. Such requests are not
independent, and the difference of a look varies more than their number explains. So the e-value of a look is raised to
the power 1/φ, where φ is the ratio of both variances. For every φ ≥ 1 that is fixed before the look, the result is an
e-value too (Jensen's inequality): a wrong φ costs power, never validity. φ is estimated from earlier looks. Differences
of successive looks cancel slow changes and a constant difference (von Neumann 1941). The variance that independent
requests explain is subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

PRIOR_LOOKS = 2.0
"""Number of pairs of looks that the expected scatter counts for. Chosen."""


MOST_CLUMPED = 10.0
"""Maximum number of requests that are supposed to fail together. Chosen: sessions of five requests on average, whose
numbers are geometric, behave as clumps of nine. A larger maximum would mistake a stable version whose share is restless
for one whose requests fail together, and find no bad candidate beside it (docs/verdicts.md)."""
PRIOR_PERIODS = 2.0
"""Number of pairs of periods that independence counts for. Chosen: with thirty periods the estimate without a clump
stays near 1, and that of a true clump is short of it by a fifteenth."""


@dataclass(frozen=True)
class Habits:
    """Differences between the stable version's looks before the rollout."""

    variance: float = 0.0
    """Variance of the mean score of a look beyond what independent requests explain."""
    clump: float = 1.0
    """Number of requests that behave as one, 1 to MOST_CLUMPED."""


def habits_of(periods: Sequence[tuple[float, float]]) -> Habits:
    """Return the habits by successive periods: the mean score of each, and its variance if requests are independent."""
    pairs = list(pairwise(periods))
    if not pairs:
        return Habits()
    beyond = sum(((b - a) ** 2 - v - w) / 2 for (a, v), (b, w) in pairs) / len(pairs)
    ratios = sum((b - a) ** 2 / (v + w) for (a, v), (b, w) in pairs)
    clump = (PRIOR_PERIODS + ratios) / (PRIOR_PERIODS + len(pairs))
    return Habits(max(0.0, beyond), min(MOST_CLUMPED, max(1.0, clump)))


@dataclass(frozen=True)
class Scatter:
    """The scatter so far. Variances are those of a difference of mean scores.

    The term of a pair of successive looks is half their squared difference, less the variance that independent requests
    explain. The weight of a pair is the inverse square of that variance: looks of few requests have noisy terms.
    """

    sum: float = 0.0
    """Sum of weight times term."""
    weight: float = 0.0
    """Sum of the weights."""
    last: float | None = None
    """The difference of the latest look."""
    last_variance: float = 0.0

    def factor(self, variance: float, expected: float) -> float:
        """Return φ ≥ 1 for a look whose difference has this variance if its requests are independent.

        `expected`: standard deviation that looks of equal versions are expected to have at any number of requests. It
        counts for PRIOR_LOOKS pairs of looks like this one.
        """
        if variance <= 0:
            return 1.0
        prior = PRIOR_LOOKS / variance**2
        estimate = (prior * expected**2 + self.sum) / (prior + self.weight)
        return 1.0 + max(0.0, estimate) / variance

    def after(self, difference: float, variance: float) -> Scatter:
        """Return the scatter after a look with this difference."""
        explained = (variance + self.last_variance) / 2
        if self.last is None or explained <= 0:
            return replace(self, last=difference, last_variance=variance)
        term, weight = (difference - self.last) ** 2 / 2 - explained, explained**-2
        return Scatter(self.sum + weight * term, self.weight + weight, difference, variance)
