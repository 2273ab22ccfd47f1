"""Other ways to judge the same streams, for bench_verdicts.py.

Kayenta's default judge, NetflixACAJudge: a Mann-Whitney test over one value a minute, with 98% confidence and an effect
of 25% of the Hodges-Lehmann estimate (spinnaker/kayenta, MannWhitneyClassifier.scala: `fraction = 0.25, confLevel =
0.98`). Its test is R's wilcox.test with the normal approximation and its continuity correction, and so is this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from controlplane.rollout.comparison.betting import RELATIVE, log_mixture, weights
from controlplane.rollout.comparison.effect import auc
from controlplane.rollout.comparison.scores import Floats
from controlplane.rollout.comparison.tally import Tally, added
from verdicts.streams import Seen

CONFIDENCE, FRACTION = 0.98, 0.25
FIRST = 5
"""First look that Kayenta judges. Four values a version give z of at most 7.5 / sqrt(12) = 2.17; 98% needs 2.33."""
NORMAL = NormalDist()


def kayenta(looks: Sequence[Seen]) -> bool:
    """Return whether Kayenta's rule calls the candidate's metric `High`, by one value a look."""
    ours = np.array([_value(seen.candidate) for seen in looks])
    theirs = np.array([_value(seen.stable) for seen in looks])
    z = NORMAL.inv_cdf(1 - (1 - CONFIDENCE) / 2)
    if np.array_equal(ours, theirs) or _beyond(ours, theirs, 0.0, z, True) <= 0:
        return False  # the interval includes 0
    lower = _root(ours, theirs, z, True)
    return lower > FRACTION * abs(_root(ours, theirs, 0.0, False))


def _value(tally: Tally) -> float:
    """Return the value of a minute: the share, or the mean of a histogram by the middles of its buckets."""
    if len(tally.bounds) == 1:
        return tally.counts[-1] / tally.total
    low = (tally.bounds[0] / 2, *tally.bounds)
    middles = [math.sqrt(a * b) for a, b in zip(low, (*tally.bounds, tally.bounds[-1]), strict=True)]
    return sum(m * c for m, c in zip(middles, tally.counts, strict=True)) / tally.total


def _beyond(ours: Floats, theirs: Floats, shift: float, z: float, correct: bool) -> float:
    n, m = len(ours), len(theirs)
    values = np.concatenate([ours - shift, theirs])
    _, place, ties = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    above = float(ranks[:n].sum()) - n * (n + 1) / 2 - n * m / 2
    spread = n * m / 12 * ((n + m + 1) - float((ties**3 - ties).sum()) / ((n + m) * (n + m - 1)))
    return (above - (math.copysign(0.5, above) if correct and above else 0.0)) / math.sqrt(max(spread, 1e-12)) - z


def _root(ours: Floats, theirs: Floats, z: float, correct: bool) -> float:
    low, high = float(ours.min() - theirs.max()), float(ours.max() - theirs.min())
    if _beyond(ours, theirs, low, z, correct) <= 0:
        return low
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _beyond(ours, theirs, middle, z, correct) > 0 else (low, middle)
    return low


def uncorrected(looks: Sequence[Seen]) -> bool:
    """Return whether a one-sided rank test at 5% over all requests so far rejects; for a share it is the z-test."""
    ours, theirs = added(*(seen.candidate for seen in looks)), added(*(seen.stable for seen in looks))
    return _z(ours, theirs) > NORMAL.inv_cdf(0.95)


def _z(ours: Tally, theirs: Tally) -> float:
    """Return the standardized rank sum of the candidate, its variance conditional on ties (Wilcoxon; van Elteren)."""
    variance = _variance(ours, theirs)
    return (auc(ours, theirs) - 0.5) / math.sqrt(variance) if variance > 0 else 0.0


def _variance(ours: Tally, theirs: Tally) -> float:
    n, m = ours.total, theirs.total
    ties = sum((a + b) ** 3 - (a + b) for a, b in zip(ours.counts, theirs.counts, strict=True))
    total = n + m
    return (total + 1 - ties / (total * (total - 1))) / (12 * n * m)


def normal_mixture(looks: Sequence[Seen], limit: float, scale: float = 0.05) -> bool:
    """Return whether Robbins' normal mixture of van Elteren's statistic ever reaches `limit`.

    Howard, Ramdas, McAuliffe and Sekhon 2021, one-sided. It takes a look's rank sum for normal.
    """
    score = information = 0.0
    for seen in looks:
        variance = _variance(seen.candidate, seen.stable)
        if variance > 0:
            score += (auc(seen.candidate, seen.stable) - 0.5) / variance
            information += 1 / variance
        z = score * scale / math.sqrt(1 + scale**2 * information)
        tail = NORMAL.cdf(z)
        log = math.log(2) - math.log(1 + scale**2 * information) / 2 + z * z / 2
        if tail > 0 and log + math.log(tail) >= math.log(limit):
            return True
    return False


def hypergeometric(looks: Sequence[Seen], limit: float) -> bool:
    """Return whether the mixture of noncentral against central hypergeometric likelihoods ever reaches `limit`.

    Conditional on both margins of a look: it needs no base rate, and has no tolerance in points.
    """
    odds = np.log1p(np.array(RELATIVE))
    logs = np.zeros(len(odds))
    for seen in looks:
        bad, n, m = seen.candidate.counts[-1], seen.candidate.total, seen.stable.total
        both = bad + seen.stable.counts[-1]
        k = np.arange(max(0.0, both - m), min(n, both) + 1)
        ways = np.array([_choose(n, x) + _choose(m, both - x) for x in k])
        ways -= ways.max()
        tilted = ways + odds[:, None] * k
        top = tilted.max(axis=1)
        norm = top + np.log(np.exp(tilted - top[:, None]).sum(axis=1)) - math.log(np.exp(ways).sum())
        logs = logs + odds * bad - norm
        if log_mixture(logs, weights(ranked=False)) >= math.log(limit):
            return True
    return False


def _choose(n: float, k: float) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def first(rule: Callable[[Sequence[Seen]], bool], looks: Sequence[Seen], begin: int = 1) -> int | None:
    """Return the first look, counted from 1, at which a rule over all looks so far rejects, or None."""
    return next((upto for upto in range(begin, len(looks) + 1) if rule(looks[:upto])), None)
