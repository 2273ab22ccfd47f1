"""The bet by exact enumeration: its expectation under every null it claims, and what it must not depend on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.rollout.comparison.betting import log_growth, log_mixture, weights
from controlplane.rollout.comparison.scores import Scores, ridits, share_scores
from controlplane.rollout.comparison.tally import Tally, share

ROUNDING = 1 + 1e-9


def binomial(n: int, p: float) -> list[tuple[int, float]]:
    return [(k, math.comb(n, k) * p**k * (1 - p) ** (n - k)) for k in range(n + 1)]


def multinomial(n: int, p: tuple[float, ...]) -> Iterator[tuple[tuple[int, ...], float]]:
    for counts in product(range(n + 1), repeat=len(p)):
        if sum(counts) == n:
            ways = math.factorial(n) / math.prod(math.factorial(c) for c in counts)
            yield counts, ways * math.prod(q**c for q, c in zip(p, counts, strict=True))


def guessed(center: float) -> Scores:
    return Scores(np.array([0.0, 1.0]), center, None)


shares = st.floats(0, 1)


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 6), m=st.integers(1, 8), stable=shares, below=shares, tolerance=shares, center=shares)
def test_no_bet_gains_while_the_candidate_is_not_worse_by_more_than_the_tolerance(
    n: int, m: int, stable: float, below: float, tolerance: float, center: float
) -> None:
    tolerance *= 0.9
    candidate = max(0.0, min(1.0, stable + tolerance) - below)
    scores = guessed(min(0.999, max(1e-9, center)))
    expected = sum(
        p * q * np.exp(log_growth(share(a, n), share(b, m), scores, tolerance))
        for (a, p), (b, q) in product(binomial(n, candidate), binomial(m, stable))
    )
    assert np.all(expected <= ROUNDING), "whatever the center guesses of the stable version"


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3), m=st.integers(1, 4), data=st.data())
def test_no_bet_on_ranks_gains_while_the_mean_rank_is_within_the_tolerance(n: int, m: int, data: st.DataObject) -> None:
    weight = st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any)
    past, ours, theirs = (data.draw(weight) for _ in range(3))
    scores = ridits(Tally((1.0, 2.0), tuple(map(float, past))))
    assert scores is not None
    p, q = (tuple(w / sum(each) for w in each) for each in (ours, theirs))
    tolerance = max(0.0, float((np.array(p) - np.array(q)) @ scores.of))
    expected = sum(
        x * y * np.exp(log_growth(counted(a), counted(b), scores, tolerance))
        for (a, x), (b, y) in product(multinomial(n, p), multinomial(m, q))
    )
    assert np.all(expected <= ROUNDING), "whatever the reference was"


def counted(counts: tuple[int, ...]) -> Tally:
    return Tally((1.0, 2.0), tuple(map(float, counts)))


def test_a_bet_gains_where_the_candidate_is_worse() -> None:
    scores = share_scores(share(10, 1000))
    growth = log_growth(share(30, 1000), share(190, 19_000), scores, 0.005)
    assert log_mixture(growth, weights(ranked=False)) > 3


@settings(max_examples=100, deadline=None)
@given(size=st.integers(2, 4), n=st.integers(1, 3), m=st.integers(1, 3), p=shares)
def test_requests_that_behave_as_one_count_as_one_if_they_are_scaled(size: int, n: int, m: int, p: float) -> None:
    """The clumps' product to the power 1/size is a geometric mean, which is at most the arithmetic mean."""
    scores = guessed(0.2)
    expected = sum(
        x * y * np.exp(log_growth(share(a, n), share(b, m), scores, 0.0))
        for (a, x), (b, y) in product(binomial(n, p), binomial(m, p))
    )
    clumped = sum(
        x
        * y
        * np.exp(
            log_growth(
                share(a * size, n * size).scaled(1 / size), share(b * size, m * size).scaled(1 / size), scores, 0.0
            )
        )
        for (a, x), (b, y) in product(binomial(n, p), binomial(m, p))
    )
    assert np.allclose(expected, clumped)
    assert np.all(clumped <= ROUNDING)


tallies = st.lists(st.integers(0, 10**9), min_size=4, max_size=4).map(
    lambda c: Tally((1.0, 2.0, 3.0), tuple(map(float, c)))
)


@settings(max_examples=200, deadline=None)
@given(candidate=tallies, stable=tallies, past=tallies, tolerance=st.floats(0, 0.5))
def test_a_billion_requests_do_not_overflow(candidate: Tally, stable: Tally, past: Tally, tolerance: float) -> None:
    scores = ridits(past)
    if scores is not None:
        growth = log_growth(candidate, stable, scores, tolerance)
        assert np.isfinite(growth).all()
        assert math.isfinite(log_mixture(growth, weights(ranked=True)))
    bad, good = candidate.counts[0], candidate.counts[1]
    assert np.isfinite(log_growth(share(bad, bad + good), share(0, 10**9), share_scores(share(0, 0)), tolerance)).all()


@settings(max_examples=200, deadline=None)
@given(counts=tallies, past=tallies, times=st.sampled_from([1, 3, 1000]), tolerance=st.floats(0, 0.3))
def test_versions_with_equal_counts_give_no_evidence(counts: Tally, past: Tally, times: int, tolerance: float) -> None:
    scores = ridits(past)
    if scores is not None:
        assert (log_growth(counts, counts.scaled(times), scores, tolerance) <= 1e-6).all()
        assert (log_growth(counts.scaled(times), counts, scores, tolerance) <= 1e-6).all(), "nor the other way round"


@settings(max_examples=200, deadline=None)
@given(candidate=tallies, stable=tallies, past=tallies, bucket=st.integers(0, 2))
def test_a_slower_request_of_the_candidate_is_more_evidence_and_one_of_the_stable_version_less(
    candidate: Tally, stable: Tally, past: Tally, bucket: int
) -> None:
    scores = ridits(past)
    if scores is None or not candidate.counts[bucket] or not stable.counts[bucket]:
        return
    here = log_growth(candidate, stable, scores, 0.05)
    assert (log_growth(slower(candidate, bucket), stable, scores, 0.05) >= here - 1e-3).all()
    assert (log_growth(candidate, slower(stable, bucket), scores, 0.05) <= here + 1e-3).all()


def slower(tally: Tally, bucket: int) -> Tally:
    counts = list(tally.counts)
    counts[bucket] -= 1
    counts[bucket + 1] += 1
    return Tally(tally.bounds, tuple(counts))


@pytest.mark.parametrize(("ours", "theirs"), [(0.0, 10.0), (10.0, 0.0), (0.0, 0.0)])
def test_without_requests_of_both_there_is_no_bet(ours: float, theirs: float) -> None:
    growth = log_growth(share(0, ours), share(0, theirs), share_scores(share(1, 10)), 0.0)
    assert not growth.any()


@pytest.mark.parametrize("ranked", [True, False])
def test_the_whole_stake_is_spread(ranked: bool) -> None:
    assert weights(ranked).sum() == pytest.approx(1)
