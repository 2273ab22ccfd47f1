"""The worker of looks: it reads the counters of both versions, compares them, and checks thresholds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from controlplane.errors import ControlPlaneError
from controlplane.rollout.comparison.judging import overall
from controlplane.rollout.comparison.numbers import count, duration
from controlplane.rollout.evidence import SOURCES, Queries
from controlplane.rollout.findings import Finding, Outcome, Sample, Work
from controlplane.rollout.model import Plan, Rollout
from controlplane.rollout.options import Analysis
from controlplane.rollout.work.look_compare import Grown, compared
from controlplane.rollout.work.look_counters import (
    SYNTHETIC,
    Counter,
    Counters,
    counters,
    expression,
    growth,
    kept,
    total,
)
from controlplane.rollout.work.look_memory import Memory, from_carry, to_carry
from controlplane.rollout.work.look_sources import METRICS, REQUESTS, read_for
from controlplane.rollout.work.look_synthetic import TARGET, synthetic
from controlplane.rollout.work.look_thresholds import thresholds
from controlplane.rollout.work.top_up import TopUpCounts

LOOK_S = 30.0
"""Deadline of one look, in seconds. Chosen: half of the usual interval."""
PERIODS = 30
"""Number of periods of the stable version before the candidate's first request, each as long as the interval between
looks. The first look reads them: they show usual shares and times, and how much these scatter. Chosen: eight periods
left a standard error of 0.6 on the number of requests that fail together, thirty leave 0.3."""
MOST_CELLS = 6_000
"""Maximum number of counters and buckets that are kept for each target, a carry of some 200 KiB. Above it the sums over
all targets are kept, and a reset of one target is noticed only if the sum falls. Chosen."""


class LookWorker:
    """Takes looks. It changes nothing outside, so repeating a look only reads again."""

    def __init__(
        self,
        queries: Queries,
        now: Callable[[], float],
        topped_up: Callable[[str], TopUpCounts | None] = lambda rollout_id: None,
    ) -> None:
        """`now` returns the time of the samples' timeline in unix seconds.

        `topped_up` returns the counts of a rollout's synthetic requests, as TopUpWorker.counts does.
        """
        self._queries, self._now, self._topped_up = queries, now, topped_up

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """Take a look. Numbers that cannot be read are NOT_ENOUGH, and the next look goes on from the one before."""
        analysis = rollout.plan.options.analysis
        carry = "" if before is None else before.carry
        if analysis is None:
            return Finding(Outcome.NOT_ENOUGH, ("the rollout has no analysis",), carry=carry)
        now = self._now()
        try:
            async with asyncio.timeout(LOOK_S):
                memory, grown = await self._read(rollout, analysis, carry, since, now)
                limits = await thresholds(self._queries, rollout.plan, now)
        except TimeoutError:
            return _unknown(f"they could not be read within {LOOK_S:g} s", carry)
        except ControlPlaneError as error:
            return _unknown(str(error), carry)
        return found(rollout, analysis, memory, grown, limits, now)

    async def _read(
        self, rollout: Rollout, analysis: Analysis, carry: str, since: float, now: float
    ) -> tuple[Memory, Grown]:
        plan = rollout.plan
        memory = from_carry(carry) if carry else None
        sent = synthetic(self._topped_up(rollout.id))
        if memory is not None:
            fresh = {**await self._counters(plan, analysis, now, memory.by_instance), **sent}
            return memory, Grown(fresh, growth(memory.counters, fresh))
        at_now: Counters = await self._counters(plan, analysis, now, by_instance=True)
        by_instance = sum(map(len, at_now.values())) <= MOST_CELLS
        if not by_instance:
            at_now = await self._counters(plan, analysis, now, by_instance)
        began = min(now, since if rollout.traffic_since is None else rollout.traffic_since)
        ends = [began - back * analysis.interval_s for back in range(PERIODS, -1, -1)]
        read = await asyncio.gather(*(self._counters(plan, analysis, end, by_instance) for end in ends))
        history = []
        base: Counters = read[0]
        for end in read[1:]:
            history.append(growth(base, end))
            base = kept(base, end)
        base, at_now = {**base, **TARGET}, {**at_now, **sent}
        return Memory(began, by_instance, base), Grown(at_now, growth(base, at_now), tuple(history))

    async def _counters(self, plan: Plan, analysis: Analysis, at: float, by_instance: bool) -> Counters:
        names = read_for({comparison.metric: METRICS[comparison.metric] for comparison in analysis.comparisons})
        versions = (plan.to_version, plan.from_version)
        expr = expression(names, plan.model, versions, by_instance)
        return counters(await self._queries.instant_value(expr, at))


def found(
    rollout: Rollout, analysis: Analysis, memory: Memory, grown: Grown, limits: Sequence[Sample], now: float
) -> Finding:
    """Return the finding of a look that has read its numbers. Pure."""
    memory = replace(memory, requests_from=memory.requests_from or _requests_from(grown))
    comparisons = compared(rollout.plan, analysis, memory, grown)
    samples = (*comparisons.samples, *limits)
    requests, sent = _requests(rollout, memory, grown)
    after = replace(
        memory,
        at=now,
        counters=kept(memory.counters, grown.counters),
        requests=requests,
        synthetic=sent,
        sources=comparisons.sources,
        evidence=comparisons.evidence,
    )
    outcome, carry = overall(samples), to_carry(after)
    if outcome is Outcome.FAIL:
        return Finding(outcome, _words(samples, outcome), samples, carry=carry)
    missing = math.ceil(max(0.0, analysis.minimum_requests - requests))
    said = _words(samples, Outcome.NOT_ENOUGH)
    if not missing and outcome is Outcome.PASS:
        said = _words(samples, outcome) + comparisons.left_out + _sent(rollout, after)
        return Finding(outcome, said, samples, carry=carry)
    if not missing:
        return Finding(outcome, said, samples, carry=carry)
    wait = _wait(rollout, requests, missing, now)
    said = (_missing(rollout, analysis, after, grown, wait), *said)
    enough_at = None if wait is None else now + wait
    return Finding(Outcome.NOT_ENOUGH, said, samples, missing, enough_at, carry)


def _unknown(reason: str, carry: str) -> Finding:
    return Finding(Outcome.NOT_ENOUGH, (f"the numbers are not known: {reason}",), carry=carry)


def _words(samples: Sequence[Sample], outcome: Outcome) -> tuple[str, ...]:
    """Return the sentences of this outcome, those of dry runs last and marked."""
    chosen = [sample for sample in samples if sample.outcome is outcome]
    judged = tuple(sample.words for sample in chosen if not sample.dry_run)
    dry = tuple(f"{sample.words} (dry run)" for sample in samples if sample.dry_run)
    return judged if outcome is Outcome.FAIL else judged + dry


def _requests_from(grown: Grown) -> str:
    """Return the source that counts clients' requests: the first that counted any of either version."""
    periods = (grown.by, *grown.history)
    seen = {c.source for by in periods for c, v in by.items() if _counts_clients(c) and sum(v.values()) > 0}
    return next((source for source in SOURCES if source in seen), "")


def _counts_clients(counter: Counter) -> bool:
    return counter.name == REQUESTS and counter.instance != SYNTHETIC


def _requests(rollout: Rollout, memory: Memory, grown: Grown) -> tuple[float, float]:
    """Return the candidate's requests at its present weight, and the number of synthetic ones among them.

    An interval in which the weight changed does not count.
    """
    if rollout.weight_since is not None and rollout.weight_since > memory.at:
        return 0.0, 0.0
    fresh = total(grown.by, REQUESTS, memory.requests_from or SOURCES[0], rollout.plan.to_version)
    return memory.requests + sum(fresh.values()), memory.synthetic + fresh.get(SYNTHETIC, 0.0)


def _sent(rollout: Rollout, memory: Memory) -> tuple[str, ...]:
    if memory.synthetic <= 0:
        return ()
    of = f"{count(memory.synthetic)} of the {count(memory.requests)} requests to {rollout.plan.to_version}"
    return (f"{of} at this weight are synthetic",)


def _wait(rollout: Rollout, requests: float, missing: int, now: float) -> float | None:
    """Return the seconds until there are enough requests at the present rate, or None without a rate."""
    since = rollout.weight_since or rollout.traffic_since
    if since is None or requests <= 0 or now <= since:
        return None
    return missing * (now - since) / requests


def _missing(rollout: Rollout, analysis: Analysis, memory: Memory, grown: Grown, wait: float | None) -> str:
    plan, needed = rollout.plan, count(analysis.minimum_requests)
    if not memory.requests_from and memory.requests <= 0:
        return f"no source has counted a request to {plan.model}; {needed} to {plan.to_version} are needed"
    there = any(_counts_clients(c) and c.source == memory.requests_from for c in grown.counters)
    if memory.requests_from and not there:
        return f"the {memory.requests_from}'s counts of requests to {plan.model} cannot be read now"
    said = f"{plan.to_version} has had {count(memory.requests)} of the {needed} requests that this weight needs"
    if memory.synthetic > 0:
        said += f" ({count(memory.synthetic)} of them synthetic)"
    if memory.requests <= 0:
        return f"{said}, so it is not known when there will be enough"
    return said if wait is None else f"{said}; at the present rate there are enough in {duration(wait)}"
