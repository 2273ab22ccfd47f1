"""Simulated rollouts for bench_verdicts.py: what a gateway's counters of two versions grow by, look after look.

Each of the six metrics of a rollout is a stream of looks. Times are lognormal and seen in the gateway's buckets, six a
decade. A world says how the looks differ from each other without any fault of the candidate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from controlplane.rollout.comparison.tally import Tally, share
from controlplane.rollout.options import Metric
from controlplane.rollout.planning.building import DEFAULT_TOLERANCES
from controlplane.rollout.work.look import PERIODS

LOOKS = 10
PAST = PERIODS
"""Periods of the stable version before the rollout, as the worker of looks reads them."""
INCIDENT_LOOK, INCIDENT = 4, 0.1
"""Index of the look with an incident, and the share of requests that it makes bad. Chosen."""
BOUNDS = tuple(mantissa * 10.0**power for power in range(-3, 3) for mantissa in (1, 1.5, 2, 3, 5, 7))
ERF = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True)
class Share:
    """A share of bad requests."""

    base: float


@dataclass(frozen=True)
class Times:
    """A lognormal time: median in seconds, and the standard deviation of its logarithm."""

    median: float
    sigma: float


STREAMS: Mapping[Metric, Share | Times] = {
    Metric.ERRORS: Share(0.01),
    Metric.TTFT: Times(0.3, 0.5),
    Metric.INTER_TOKEN: Times(0.02, 0.3),
    Metric.DURATION: Times(4.0, 0.8),
    Metric.TRUNCATED: Share(0.08),
    Metric.EMPTY: Share(0.005),
}
"""Six metrics of a model behind a gateway. Chosen."""
TOLERANCES = {metric: DEFAULT_TOLERANCES[metric] for metric in STREAMS}
"""The defaults of fleet.yaml."""


@dataclass(frozen=True)
class World:
    """How looks differ from each other. All factors are of both versions, unless they are `own`."""

    name: str
    weights: tuple[float, ...] = (0.05,) * LOOKS
    """The candidate's share of the requests in each look."""
    day: float = 0.0
    """Factor by which the share of errors, and by whose square root times, rise and fall over the looks."""
    own: float = 0.0
    """Standard deviation of the logarithm of a factor that each version's times have in each look. Shares: fivefold."""
    clump: int = 1
    """Number of requests that fail together."""
    session: float = 1.0
    """Mean number of requests of a session that fail together. The numbers are geometric."""
    lasting: float = 0.0
    """Correlation of a version's own factor with that of the look before."""
    incident: float = 0.0
    """Standard deviation of the logarithm of the size of an incident that hits both versions in one look."""


STEADY = World("weight 5%, steady")
GROWING = World("weights 5 to 75%, steady", (0.05, 0.05, 0.1, 0.1, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75))
WORLDS = (
    STEADY,
    GROWING,
    World("weights 5 to 75%, base rate x 4 over the day", GROWING.weights, day=4.0),
    World("failures in threes (a client's retries)", clump=3),
    World("failures by sessions of 5 requests on average", session=5.0),
    World("queues: each version's own factor, sd 10%", own=0.1),
    World("the same, drifting (correlation 0.8 from look to look)", own=0.1, lasting=0.8),
    World("an incident of both versions, their parts with sd 50%", incident=0.5),
)


@dataclass(frozen=True)
class Seen:
    """One look at one metric."""

    candidate: Tally
    stable: Tally


def sizes(world: World, requests: int) -> list[tuple[int, int]]:
    """Return the requests of candidate and stable version in each look: together the candidate gets `requests`."""
    every = requests / sum(world.weights)
    return [(max(1, round(every * w)), max(1, round(every * (1 - w)))) for w in world.weights]


def stream(
    rng: np.random.Generator, of: Share | Times, world: World, requests: int, worse: float = 1.0
) -> tuple[list[Tally], list[Seen]]:
    """Return the stable version's past and the looks. `worse`: factor of the candidate's share or times."""
    per_look = sizes(world, requests)
    theirs, ours = _own(rng, world, PAST + LOOKS), _own(rng, world, LOOKS)
    past = [_drawn(rng, of, world, per_look[0][1], own) for own in theirs[:PAST]]
    looks = []
    for number, (n, m) in enumerate(per_look):
        day = 1.0 + (world.day - 1.0) * math.sin(math.pi * number / LOOKS) if world.day else 1.0
        hit = [0.0, 0.0]
        if world.incident and number == INCIDENT_LOOK:
            hit = [INCIDENT * math.exp(world.incident * float(z)) for z in rng.standard_normal(2)]
        candidate = _drawn(rng, of, world, n, ours[number], day * worse, math.sqrt(day) * worse, hit[0])
        stable = _drawn(rng, of, world, m, theirs[PAST + number], day, math.sqrt(day), hit[1])
        looks.append(Seen(candidate, stable))
    return past, looks


def _own(rng: np.random.Generator, world: World, periods: int) -> list[float]:
    """Return the logarithms of a version's own factor, one for each period: an autoregressive process."""
    if not world.own:
        return [0.0] * periods
    found = [float(rng.standard_normal())]
    fresh = math.sqrt(1.0 - world.lasting**2)
    while len(found) < periods:
        found.append(world.lasting * found[-1] + fresh * float(rng.standard_normal()))
    return [world.own * each for each in found]


def rollout(
    rng: np.random.Generator, world: World, requests: int, worse: Mapping[Metric, float] | None = None
) -> Iterator[tuple[Metric, list[Tally], list[Seen]]]:
    """Yield the six streams of one rollout."""
    for metric, of in STREAMS.items():
        yield metric, *stream(rng, of, world, requests, (worse or {}).get(metric, 1.0))


def _drawn(
    rng: np.random.Generator,
    of: Share | Times,
    world: World,
    n: int,
    own: float,
    rate: float = 1.0,
    slow: float = 1.0,
    hit: float = 0.0,
) -> Tally:
    """Return the requests of one version in one look. `rate` and `slow`: factors of a share and of times."""
    if isinstance(of, Share):
        bad = min(1.0, of.base * rate * math.exp(5 * own - (5 * world.own) ** 2 / 2) + hit)
        return share(float(min(n, _bad(rng, world, n, bad))), float(n))
    median = of.median * slow * math.exp(own) * (1 + 3 * hit)
    z = (np.log(BOUNDS) - math.log(median)) / of.sigma / math.sqrt(2)
    below = np.concatenate([[0.0], (1 + ERF(z).astype(float)) / 2, [1.0]])
    return Tally(BOUNDS, tuple(rng.multinomial(n, np.diff(below)).astype(float).tolist()))


def _bad(rng: np.random.Generator, world: World, n: int, chance: float) -> int:
    """Return the number of bad ones among n requests. Those of a clump or of a session are bad together."""
    if world.session > 1.0:
        sessions = int(rng.binomial(max(1, round(n / world.session)), chance))
        return int(rng.geometric(1 / world.session, sessions).sum())
    return int(world.clump * rng.binomial(max(1, n // world.clump), chance))
