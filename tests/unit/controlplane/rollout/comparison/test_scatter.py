"""The scatter of looks: what independent requests do not explain, and only that."""

from __future__ import annotations

import pytest

from controlplane.rollout.comparison.scatter import MOST_CLUMPED, PRIOR_PERIODS, Habits, Scatter, habits_of


def after(*differences: float, variance: float = 0.01) -> Scatter:
    scatter = Scatter()
    for difference in differences:
        scatter = scatter.after(difference, variance)
    return scatter


def test_a_constant_difference_is_no_scatter() -> None:
    assert after(0.3, 0.3, 0.3, 0.3).factor(0.01, 0.0) == 1


def test_a_slow_drift_is_no_scatter_and_jumps_are_much() -> None:
    drift, jumps = after(0.0, 0.1, 0.2, 0.3, 0.4), after(0.0, 0.4, 0.0, 0.4, 0.0)
    assert drift.factor(0.01, 0.0) == 1
    assert jumps.factor(0.01, 0.0) == pytest.approx(1 + 4 * (0.16 / 2 - 0.01) / 6 / 0.01)


def test_what_independent_requests_explain_is_subtracted() -> None:
    assert after(0.0, 0.1, 0.0, 0.1, variance=0.005).factor(0.005, 0.0) == 1
    assert after(0.0, 0.1, 0.0, 0.1, variance=0.05).factor(0.05, 0.0) == 1, "less than chance is never below 1"


def test_before_the_first_look_the_expected_scatter_counts_and_weighs_less_with_every_look() -> None:
    assert Scatter().factor(0.01, 0.1) == pytest.approx(2)
    assert after(0.0, 0.1).factor(0.01, 0.1) == pytest.approx(1 + (2 * 0.01 - 0.005) / 3 / 0.01)


def test_a_look_of_many_requests_is_divided_by_more_than_one_of_few() -> None:
    assert Scatter().factor(0.0001, 0.02) > Scatter().factor(0.01, 0.02)
    assert Scatter().factor(0.0, 0.02) == 1


def test_looks_of_few_requests_say_little_about_looks_of_many() -> None:
    """A weight that grows from 1% to 50%: a failure among the first ten requests is a jump by ten points."""
    few = Scatter().after(0.0, 0.001).after(0.1, 0.001)
    assert few.factor(0.00001, 0.0) < 1.03
    assert few.factor(0.001, 0.0) > 2


def test_looks_without_any_variance_have_no_term() -> None:
    assert Scatter().after(0.0, 0.0).after(0.1, 0.0) == Scatter(last=0.1)


def test_the_past_of_the_stable_version_shows_requests_that_fail_together() -> None:
    assert habits_of([]) == habits_of([(0.01, 1e-6)]) == Habits()
    steady = habits_of([(0.01, 1e-6)] * 8)
    assert steady == Habits(0.0, 1.0)
    jumping = habits_of([(0.01, 1e-6), (0.013, 1e-6)] * 4)
    assert jumping.variance == pytest.approx((9e-6 - 2e-6) / 2)
    assert jumping.clump == pytest.approx((PRIOR_PERIODS + 7 * 4.5) / (PRIOR_PERIODS + 7))
    assert habits_of([(0.01, 1e-6), (0.05, 1e-6)] * 4).clump == MOST_CLUMPED
