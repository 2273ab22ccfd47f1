"""The size of a difference, over all looks in which both versions had requests. Pure.

In each look and stratum the stable version's requests get the weight of the candidate's requests (direct
standardization). So a base rate that drifts while the candidate's weight grows makes no difference.
"""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.rollout.comparison.tally import EMPTY, Tally, added, aligned


@dataclass(frozen=True)
class Effect:
    """Sums over looks and strata."""

    candidate: Tally = EMPTY
    stable: Tally = EMPTY
    """The stable version's requests with the weight of the candidate's."""
    stable_requests: float = 0.0
    ranks: float = 0.0
    """Sum over the candidate's requests of AUC - 0.5 in their look and stratum."""

    def after(self, candidate: Tally, stable: Tally) -> Effect:
        """Return the sums after one stratum of a look. A stratum in which one version has no requests adds nothing."""
        n, m = candidate.total, stable.total
        if n <= 0 or m <= 0:
            return self
        return Effect(
            added(self.candidate, candidate),
            added(self.stable, stable.scaled(n / m)),
            self.stable_requests + m,
            self.ranks + n * (auc(candidate, stable) - 0.5),
        )

    @property
    def candidate_requests(self) -> float:
        """Number of the candidate's requests that were compared."""
        return self.candidate.total

    @property
    def mean_rank(self) -> float | None:
        """AUC - 0.5: above 0 the candidate's values are larger. None without requests."""
        return self.ranks / self.candidate.total if self.candidate.total > 0 else None


def auc(candidate: Tally, stable: Tally) -> float:
    """Return the probability that a candidate's value is larger than a stable one, equal buckets counted half.

    Both must have requests.
    """
    ours, theirs = aligned(candidate, stable)
    below = total = 0.0
    for mine, other in zip(ours.counts, theirs.counts, strict=True):
        total += mine * (below + other / 2)
        below += other
    return total / ours.total / theirs.total
