"""Tallies: fewer bounds, sums over layouts, and quantiles as PromQL has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.rollout.comparison.tally import EMPTY, Tally, added, aligned, share


def test_a_share_is_two_buckets() -> None:
    assert share(3, 10) == Tally((0.0,), (7, 3))
    assert share(3, 2).counts == (0, 3), "counters that were read a moment apart"


def test_fewer_bounds_add_up_the_buckets_between() -> None:
    tally = Tally((1.0, 2.0, 3.0, 4.0), (1, 2, 3, 4, 5))
    assert tally.at_bounds((2.0, 4.0)) == Tally((2.0, 4.0), (3, 7, 5))
    assert tally.at_bounds(()) == Tally((), (15,))
    assert tally.at_bounds(tally.bounds) is tally


def test_layouts_meet_at_their_common_bounds() -> None:
    one, other = aligned(Tally((1.0, 2.0, 3.0), (1, 1, 1, 1)), Tally((2.0, 3.0, 9.0), (5, 5, 5, 5)))
    assert one == Tally((2.0, 3.0), (2, 1, 1))
    assert other == Tally((2.0, 3.0), (5, 5, 10))


def test_a_layout_without_requests_has_no_say() -> None:
    one, other, none = aligned(Tally((1.0,), (1, 1)), Tally((7.0,), (0, 0)), EMPTY)
    assert (one.bounds, other, none) == ((1.0,), Tally((1.0,), (0, 0)), Tally((1.0,), (0, 0)))
    assert aligned(EMPTY, Tally((1.0,), (0, 0))) == (EMPTY, EMPTY)


counts = st.lists(st.integers(0, 10**9), min_size=4, max_size=4)


@given(counts, counts)
def test_nothing_is_lost_in_a_sum(one: list[int], other: list[int]) -> None:
    a, b = Tally((1.0, 2.0, 3.0), tuple(map(float, one))), Tally((0.5, 2.0, 8.0), tuple(map(float, other)))
    assert added(a, b).total == a.total + b.total


@pytest.mark.parametrize(
    ("tally", "expected"),
    [
        (Tally((1.0, 2.0), (0, 10, 0)), 1.5),
        (Tally((1.0, 2.0), (10, 0, 0)), 0.5),
        (Tally((1.0, 2.0), (0, 0, 10)), 2.0),
        (Tally((1.0, 2.0), (5, 5, 0)), 1.0),
        (Tally((), (10,)), None),
        (Tally((1.0,), (0, 0)), None),
    ],
)
def test_the_median_is_interpolated_in_its_bucket(tally: Tally, expected: float | None) -> None:
    assert tally.quantile(0.5) == expected
