"""The test: a bet against "the candidate is not worse than the stable version by more than a tolerance d". Pure.

Requests have scores in [0, 1]; 1 is the worst. The candidate's n requests have the scores x, the stable version's m
requests the scores y. For every Λ ≥ 0 and every c that are fixed before the scores are seen, and that leave every
factor positive, the product

    E = Π (1 + Λ/n (x - c - d)) · Π (1 + Λ/m (c - y))

has an expectation of at most 1 if the mean of the candidate's expected scores is at most d above the mean of the stable
version's. So E is an e-variable. Proof: log(1 + z) ≤ z, so the logarithm of the expectation is at most
Λ (mean x - c - d) + Λ (c - mean y) = Λ (mean x - mean y - d) ≤ 0. The only condition is that the requests of a look are
independent of each other. There is none on the distribution, the number of requests or the base rate, which may differ
from look to look. The product over looks is a supermartingale. The probability that it ever reaches 1/α is at most α
(Ville 1939), however often one looks.

Sources: Turner and Grünwald 2023, "Exact anytime-valid confidence intervals for contingency tables and beyond", for two
samples and a null hypothesis with a tolerance; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random
variables by betting", for scores; Grünwald, de Heide and Koolen 2024, "Safe testing", for the choice of c.
"""

from __future__ import annotations

import numpy as np

from controlplane.rollout.comparison.scores import Floats, Scores
from controlplane.rollout.comparison.tally import Tally

LARGEST = 0.98
"""Maximum stake, as a share of the stake at which a factor can be 0. Chosen: one request takes at most 98% of the
evidence so far."""
RELATIVE: tuple[float, ...] = tuple(2.0**power for power in range(-4, 8))
"""Excesses of a share that are bet on, as multiples of the largest share that the tolerance allows: 1/16 to 128.
Chosen: one of them is near every excess."""
RANKED = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)
"""Excesses of a mean ridit that are bet on. Chosen, as above."""


def excesses(scores: Scores, tolerance: float) -> Floats:
    """Return the supposed excesses of the candidate's mean score beyond the tolerance: float64 of shape (bets,)."""
    if scores.variance is not None:
        return np.array(RANKED)
    return np.array([multiple * (scores.center + tolerance) for multiple in RELATIVE])


def weights(ranked: bool) -> Floats:
    """Return the weights of the bets of `excesses`: float64 of shape (bets,), sum 1.

    For shares a doubling has the largest weight. Larger factors need less: they show themselves after few requests.
    """
    if ranked:
        return np.full(len(RANKED), 1.0 / len(RANKED))
    multiples = np.array(RELATIVE)
    unnormed = 1.0 / (multiples + 1.0 / multiples)
    return np.asarray(unnormed / unnormed.sum())


def log_growth(candidate: Tally, stable: Tally, scores: Scores, tolerance: float) -> Floats:
    """Return the logarithm of E for each bet: float64 of shape (bets,). Zeros where one version has no requests.

    Both tallies have the buckets of `scores`. Each bet supposes an excess, and has the c and Λ with nearly the largest
    expected gain if the excess is true: c is the mean score of both versions pooled, without the tolerance.
    """
    supposed = excesses(scores, tolerance)
    n, m = candidate.total, stable.total
    if n <= 0 or m <= 0:
        return np.zeros(len(supposed))
    low = np.clip(scores.center + supposed * (n / (n + m)), 1e-12, max(1e-12, 1.0 - tolerance - 1e-12))
    high = low + tolerance
    spread = scores.variance_at(high) / n + scores.variance_at(low) / m
    stake = np.minimum(supposed / np.maximum(spread, 1e-300), LARGEST * np.minimum(n / high, m / (1.0 - low)))
    x = np.log1p((stake / n)[:, None] * (scores.of - high[:, None]))
    y = np.log1p((stake / m)[:, None] * (low[:, None] - scores.of))
    return np.asarray((x * np.asarray(candidate.counts)).sum(axis=1) + (y * np.asarray(stable.counts)).sum(axis=1))


def log_mixture(logs: Floats, shares: Floats) -> float:
    """Return the logarithm of the weighted mean of exp(logs). Both have shape (bets,)."""
    top = float(logs.max())
    return top + float(np.log((shares * np.exp(logs - top)).sum()))
