"""The result of a metric: its outcome, its numbers, and the sentence that a person on call reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.rollout.comparison.evidence import Evidence, Stratum, begun, looked
from controlplane.rollout.comparison.judging import fails_at, judged, overall
from controlplane.rollout.comparison.metrics import KINDS
from controlplane.rollout.comparison.numbers import count, duration, percent, points, quantity
from controlplane.rollout.comparison.tally import Tally, share
from controlplane.rollout.findings import Outcome, Sample
from controlplane.rollout.options import Analysis, Comparison, Metric

BOUNDS = (0.1, 0.25, 0.5, 1.0)


def compared(metric: Metric, tolerance: float, *looks: tuple[Tally, Tally], past: Tally | None = None) -> Sample:
    evidence: Evidence = begun(KINDS[metric].shape, tolerance, [] if past is None else [{"": past}])
    for ours, theirs in looks:
        evidence = looked(evidence, [Stratum("", ours, theirs)])
    return judged(Comparison(metric, tolerance), evidence, 100.0, ("v2", "v1"))


def test_errors_that_fail() -> None:
    sample = compared(Metric.ERRORS, 0.005, (share(25, 812), share(137, 15_204)), past=share(137, 15_204))
    assert sample.words == "v2 fails 3.1% of 812 requests, v1 0.9% of 15,204: worse by 2.2 points (limit 0.5)"
    assert (sample.outcome, sample.unit, sample.fails_at) == (Outcome.FAIL, "ratio", 100)
    assert sample.candidate == pytest.approx(25 / 812)
    assert sample.stable == pytest.approx(137 / 15_204)
    assert sample.effect == pytest.approx(25 / 812 - 137 / 15_204)
    assert sample.evidence is not None and sample.evidence > 100


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (8, "v2 fails 0.8% of 1,000 requests, v1 1% of 19,000: better by 0.2 points (limit 0.5)"),
        (10, "v2 fails 1% of 1,000 requests, v1 1% of 19,000: no difference (limit 0.5 points)"),
        (20, "v2 fails 2% of 1,000 requests, v1 1% of 19,000: worse by 1 point (limit 0.5), which may still be chance"),
    ],
)
def test_errors_that_pass(bad: int, words: str) -> None:
    sample = compared(Metric.ERRORS, 0.005, (share(bad, 1000), share(190, 19_000)), past=share(190, 19_000))
    assert (sample.words, sample.outcome) == (words, Outcome.PASS)


def test_evidence_without_a_difference_beyond_the_tolerance_passes() -> None:
    """A candidate that was bad for a look and is good since: the rollout went on with the metric in dry run."""
    evidence = looked(begun(KINDS[Metric.ERRORS].shape, 0.005), [Stratum("", share(8, 1000), share(60, 10_000))])
    sure = replace(evidence, equal=((50.0,) * 12,), tolerated=((50.0,) * 12,))
    found = judged(Comparison(Metric.ERRORS, 0.005), sure, 100.0, ("v2", "v1"))
    assert found.outcome is Outcome.PASS
    assert found.words == "v2 fails 0.8% of 1,000 requests, v1 0.6% of 10,000: worse by 0.2 points (limit 0.5)"


def test_a_slow_first_token_fails() -> None:
    usual, slow = Tally(BOUNDS, (100, 600, 250, 40, 10)), Tally(BOUNDS, (10, 150, 225, 100, 15))
    sample = compared(Metric.TTFT, 0.05, (slow, usual.scaled(20)), past=usual)
    assert sample.words == (
        "the median time to first token of v2 is 0.35 s over 500 first tokens, that of v1 0.2 s over 20,000: "
        "v2 is slower in 71.6% of pairs (limit 55%)"
    )
    assert (sample.outcome, sample.unit) == (Outcome.FAIL, "seconds")
    assert (sample.candidate, sample.stable) == pytest.approx((0.35, 0.2))


def test_a_shorter_answer_is_a_difference_too() -> None:
    usual, cut = Tally((50.0, 200.0, 800.0), (100, 300, 500, 100)), Tally((50.0, 200.0, 800.0), (200, 200, 50, 0))
    sample = compared(Metric.OUTPUT_TOKENS, 0.1, (cut, usual.scaled(9)), past=usual)
    assert sample.words == (
        "the median length of an answer of v2 is 69 tokens over 450 answers, that of v1 320 tokens over 9,000: "
        "v2 is shorter in 79.4% of pairs (limit 60%)"
    )
    assert (sample.outcome, sample.unit) == (Outcome.FAIL, "tokens")


def test_without_requests_there_is_not_enough() -> None:
    sample = compared(Metric.EMPTY, 0.005, (share(0, 0), share(3, 100)))
    assert (sample.outcome, sample.effect, sample.candidate) == (Outcome.NOT_ENOUGH, None, None)
    assert sample.words == "v2 and v1 have had no answers at the same time yet"


@pytest.mark.parametrize(
    ("metric", "verb"),
    [(Metric.TRUNCATED, "truncates"), (Metric.EMPTY, "leaves empty"), (Metric.REFUSED, "refuses")],
)
def test_shares_of_answers_have_their_own_words(metric: Metric, verb: str) -> None:
    sample = compared(metric, 0.01, (share(5, 10), share(1, 100)))
    assert sample.words.startswith(f"v2 {verb} 50% of 10 answers, v1 1% of 100: worse by 49 points (limit 1)")


def test_the_bound_is_shared_by_the_metrics_that_are_judged() -> None:
    quiet = Comparison(Metric.TTFT, 0.05, dry_run=True)
    two = (Comparison(Metric.ERRORS, 0.005), Comparison(Metric.EMPTY, 0.005))
    assert fails_at(Analysis(false_alarms=0.01, comparisons=(*two, quiet))) == pytest.approx(200)
    assert fails_at(Analysis(false_alarms=0.05, comparisons=(quiet,))) == pytest.approx(20)


def sample(outcome: Outcome, dry_run: bool = False) -> Sample:
    return Sample("m", "ratio", None, None, 0, 0, outcome=outcome, dry_run=dry_run)


def test_one_failure_fails_and_dry_runs_do_not_count() -> None:
    p, f, n = sample(Outcome.PASS), sample(Outcome.FAIL), sample(Outcome.NOT_ENOUGH)
    assert overall([p, n, f]) is Outcome.FAIL
    assert overall([p, n]) is Outcome.NOT_ENOUGH
    assert overall([p, sample(Outcome.FAIL, dry_run=True), sample(Outcome.NOT_ENOUGH, dry_run=True)]) is Outcome.PASS
    assert overall([]) is Outcome.PASS


def test_numbers_are_short() -> None:
    assert [percent(x) for x in (0, 0.00001, 0.0005, 0.031, 0.5, 1)] == ["0%", "0.001%", "0.05%", "3.1%", "50%", "100%"]
    assert [points(x) for x in (0.005, 0.022, 0.1)] == ["0.5", "2.2", "10"]
    assert [count(x) for x in (0.4, 812.0, 1.5e9)] == ["0", "812", "1,500,000,000"]
    assert [quantity(x, "seconds") for x in (0.0123, 0.42, 12.5, None)] == ["12.3 ms", "0.42 s", "12.5 s", "unknown"]
    assert quantity(1310.4, "tokens") == "1,310 tokens"
    assert [duration(x) for x in (5, 60, 700, 8000, 90_000)] == [
        "1 minute", "1 minute", "12 minutes", "2 hours", "25 hours",
    ]  # fmt: skip
