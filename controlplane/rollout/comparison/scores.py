"""Scores of buckets between 0 (best) and 1 (worst), fixed before the requests of a look are counted. Pure.

A share has the scores 0 and 1. A histogram has ridits (Bross 1958, "How to use ridit analysis", Biometrics 14): the
score of a bucket is the share of the stable version's earlier requests that were faster, those in the bucket counted
half. The mean score of the stable version is then 0.5, and the candidate's mean score is the probability that one of
its requests is slower than one of the stable version (the AUC of the ranks, ties counted half).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlplane.rollout.comparison.tally import Tally

Floats = NDArray[np.float64]
LEAST_VARIANCE = 0.04
"""Minimum variance of ridits that is supposed. A reference in one bucket has none, but a candidate that differs has:
with a fifth of its requests beyond that bucket it is 0.2 · 0.8 · 0.5² = 0.04."""
GUESS = 0.01
"""Expected share of bad requests of a stable version without a past. Chosen. It affects only the size of bets."""


class Scores(NamedTuple):
    """The scores of one look. `of` is a float64 array of shape (buckets,)."""

    of: Floats
    center: float
    """Expected mean score of the stable version."""
    variance: float | None
    """Variance of the scores. None: that of a share, p (1 - p) at the share p."""

    def variance_at(self, mean: Floats) -> Floats:
        """Return the variance of one score where the mean is `mean`: arrays of the same shape."""
        return mean * (1.0 - mean) if self.variance is None else np.full_like(mean, self.variance)


def share_scores(reference: Tally) -> Scores:
    """Return the scores of a share. `reference` holds the stable version's requests so far."""
    bad = reference.counts[-1] if reference.total > 0 else 0.0
    center = (bad + GUESS) / (reference.total + 1.0)
    return Scores(np.array([0.0, 1.0]), min(center, 0.999), None)


def ridits(reference: Tally) -> Scores | None:
    """Return the ridits of the reference's buckets, or None without requests. Larger values are worse."""
    counts = np.asarray(reference.counts)
    total = counts.sum()
    if total <= 0:
        return None
    shares = counts / total
    scores = np.cumsum(shares) - shares / 2
    variance = float((shares * (scores - 0.5) ** 2).sum())
    return Scores(scores, 0.5, max(variance, LEAST_VARIANCE))
