"""The size of a difference: ranks by brute force, and the standard by which requests are counted."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.rollout.comparison.effect import Effect, auc
from controlplane.rollout.comparison.tally import EMPTY, Tally, share

small = st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any)


def tally(counts: list[int]) -> Tally:
    return Tally((1.0, 2.0), tuple(map(float, counts)))


def values(counts: list[int]) -> list[int]:
    return [bucket for bucket, count in enumerate(counts) for _ in range(count)]


@given(small, small)
def test_the_auc_is_the_share_of_pairs(ours: list[int], theirs: list[int]) -> None:
    pairs = [(a > b) + (a == b) / 2 for a, b in product(values(ours), values(theirs))]
    assert auc(tally(ours), tally(theirs)) == pytest.approx(sum(pairs) / len(pairs))


@given(small, small)
def test_swapping_the_versions_swaps_the_sign(ours: list[int], theirs: list[int]) -> None:
    assert auc(tally(ours), tally(theirs)) + auc(tally(theirs), tally(ours)) == pytest.approx(1)


def test_the_stable_versions_requests_count_as_many_as_the_candidates_of_the_same_look() -> None:
    effect = Effect().after(share(1, 10), share(100, 1000)).after(share(0, 90), share(0, 10))
    assert effect.candidate_requests == 100
    assert effect.stable_requests == 1010
    assert effect.stable.counts == pytest.approx((99, 1)), "1% and not 9.9%"
    assert effect.mean_rank == pytest.approx(0)


def test_a_look_of_one_version_alone_does_not_count() -> None:
    assert Effect().after(share(1, 10), EMPTY) == Effect().after(EMPTY, share(1, 10)) == Effect()
    assert Effect().mean_rank is None
