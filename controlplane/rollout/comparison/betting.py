"""The test: a bet against "the candidate is not worse than the stable version by more than a tolerance". Pure.

Requests have scores in [0, 1], 1 being the worst. Let n requests of the candidate have scores x, and m of the stable
version scores y, and let d be the tolerance. For every Λ ≥ 0 and every c that are fixed before the scores are seen, the
product

    E = Π (1 + Λ/n (x - c - d)) · Π (1 + Λ/m (c - y))

has an expectation of at most 1 as long as the mean of the candidate's expected scores is at most that of the stable
version's plus d: E is an e-variable. For log(1 + z) ≤ z makes the logarithm of the expectation at most
Λ (mean x - c - d) + Λ (c - mean y) = Λ (mean x - mean y - d) ≤ 0. It needs requests that are independent of each other
within a look, and nothing else: no distribution, no number of requests, and no base rate, which may differ from look to
look. The product over looks is then a supermartingale, whose probability of ever reaching 1/α is at most α (Ville
1939), so looking often costs nothing.

Sources: Turner and Grünwald 2023, "Exact anytime-valid confidence intervals for contingency tables and beyond", for two
samples and a null hypothesis with a tolerance; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random
variables by betting", for scores; Grünwald, de Heide and Koolen 2024, "Safe testing", for the choice of c.
"""

from __future__ import annotations

import numpy as np

from controlplane.rollout.comparison.scores import Floats, Scores
from controlplane.rollout.comparison.tally import Tally

LARGEST = 0.98
"""Largest part of the stake in one request, as a share of what keeps every factor positive. Chosen: a single request
never takes more than 98% of the evidence so far."""
RELATIVE: tuple[float, ...] = tuple(2.0**power for power in range(-4, 8))
"""Excesses of a share that are bet on, as multiples of the largest share that the tolerance allows: 1/16 to 128."""
RANKED = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)
"""Excesses of a mean ridit that are bet on."""


def excesses(scores: Scores, tolerance: float) -> Floats:
    """Return how far beyond the tolerance the candidate's mean score is supposed to be: float64 of shape (bets,)."""
    if scores.variance is not None:
        return np.array(RANKED)
    return np.array([multiple * (scores.center + tolerance) for multiple in RELATIVE])


def weights(ranked: bool) -> Floats:
    """Return the shares of the stake on the bets of `excesses`: float64 of shape (bets,), sum 1.

    Shares: most on a doubling, less on what is far from it, for a tenfold share shows itself with little stake.
    """
    if ranked:
        return np.full(len(RANKED), 1.0 / len(RANKED))
    multiples = np.array(RELATIVE)
    unnormed = 1.0 / (multiples + 1.0 / multiples)
    return np.asarray(unnormed / unnormed.sum())


def log_growth(candidate: Tally, stable: Tally, scores: Scores, tolerance: float) -> Floats:
    """Return the logarithm of E for each bet: float64 of shape (bets,). Zeros where one version has no requests.

    Both tallies have the buckets of `scores`. Each bet supposes an excess, and takes the c and Λ that gain most, in
    expectation, if it is right: c is the mean score that both versions would have, apart from the tolerance, if what
    is supposed of both were pooled.
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
