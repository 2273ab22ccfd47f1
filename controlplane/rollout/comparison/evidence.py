"""Evidence against a candidate by one metric, look after look. Pure.

The evidence is against two null hypotheses. "Equal": the candidate is not worse at all. "Tolerated": the candidate is
worse by at most the tolerance. A candidate fails when the e-value against "equal" reaches the limit (judging.py), and
the e-value against "tolerated" reaches `TOLERATED`. So an equal candidate is rolled back with at most the probability
that the operator set, and a candidate that is worse within the tolerance with at most 1/TOLERATED. A test of
"tolerated" alone at the operator's bound needs about twice the requests (docs/adr/0016-verdicts-by-bets.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from controlplane.rollout.comparison.betting import log_growth, log_mixture, weights
from controlplane.rollout.comparison.effect import Effect
from controlplane.rollout.comparison.scatter import Habits, Scatter, habits_of
from controlplane.rollout.comparison.scores import Scores, ridits, share_scores
from controlplane.rollout.comparison.tally import EMPTY, Tally, added, aligned

TOLERATED = 10.0
"""Minimum e-value against "tolerated" of a candidate that fails: a tolerated difference rolls back with a probability
of at most 10%. Chosen. Measured for a difference of exactly the tolerance: docs/verdicts.md."""
KEPT = 0.8
"""Factor of the reference's counts at each look. A reference is then about the last five looks. Chosen."""
SHAKEN, LEAST_SHAKEN = 3.0, 20.0
"""A share's look is no evidence where the stable version itself has this many times the bad requests that its earlier
looks and the tolerance allow, and at least so many: both versions are in an incident, and its parts differ by chance.
Chosen: independent requests do so in less than 3 of 100,000 looks (a Poisson number of mean 20/3 is 20 or more), and a
base rate that drifts does not."""
MOST_LOG = 690.0
"""Maximum logarithm of an e-value that is shown, near the largest float64: e^690 is about 1e299."""


class Shape(StrEnum):
    """The shape of a metric's values."""

    SHARE = "share"
    """Share of bad requests."""
    LARGER = "larger"
    """Distribution of a quantity whose larger values are worse."""
    OTHER = "other"
    """Distribution of a quantity whose larger and smaller values are worse."""


@dataclass(frozen=True)
class Stratum:
    """The requests of one look in one stratum: growth since the look before."""

    name: str
    candidate: Tally
    stable: Tally


@dataclass(frozen=True)
class Evidence:
    """The evidence by one metric after any number of looks."""

    shape: Shape
    tolerance: float
    equal: tuple[tuple[float, ...], ...] = ()
    """Logarithm of each bet against "equal"; one row for each direction."""
    tolerated: tuple[tuple[float, ...], ...] = ()
    """The same against "tolerated"."""
    references: Mapping[str, Tally] = field(default_factory=dict)
    """The stable version's earlier requests by stratum, the later the heavier."""
    habits: Habits = field(default_factory=Habits)
    """Differences between the stable version's looks before the rollout."""
    scatter: Scatter = field(default_factory=Scatter)
    effect: Effect = field(default_factory=Effect)

    @property
    def log_equal(self) -> float:
        """Logarithm of the e-value against "equal"."""
        return _mixed(self.equal, self.shape)

    @property
    def log_tolerated(self) -> float:
        """Logarithm of the e-value against "tolerated"."""
        return _mixed(self.tolerated, self.shape)

    def against(self, fails_at: float) -> float:
        """Return one e-value that reaches `fails_at` when both nulls are rejected.

        It is at most the e-value against "equal", so it is itself one.
        """
        log = min(self.log_equal, self.log_tolerated + math.log(fails_at / min(TOLERATED, fails_at)))
        return math.exp(min(log, MOST_LOG))

    @property
    def size(self) -> float | None:
        """The difference in the unit of the tolerance, positive when the candidate is worse. None without requests."""
        rank = self.effect.mean_rank
        if rank is None:
            return None
        if self.shape is Shape.SHARE:
            # Of two buckets the AUC - 0.5 is half the difference of their shares.
            return 2.0 * rank
        return abs(rank) if self.shape is Shape.OTHER else rank


def begun(shape: Shape, tolerance: float, history: Sequence[Mapping[str, Tally]] = ()) -> Evidence:
    """Return the evidence before the first look.

    `history` holds the stable version's requests by stratum, one item for each earlier period of a look's length,
    oldest first.
    """
    bets = tuple([0.0] * len(weights(shape is not Shape.SHARE)))
    rows = (bets, bets) if shape is Shape.OTHER else (bets,)
    references: dict[str, Tally] = {}
    for period in history:
        references = _references(references, period)
    periods = [_period(shape, references, period) for period in history]
    return Evidence(shape, tolerance, rows, rows, references, habits_of([p for p in periods if p is not None]))


def looked(before: Evidence, strata: Sequence[Stratum]) -> Evidence:
    """Return the evidence after a look.

    Scores, stakes and the power 1/φ depend only on earlier looks and on the numbers of requests of this look. So the
    result is valid at every look. The first look at a stratum without a past only sets its reference. A look in an
    incident is no evidence (SHAKEN): the e-value then keeps its value, so its expectation grows by at most 3e-5.
    """
    both = [stratum for stratum in strata if stratum.candidate.total > 0 and stratum.stable.total > 0]
    sides = [(stratum, *_aligned(before, stratum)) for stratum in both]
    ready = [(candidate, stable, scores) for _, candidate, stable, scores in sides if scores is not None]
    ready = [] if _is_shaken(before, ready) else ready
    equal, tolerated = np.array(before.equal), np.array(before.tolerated)
    scatter = before.scatter
    if ready:
        variance = _variance(before, ready)
        power = 1.0 / max(_clump(before), scatter.factor(variance, _expected(before, ready)))
        for candidate, stable, scores in ready:
            for row, direction in enumerate(_directions(before.shape, scores)):
                equal[row] += power * log_growth(candidate, stable, direction, 0.0)
                tolerated[row] += power * log_growth(candidate, stable, direction, before.tolerance)
    effect = before.effect
    for stratum in both:
        effect = effect.after(stratum.candidate, stratum.stable)
    after = replace(before, effect=effect)
    if ready:
        scatter = scatter.after(_difference(ready), _variance(after, ready))
    return replace(
        after,
        equal=tuple(map(tuple, equal.tolist())),
        tolerated=tuple(map(tuple, tolerated.tolist())),
        references=_references(before.references, {stratum.name: stratum.stable for stratum in strata}),
        scatter=scatter,
    )


def _aligned(before: Evidence, stratum: Stratum) -> tuple[Tally, Tally, Scores | None]:
    reference = before.references.get(stratum.name, EMPTY)
    candidate, stable, past = aligned(stratum.candidate, stratum.stable, reference)
    scores = share_scores(past) if before.shape is Shape.SHARE else ridits(past)
    return candidate, stable, scores


def _directions(shape: Shape, scores: Scores) -> tuple[Scores, ...]:
    return (scores, scores._replace(of=1.0 - scores.of)) if shape is Shape.OTHER else (scores,)


Side = tuple[Tally, Tally, Scores]


def _difference(sides: Sequence[Side]) -> float:
    """Return the difference of the mean scores of a look, its strata weighted by the candidate's requests."""
    n = sum(candidate.total for candidate, _, _ in sides)
    return sum(c.total * (_mean(c, s) - _mean(o, s)) for c, o, s in sides) / n


def _mean(tally: Tally, scores: Scores) -> float:
    return float((np.asarray(tally.counts) * scores.of).sum()) / tally.total


def _variance(of: Evidence, sides: Sequence[Side]) -> float:
    """Return the variance of `_difference` if requests are independent, from the looks that `of` holds."""
    n = sum(candidate.total for candidate, _, _ in sides)
    own = None
    if of.shape is Shape.SHARE and of.effect.candidate_requests > 0:
        p = (of.effect.candidate.counts[-1] + 0.5) / (of.effect.candidate_requests + 1.0)
        own = p * (1.0 - p)
    total = 0.0
    for candidate, stable, scores in sides:
        one = float(scores.variance_at(np.array([scores.center]))[0])
        total += candidate.total**2 * (max(one, own or 0.0) / candidate.total + one / stable.total)
    return total / n**2


def _expected(before: Evidence, sides: Sequence[Side]) -> float:
    """Return the standard deviation that the difference of a look is expected to have at any number of requests.

    The stable version's looks before the rollout show its variance, which counts twice for two versions. The minimum is
    half of the tolerance, because the operator calls such differences no fault. A share's minimum is at most half of
    the share.
    """
    half = before.tolerance / 2
    if before.shape is Shape.SHARE:
        n = sum(candidate.total for candidate, _, _ in sides)
        half = min(half, sum(candidate.total * scores.center for candidate, _, scores in sides) / n / 2)
    return max(half, math.sqrt(2.0 * before.habits.variance))


def _is_shaken(before: Evidence, sides: Sequence[Side]) -> bool:
    """Return whether far more of the stable version's requests are bad in this look than before it."""
    if before.shape is not Shape.SHARE:
        return False
    bad = sum(stable.counts[-1] for _, stable, _ in sides)
    usual = sum(stable.total * (scores.center + before.tolerance) for _, stable, scores in sides)
    return bad >= max(LEAST_SHAKEN, SHAKEN * usual)


def _clump(before: Evidence) -> float:
    """Return the number of requests that fail together.

    Times have none: a full queue makes more requests slow the more requests there are, which `scatter.py` measures.
    """
    return before.habits.clump if before.shape is Shape.SHARE else 1.0


def _references(before: Mapping[str, Tally], stable: Mapping[str, Tally]) -> dict[str, Tally]:
    kept = dict(before)
    for name, tally in stable.items():
        if tally.total > 0:
            kept[name] = added(kept.get(name, EMPTY).scaled(KEPT), tally)
    return kept


def _period(shape: Shape, references: Mapping[str, Tally], stable: Mapping[str, Tally]) -> tuple[float, float] | None:
    """Return mean score and variance of a period of the stable version, or None without requests."""
    total = mean = variance = 0.0
    for name, tally in stable.items():
        if tally.total > 0:
            counts, past = aligned(tally, references[name])
            scores = share_scores(past) if shape is Shape.SHARE else ridits(past)
            assert scores is not None  # the reference holds this period
            total += counts.total
            mean += counts.total * _mean(counts, scores)
            variance += counts.total * float(scores.variance_at(np.array([scores.center]))[0])
    return (mean / total, variance / total**2) if total > 0 else None


def _mixed(rows: Sequence[Sequence[float]], shape: Shape) -> float:
    shares = weights(shape is not Shape.SHARE)
    logs = np.array([log_mixture(np.array(row), shares) for row in rows])
    return log_mixture(logs, np.full(len(rows), 1.0 / len(rows)))
