"""Evidence over several looks: valid by exact enumeration, and robust against what changes without a fault."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.rollout.comparison.evidence import TOLERATED, Evidence, Shape, Stratum, begun, looked
from controlplane.rollout.comparison.tally import EMPTY, Tally, share

FAILS_AT = 600.0
"""Six metrics, and one false alarm in a hundred rollouts."""


def look(bad: float, n: float, stable_bad: float, m: float, name: str = "") -> Stratum:
    return Stratum(name, share(bad, n), share(stable_bad, m))


def many(*looks: Stratum, tolerance: float = 0.005, past: tuple[float, float] = (0, 0)) -> Evidence:
    evidence = begun(Shape.SHARE, tolerance, [{"": share(*past)}] if past[1] else [])
    for each in looks:
        evidence = looked(evidence, [each])
    return evidence


def bernoulli(n: int, p: float) -> list[tuple[int, float]]:
    return [(k, math.comb(n, k) * p**k * (1 - p) ** (n - k)) for k in range(n + 1)]


@pytest.mark.parametrize("sizes", [((2, 2), (2, 3), (1, 2)), ((1, 5), (3, 1), (2, 2)), ((4, 1), (4, 1))])
@pytest.mark.parametrize("rates", [(0.3, 0.3, 0.3), (0.05, 0.5, 0.9), (0.0, 1.0, 0.5), (0.02, 0.02, 0.4)])
@pytest.mark.parametrize("history", [(), ((1, 4), (0, 4), (4, 4))])
def test_equal_versions_gain_nothing_over_all_outcomes_of_all_looks(
    sizes: tuple[tuple[int, int], ...], rates: tuple[float, ...], history: tuple[tuple[int, int], ...]
) -> None:
    """Every outcome of several looks, with its probability: the base rate may change, the weight may grow.

    References, scatter and the powers of the evidence are all in it: the whole of `looked` is an e-value.
    """
    periods = [{"": share(bad, total)} for bad, total in history]
    states: list[tuple[float, Evidence]] = [(1.0, begun(Shape.SHARE, 0.1, periods))]
    for (n, m), rate in zip(sizes, rates, strict=False):
        states = [
            (probability * p * q, looked(evidence, [look(a, n, b, m)]))
            for probability, evidence in states
            for (a, p), (b, q) in product(bernoulli(n, rate), bernoulli(m, rate))
            if p * q
        ]
    assert sum(p for p, _ in states) == pytest.approx(1)
    assert sum(p * math.exp(evidence.log_equal) for p, evidence in states) <= 1 + 1e-9
    assert sum(p * math.exp(evidence.log_tolerated) for p, evidence in states) <= 1 + 1e-9
    assert sum(p * evidence.against(FAILS_AT) for p, evidence in states) <= 1 + 1e-9


def test_a_difference_within_the_tolerance_gains_nothing_against_tolerated() -> None:
    states: list[tuple[float, Evidence]] = [(1.0, begun(Shape.SHARE, 0.2))]
    for n, m in ((2, 3), (3, 2)):
        states = [
            (probability * p * q, looked(evidence, [look(a, n, b, m)]))
            for probability, evidence in states
            for (a, p), (b, q) in product(bernoulli(n, 0.5), bernoulli(m, 0.3))
        ]
    assert sum(p * math.exp(evidence.log_tolerated) for p, evidence in states) <= 1 + 1e-9
    assert sum(p * math.exp(evidence.log_equal) for p, evidence in states) > 1, "it is no equal version"


def test_a_candidate_that_fails_three_times_as_often_is_found() -> None:
    evidence = many(*[look(30, 1000, 190, 19_000)] * 3, past=(190, 19_000))
    assert evidence.against(FAILS_AT) > FAILS_AT
    assert evidence.size == pytest.approx(0.02)


def test_a_candidate_within_the_tolerance_is_not_found_however_many_requests() -> None:
    evidence = many(*[look(1300, 100_000, 19_000, 1_900_000)] * 10, past=(19_000, 1_900_000))
    assert evidence.log_equal > math.log(FAILS_AT), "it is worse, beyond doubt"
    assert evidence.against(FAILS_AT) < 1, "and its 0.3 points are tolerated"


def test_both_nulls_must_be_rejected() -> None:
    evidence = many(look(30, 1000, 190, 19_000), past=(190, 19_000))
    surely_worse = replace(evidence, equal=((50.0,) * 12,), tolerated=((math.log(TOLERATED / 2),) * 12,))
    assert surely_worse.against(FAILS_AT) == pytest.approx(FAILS_AT / 2)
    maybe_equal = replace(evidence, equal=((math.log(5),) * 12,), tolerated=((50.0,) * 12,))
    assert maybe_equal.against(FAILS_AT) == pytest.approx(5)


def test_a_reference_is_about_the_last_five_looks() -> None:
    evidence = many(*[look(0, 10, 20, 100)] * 20, past=(0, 1000))
    assert evidence.references[""].total == pytest.approx(100 * (1 - 0.8**20) / 0.2 + 1000 * 0.8**20)
    assert 0.1 < evidence.references[""].counts[-1] / evidence.references[""].total < 0.2


def test_a_base_rate_that_drifts_is_no_evidence_while_the_weight_grows() -> None:
    """Simpson's paradox: at night few requests fail and the candidate has few, by day many and it has half."""
    night, day = look(0.1, 100, 19, 19_000), look(200, 5000, 200, 5000)
    evidence = many(*[night] * 5, *[day] * 5, past=(19, 19_000))
    assert evidence.size == pytest.approx(0, abs=1e-4), "pooled over the day it would be 3.9% against 0.9%"
    assert evidence.against(FAILS_AT) < 1


def test_an_infinite_number_of_requests_shows_as_a_finite_e_value() -> None:
    evidence = many(*[look(10**9, 10**9, 0, 10**9)] * 10)
    assert 1e290 < evidence.against(FAILS_AT) < math.inf


def test_a_look_without_requests_of_both_changes_nothing_but_the_reference() -> None:
    evidence = many(look(0, 0, 3, 300))
    assert evidence.size is None and evidence.against(FAILS_AT) == pytest.approx(1)
    assert evidence.references[""].total == 300
    assert looked(evidence, []) == evidence


BOUNDS = (0.1, 0.25, 0.5, 1.0)


def times(*counts: float, bounds: tuple[float, ...] = BOUNDS) -> Tally:
    return Tally(bounds, tuple(map(float, counts)))


USUAL, SLOW = times(10, 60, 25, 4, 1), times(2, 30, 45, 20, 3)


def ranked(*looks: Stratum, shape: Shape = Shape.LARGER, history: Tally = USUAL, tolerance: float = 0.05) -> Evidence:
    evidence = begun(shape, tolerance, [{"": history.scaled(10)}])
    for each in looks:
        evidence = looked(evidence, [each])
    return evidence


def test_slower_answers_are_found_and_faster_ones_are_not() -> None:
    slower, usual = Stratum("", SLOW, USUAL.scaled(19)), Stratum("", USUAL, USUAL.scaled(19))
    faster = Stratum("", USUAL, SLOW.scaled(19))
    assert ranked(slower, slower, slower).against(FAILS_AT) > FAILS_AT
    assert ranked(usual, usual, usual).against(FAILS_AT) < 1
    assert ranked(faster, faster, faster, history=SLOW).against(FAILS_AT) < 1


def test_of_a_length_both_directions_count() -> None:
    longer, shorter = Stratum("", SLOW, USUAL.scaled(19)), Stratum("", USUAL, SLOW.scaled(19))
    for one, history in ((longer, USUAL), (shorter, SLOW)):
        evidence = ranked(*[one] * 4, shape=Shape.OTHER, history=history)
        assert evidence.against(FAILS_AT) > FAILS_AT
        assert evidence.size == pytest.approx(0.2161), "positive whatever the direction"


def test_without_a_past_the_first_look_only_sets_the_reference() -> None:
    evidence = looked(begun(Shape.LARGER, 0.05), [Stratum("", SLOW, USUAL.scaled(19))])
    assert evidence.log_equal == pytest.approx(0)
    assert evidence.size is not None, "the difference is told all the same"


def test_a_slower_day_of_both_versions_is_no_evidence() -> None:
    evidence = ranked(*[Stratum("", SLOW, SLOW.scaled(19))] * 10)
    assert evidence.against(FAILS_AT) < 1


def test_strata_are_compared_each_with_its_own_past() -> None:
    """The candidate gets the long prompts: slower in all, and equal in each stratum."""
    strata = [Stratum("s", USUAL, USUAL.scaled(30)), Stratum("xl", SLOW.scaled(5), SLOW.scaled(2))]
    evidence = begun(Shape.LARGER, 0.05, [{"s": USUAL.scaled(30), "xl": SLOW.scaled(2)}])
    for _ in range(10):
        evidence = looked(evidence, strata)
    assert evidence.size == pytest.approx(0, abs=1e-9)
    assert evidence.against(FAILS_AT) < 1
    pooled = ranked(Stratum("", times(20, 210, 250, 104, 16), USUAL.scaled(32)), tolerance=0.05)
    assert pooled.size is not None and pooled.size > 0.1


@settings(max_examples=50, deadline=None)
@given(st.permutations([0, 1, 2]))
def test_the_order_of_strata_does_not_matter(order: list[int]) -> None:
    strata = [Stratum("a", SLOW, USUAL), Stratum("b", USUAL, SLOW), Stratum("c", USUAL, USUAL)]
    past = [{"a": USUAL, "b": SLOW, "c": USUAL}]
    expected = looked(begun(Shape.LARGER, 0.05, past), strata)
    found = looked(begun(Shape.LARGER, 0.05, past), [strata[i] for i in order])
    assert found.log_equal == pytest.approx(expected.log_equal)
    assert found.size == pytest.approx(expected.size)


def test_layouts_that_differ_are_compared_at_their_common_bounds() -> None:
    coarse = times(70, 29, 1, bounds=(0.25, 1.0))
    same = ranked(*[Stratum("", coarse, USUAL.scaled(19))] * 3)
    assert same.size == pytest.approx(0, abs=1e-9)
    slow = ranked(*[Stratum("", times(32, 65, 3, bounds=(0.25, 1.0)), USUAL.scaled(19))] * 4)
    assert slow.against(FAILS_AT) > FAILS_AT


def test_layouts_without_a_common_bound_tell_nothing() -> None:
    other = times(1, 99, bounds=(0.3,))
    evidence = ranked(*[Stratum("", other, USUAL)] * 3)
    assert evidence.size == pytest.approx(0)
    assert evidence.against(FAILS_AT) < 1


def test_a_histogram_with_only_the_last_bucket_tells_nothing() -> None:
    only = Tally((), (100.0,))
    evidence = ranked(*[Stratum("", only, only)] * 3, history=only)
    assert evidence.size == pytest.approx(0)
    assert evidence.against(FAILS_AT) < 1


def test_requests_that_all_time_out_are_found_in_the_last_bucket() -> None:
    hangs = times(0, 0, 0, 0, 50)
    assert ranked(Stratum("", hangs, USUAL.scaled(9))).against(FAILS_AT) > FAILS_AT, "in one look"


def test_empty_buckets_make_no_difference() -> None:
    wide = Tally((*BOUNDS, 5.0, 60.0), (*USUAL.counts, 0.0, 0.0))
    slow = Tally((*BOUNDS, 5.0, 60.0), (*SLOW.counts, 0.0, 0.0))
    narrow = ranked(Stratum("", SLOW, USUAL))
    found = ranked(Stratum("", slow, wide), history=wide)
    assert found.log_equal == pytest.approx(narrow.log_equal)
    assert found.size == pytest.approx(narrow.size)


def test_an_empty_stratum_is_none() -> None:
    assert looked(begun(Shape.LARGER, 0.05), [Stratum("", EMPTY, EMPTY)]).references == {}


def test_a_look_in_an_incident_of_both_versions_is_no_evidence() -> None:
    """1% fails before. Then 10% of the stable version's requests fail, and by chance 20% of the candidate's."""
    steady = many(*[look(1, 100, 19, 1900)] * 3, past=(190, 19_000))
    incident = looked(steady, [look(20, 100, 190, 1900)])
    assert (incident.log_equal, incident.log_tolerated) == (steady.log_equal, steady.log_tolerated)
    assert incident.effect.candidate_requests == 400, "it is told all the same"
    own = looked(steady, [look(20, 100, 19, 1900)])
    assert own.against(FAILS_AT) >= FAILS_AT, "a failure of the candidate alone is evidence"


def test_an_incident_that_stays_is_the_new_usual_rate() -> None:
    evidence = many(*[look(1, 100, 19, 1900)] * 3, past=(190, 19_000))
    for _ in range(3):
        evidence = looked(evidence, [look(10, 100, 190, 1900)])
    assert looked(evidence, [look(60, 100, 190, 1900)]).against(FAILS_AT) >= FAILS_AT


def test_few_failures_of_the_stable_version_are_no_incident() -> None:
    """Chance alone makes three failures of twenty requests now and then."""
    steady = many(look(0, 10, 0, 20), past=(2, 200))
    assert looked(steady, [look(8, 10, 3, 20)]).log_equal > steady.log_equal
