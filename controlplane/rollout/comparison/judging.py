"""The result of one metric: outcome, numbers and a sentence. Pure.

The operator's bound on false alarms is divided equally among the metrics (Bonferroni): each of K metrics fails at an
e-value of K divided by the bound. Metrics in dry run get no share, and fail at the same e-value.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.rollout.comparison.evidence import Evidence, Shape
from controlplane.rollout.comparison.metrics import KINDS, Kind
from controlplane.rollout.comparison.numbers import count, percent, points, quantity
from controlplane.rollout.findings import Outcome, Sample
from controlplane.rollout.options import Analysis, Comparison

EXPECTED = 5.0
"""Expected number of the candidate's observations from which a count of 0 is a reason to wait. Chosen: chance alone
causes it in less than 1% of looks (e^-5)."""


def fails_at(analysis: Analysis) -> float:
    """Return the e-value from which a comparison fails."""
    judged = sum(not comparison.dry_run for comparison in analysis.comparisons)
    return max(1, judged) / analysis.false_alarms


def judged(comparison: Comparison, evidence: Evidence, limit: float, versions: tuple[str, str]) -> Sample:
    """Return the sample of one metric with its outcome. `versions`: candidate and stable version.

    FAIL: the evidence reaches `limit` and the difference is at least the tolerance. NOT_ENOUGH: the versions have no
    observations of the same time. Else PASS; the caller checks that the candidate has had enough requests.
    """
    kind, size = KINDS[comparison.metric], evidence.size
    against = evidence.against(limit)
    failed = size is not None and against >= limit and size >= comparison.tolerance
    outcome = Outcome.NOT_ENOUGH if size is None else Outcome.FAIL if failed else Outcome.PASS
    candidate, stable = _values(kind, evidence)
    return Sample(
        metric=comparison.metric.value,
        unit=kind.unit,
        candidate=candidate,
        stable=stable,
        candidate_requests=evidence.effect.candidate_requests,
        stable_requests=evidence.effect.stable_requests,
        effect=size,
        evidence=against,
        fails_at=limit,
        outcome=outcome,
        words=_words(comparison, evidence, outcome, versions),
        dry_run=comparison.dry_run,
    )


def overall(samples: Sequence[Sample]) -> Outcome:
    """Return FAIL if one sample failed, NOT_ENOUGH if one has not enough, else PASS. Dry runs do not count."""
    outcomes = {sample.outcome for sample in samples if not sample.dry_run}
    return next((outcome for outcome in (Outcome.FAIL, Outcome.NOT_ENOUGH) if outcome in outcomes), Outcome.PASS)


def _values(kind: Kind, evidence: Evidence) -> tuple[float | None, float | None]:
    ours, theirs = evidence.effect.candidate, evidence.effect.stable
    if ours.total <= 0:
        return None, None
    if kind.shape is Shape.SHARE:
        return ours.counts[-1] / ours.total, theirs.counts[-1] / theirs.total
    return ours.quantile(0.5), theirs.quantile(0.5)


def _words(comparison: Comparison, evidence: Evidence, outcome: Outcome, versions: tuple[str, str]) -> str:
    kind = KINDS[comparison.metric]
    ours, theirs = versions
    n, m = evidence.effect.candidate_requests, evidence.effect.stable_requests
    size = evidence.size
    if size is None:
        return f"{ours} and {theirs} have had no {kind.noun} at the same time yet"
    candidate, stable = _values(kind, evidence)
    if kind.shape is Shape.SHARE:
        assert candidate is not None and stable is not None  # a share has a value where there is a size
        facts = f"{ours} {kind.does} {percent(candidate)} of {count(n)} {kind.noun}, {theirs} {percent(stable)}"
        facts += f" of {count(m)}"
        if abs(size) < 5e-5:
            return f"{facts}: no difference (limit {_in_points(comparison.tolerance)})"
        limit = points(comparison.tolerance)
        told = f"{facts}: {'worse' if size > 0 else 'better'} by {_in_points(abs(size))} (limit {limit})"
    else:
        told = _ranked(kind, evidence, comparison.tolerance, versions)
    chance = outcome is Outcome.PASS and size >= comparison.tolerance
    return f"{told}, which may still be chance" if chance else told


def _in_points(share: float) -> str:
    told = points(share)
    return f"{told} point" if told == "1" else f"{told} points"


def _ranked(kind: Kind, evidence: Evidence, tolerance: float, versions: tuple[str, str]) -> str:
    ours, theirs = versions
    candidate, stable = _values(kind, evidence)
    n, m = count(evidence.effect.candidate_requests), count(evidence.effect.stable_requests)
    facts = f"the median {kind.does} of {ours} is {quantity(candidate, kind.unit)} over {n} {kind.noun}"
    facts += f", that of {theirs} {quantity(stable, kind.unit)} over {m}"
    rank = evidence.effect.mean_rank or 0.0
    word = "slower"
    if kind.shape is Shape.OTHER:
        word, rank = ("longer", rank) if rank >= 0 else ("shorter", -rank)
    return f"{facts}: {ours} is {word} in {percent(0.5 + rank)} of pairs (limit {percent(0.5 + tolerance)})"
