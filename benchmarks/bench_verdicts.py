"""How often an equal candidate is rolled back, and how many requests show a bad one.

    python benchmarks/bench_verdicts.py [--rollouts 200] [--seed 1] [--parts equal bad others]

Every rollout has ten looks at six metrics, and is judged by `controlplane/rollout/comparison` as the worker of looks
does it, with the default tolerances and a bound of 1%. Beside it, on the same streams: Kayenta's default rule (any of
the metrics `High`), once after ten looks and at each look from the fifth, and one-sided tests at 5% that are not
corrected for anything. Takes some eight minutes with the defaults.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, median

import numpy as np
from verdicts.contenders import FIRST, first, hypergeometric, kayenta, normal_mixture, uncorrected
from verdicts.streams import (
    LOOKS,
    STEADY,
    STREAMS,
    TOLERANCES,
    WORLDS,
    Seen,
    Share,
    World,
    rollout,
    sizes,
    stream,
)

from controlplane.rollout.comparison.evidence import Shape, Stratum, begun, looked
from controlplane.rollout.comparison.judging import fails_at, judged
from controlplane.rollout.comparison.metrics import KINDS
from controlplane.rollout.comparison.tally import Tally
from controlplane.rollout.findings import Outcome
from controlplane.rollout.options import Analysis, Comparison, Metric

REQUESTS = (100, 1_000, 10_000)
BAD: Mapping[str, Mapping[Metric, float]] = {
    "errors 1% to 3%": {Metric.ERRORS: 3.0},
    "TTFT +30%": {Metric.TTFT: 1.3},
}
ANALYSIS = Analysis(comparisons=tuple(Comparison(metric, TOLERANCES[metric]) for metric in STREAMS))
LIMIT = fails_at(ANALYSIS)
CANDIDATE, STABLE = "v2", "v1"


@dataclass
class Tried:
    """How many of the rollouts each rule rolled back, and at which look."""

    rollouts: int = 0
    looks: dict[str, list[int]] = field(default_factory=dict)

    def add(self, **found: int | None) -> None:
        """Count one rollout: the look at which each rule rolled it back, or None."""
        self.rollouts += 1
        for rule, look in found.items():
            self.looks.setdefault(rule, [])
            if look is not None:
                self.looks[rule].append(look)

    def count(self, rule: str) -> int:
        """Return how many rollouts a rule rolled back."""
        return len(self.looks.get(rule, []))

    def share(self, rule: str) -> str:
        """Return the share of rollouts as text."""
        return f"{self.count(rule) / self.rollouts:.1%}"

    def interval(self, rule: str) -> str:
        """Return the 95% confidence interval of the share as text, by Wilson's score (1927)."""
        n, p, z = self.rollouts, self.count(rule) / self.rollouts, NormalDist().inv_cdf(0.975)
        middle = (p + z * z / 2 / n) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n) / (1 + z * z / n)
        return f"{max(0.0, middle - half):.1%}-{middle + half:.1%}"


def sequential(
    metric: Metric, past: Sequence[Tally], looks: Sequence[Seen], tolerance: float | None = None
) -> int | None:
    """Return the look at which this product fails a metric, or None."""
    comparison = Comparison(metric, TOLERANCES[metric] if tolerance is None else tolerance)
    evidence = begun(KINDS[metric].shape, comparison.tolerance, [{"": tally} for tally in past])
    for number, seen in enumerate(looks, 1):
        evidence = looked(evidence, [Stratum("", seen.candidate, seen.stable)])
        if judged(comparison, evidence, LIMIT, (CANDIDATE, STABLE)).outcome is Outcome.FAIL:
            return number
    return None


def equal(rng: np.random.Generator, world: World, requests: int, rollouts: int) -> Tried:
    """Return what becomes of rollouts whose candidate is equal."""
    tried = Tried()
    for _ in range(rollouts):
        streams = list(rollout(rng, world, requests))
        tried.add(
            ours=_earliest(sequential(metric, past, looks) for metric, past, looks in streams),
            once=LOOKS if any(kayenta(looks) for _, _, looks in streams) else None,
            each=_earliest(first(kayenta, looks, FIRST) for _, _, looks in streams),
            plain=_earliest(first(uncorrected, looks) for _, _, looks in streams),
        )
    return tried


def bad(rng: np.random.Generator, world: World, requests: int, rollouts: int, worse: Mapping[Metric, float]) -> Tried:
    """Return what becomes of rollouts whose candidate is worse in one metric, judged by this metric."""
    ((metric, factor),) = worse.items()
    tried = Tried()
    for _ in range(rollouts):
        past, looks = stream(rng, STREAMS[metric], world, requests, factor)
        tried.add(
            ours=sequential(metric, past, looks),
            once=LOOKS if kayenta(looks) else None,
            each=first(kayenta, looks, FIRST),
            plain=first(uncorrected, looks),
        )
    return tried


def edge(rng: np.random.Generator, requests: int, rollouts: int) -> Tried:
    """Return what becomes of candidates whose errors are worse by just the tolerance: 1.5% instead of 1%."""
    return bad(rng, STEADY, requests, rollouts, {Metric.ERRORS: 1.0 + TOLERANCES[Metric.ERRORS] / 0.01})


def coarse(rng: np.random.Generator, rollouts: int) -> Tried:
    """Return false alarms by one metric whose buckets are coarse: 1% of requests are in the upper one of two.

    Five requests of the candidate a look. Each rule may reject at LIMIT, the part of one of six metrics.
    """
    tried = Tried()
    for _ in range(rollouts):
        past, looks = stream(rng, Share(0.01), STEADY, 5 * LOOKS)
        ranks = [Seen(*(Tally((1.0,), t.counts) for t in (seen.candidate, seen.stable))) for seen in looks]
        tried.add(
            ours=sequential(Metric.TTFT, [Tally((1.0,), tally.counts) for tally in past], ranks, 0.0),
            normal=1 if normal_mixture(ranks, LIMIT) else None,
        )
    return tried


def alternatives(rng: np.random.Generator, requests: int, rollouts: int) -> Tried:
    """Return the power on errors 1% to 3% of this test, of its parts alone, and of the conditional test.

    The conditional test has no tolerance, so it compares with the part against "equal".
    """
    tried, limit = Tried(), math.log(LIMIT)
    for _ in range(rollouts):
        past, looks = stream(rng, STREAMS[Metric.ERRORS], STEADY, requests, 3.0)
        evidence = begun(Shape.SHARE, TOLERANCES[Metric.ERRORS], [{"": tally} for tally in past])
        equal = tolerated = None
        for number, seen in enumerate(looks, 1):
            evidence = looked(evidence, [Stratum("", seen.candidate, seen.stable)])
            equal = equal or (number if evidence.log_equal >= limit else None)
            tolerated = tolerated or (number if evidence.log_tolerated >= limit else None)
        tried.add(
            ours=sequential(Metric.ERRORS, past, looks),
            equal=equal,
            tolerated=tolerated,
            conditional=1 if hypergeometric(looks, LIMIT) else None,
        )
    return tried


def _earliest(found: Iterable[int | None]) -> int | None:
    return min((look for look in found if look is not None), default=None)


def _table(title: str, rows: Iterable[tuple[str, int, Tried]], requests_shown: bool) -> None:
    print(f"\n{title}")
    print(f"{'':66}{'requests':>9}{'ours':>8}{'95% interval':>14}", end="")
    print(f"{'Kayenta once':>14}{'at each look':>14}{'uncorrected':>13}", end="")
    print(f"{'  requests to verdict' if requests_shown else ''}")
    for name, requests, tried in rows:
        shares = [tried.share(rule) for rule in ("ours", "once", "each", "plain")]
        print(f"{name:66}{requests:>9,}{shares[0]:>8}{tried.interval('ours'):>14}", end="")
        print(f"{shares[1]:>14}{shares[2]:>14}{shares[3]:>13}", end="")
        if requests_shown and tried.count("ours"):
            upto = median(sum(n for n, _ in sizes(STEADY, requests)[:look]) for look in tried.looks["ours"])
            print(f"{upto:>21,.0f}", end="")
        print(flush=True)


def _equals(rng: np.random.Generator, rollouts: int) -> None:
    _table(
        "An equal candidate is rolled back (A/A)",
        ((world.name, n, equal(rng, world, n, rollouts)) for world in WORLDS for n in REQUESTS),
        requests_shown=False,
    )


def _bads(rng: np.random.Generator, rollouts: int) -> None:
    _table(
        "A bad candidate is found: weight 5%, steady",
        ((name, n, bad(rng, STEADY, n, rollouts, worse)) for name, worse in BAD.items() for n in REQUESTS),
        requests_shown=True,
    )
    few = max(1, rollouts // 2)
    noisy = (
        (f"{name}; {world.name}", n, bad(rng, world, n, few, worse))
        for world in WORLDS[1:]
        for name, worse in BAD.items()
        for n in REQUESTS[1:]
    )
    _table("A bad candidate is found, in other worlds", noisy, requests_shown=False)
    _table(
        "A candidate that is worse by just the tolerance is rolled back",
        [("errors 1% to 1.5%, limit 0.5 points", n, edge(rng, n, rollouts)) for n in REQUESTS],
        requests_shown=False,
    )


def _others(rng: np.random.Generator, rollouts: int) -> None:
    print(f"\nOther sequential tests, by one of six metrics (bound {1 / LIMIT:.2%})")
    found = coarse(rng, rollouts * 4)
    print(f"coarse buckets, equal: bets on ranks {found.share('ours')}, normal mixture {found.share('normal')}")
    for n in REQUESTS[1:]:
        found = alternatives(rng, n, max(1, rollouts // 2))
        print(f"errors 1% to 3%, {n:,} requests: ours {found.share('ours')};", end=" ")
        print(f'"equal" alone {found.share("equal")}, "tolerated" alone {found.share("tolerated")},', end=" ")
        print(f"noncentral hypergeometric {found.share('conditional')}")


PARTS = {"equal": _equals, "bad": _bads, "others": _others}


def main(argv: Sequence[str]) -> None:
    """Print all tables, or those of some parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args(argv)
    began = time.monotonic()
    print(f"{args.rollouts} rollouts a row; six metrics, ten looks, a bound of 1%: a metric fails at e = {LIMIT:g}")
    for part in args.parts:
        PARTS[part](np.random.default_rng(args.seed), args.rollouts)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
