"""The scatter of looks: by how much the difference of two equal versions varies beyond independent requests. Pure.

One version's queue fills for half a minute, one client repeats its failed request: such requests are not independent,
and the difference of a look then varies more than their number says. Evidence of a look is raised to the power 1/φ,
where φ is the ratio of both variances. For every φ ≥ 1 that is fixed before the look the result is still an e-variable
(Jensen), so this can only cost power. φ is estimated from looks before: successive differences cancel what changes
slowly and what differs constantly (von Neumann 1941), and what independent requests explain is subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

PRIOR_LOOKS = 2.0
"""Number of looks that the expected scatter counts for. Chosen: see benchmarks/bench_verdicts.py, bursts."""


MOST_CLUMPED = 3.0
"""Largest number of requests that are supposed to fail together. Clients' libraries try a failed request twice more
(the default of OpenAI's and Anthropic's)."""
PRIOR_PERIODS = 8.0
"""Number of periods that the supposition of independent requests counts for. Chosen."""


@dataclass(frozen=True)
class Habits:
    """How the stable version's looks differed from each other before the rollout."""

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
    """The scatter so far. Variances are those of a difference of mean scores."""

    sum: float = 0.0
    """Sum over successive looks of half their squared difference, less what independent requests explain."""
    looks: int = 0
    """Number of terms of the sum."""
    last: float | None = None
    """The difference of the latest look."""
    last_variance: float = 0.0

    def factor(self, variance: float, expected: float) -> float:
        """Return φ ≥ 1 for a look whose difference has this variance if its requests are independent.

        `expected`: standard deviation that looks of equal versions are expected to have at any number of requests.
        """
        if variance <= 0:
            return 1.0
        estimate = (PRIOR_LOOKS * expected**2 + self.sum) / (PRIOR_LOOKS + self.looks)
        return 1.0 + max(0.0, estimate) / variance

    def after(self, difference: float, variance: float) -> Scatter:
        """Return the scatter after a look with this difference."""
        if self.last is None:
            return replace(self, last=difference, last_variance=variance)
        term = ((difference - self.last) ** 2 - variance - self.last_variance) / 2
        return Scatter(self.sum + term, self.looks + 1, difference, variance)
