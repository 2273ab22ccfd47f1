"""Comparison of mirrored answers: the candidate's answers to copies against the stable version's to the same clients.

Nothing is stored of any answer. The gateways count answers to copies by status, end, emptiness, refusal and length, as
they count those of clients, and the two distributions are compared as a look compares them. Times are left out: a copy
does not wait in a queue, and its engine has less to do.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from controlplane.errors import ControlPlaneError
from controlplane.rollout.comparison.evidence import Evidence, Stratum, begun, looked
from controlplane.rollout.comparison.judging import fails_at, judged, overall
from controlplane.rollout.comparison.metrics import KINDS
from controlplane.rollout.comparison.numbers import count
from controlplane.rollout.comparison.tally import EMPTY
from controlplane.rollout.evidence import Queries
from controlplane.rollout.findings import Finding, Outcome, Sample, Work
from controlplane.rollout.model import Plan, Rollout
from controlplane.rollout.options import Analysis, Comparison, Metric
from controlplane.rollout.planning.building import DEFAULT_TOLERANCES
from controlplane.rollout.work.look_counters import (
    LABELS,
    NAME,
    Counters,
    counters,
    expression,
    growth,
    kept,
    total,
)
from controlplane.rollout.work.look_sources import METRICS, REQUESTS, Failures, Source

READ_S = 30.0
"""Deadline of one comparison, in seconds. As for a look."""
BEFORE, PERIODS = 8, 12
"""Number of periods of the stable version before the copies, and the most periods of the copies."""
STRICTER = 10.0
"""Factor on the e-value from which a comparison fails. So this step adds a tenth of `false_alarms` to the bound of the
looks."""
COPIES = "controlplane_gateway_mirrored_requests_total"


class Pair(NamedTuple):
    """The sources of one metric: of the candidate's copies, and of the stable version's clients."""

    copies: Source
    clients: Source


PAIRS: Mapping[Metric, Pair] = MappingProxyType(
    {Metric.ERRORS: Pair(Failures("gateway", COPIES), Failures("gateway", REQUESTS))}
    | {
        metric: Pair(METRICS[metric][0], METRICS[metric][0])
        for metric in (Metric.TRUNCATED, Metric.EMPTY, Metric.REFUSED, Metric.OUTPUT_TOKENS)
    }
)
"""The metrics that are compared. All are the gateways' own."""


class MirroredWorker:
    """A rollout.workers.Worker: compares the mirrored answers since the step began. Repeating it only reads again."""

    def __init__(self, queries: Queries, now: Callable[[], float]) -> None:
        """`now` returns the time of the samples' timeline in unix seconds."""
        self._queries, self._now = queries, now

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """Return FAIL where the candidate's answers are worse. Too few copies, or no numbers, are NOT_ENOUGH."""
        analysis, now = rollout.plan.options.analysis or Analysis(), self._now()
        began = min(now, since if rollout.held_since is None else rollout.held_since)
        try:
            async with asyncio.timeout(READ_S):
                history, periods = await self._read(rollout.plan, analysis, began, now)
        except TimeoutError:
            return Finding(Outcome.NOT_ENOUGH, (f"the numbers could not be read within {READ_S:g} s",))
        except ControlPlaneError as error:
            return Finding(Outcome.NOT_ENOUGH, (f"the numbers are not known: {error}",))
        return compared(rollout.plan, analysis, history, periods)

    async def _read(
        self, plan: Plan, analysis: Analysis, began: float, now: float
    ) -> tuple[list[Counters], list[Counters]]:
        """Return what the counters grew by in each period before the copies, and in each period of the copies."""
        number = max(1, min(PERIODS, int((now - began) / analysis.interval_s)))
        starts = [began - back * analysis.interval_s for back in range(BEFORE, 0, -1)]
        ends = [began + (now - began) * each / number for each in range(number + 1)]
        read = await asyncio.gather(*(self._counters(plan, at) for at in (*starts, *ends)))
        grown: list[Counters] = []
        base: Counters = read[0]
        for end in read[1:]:
            grown.append(growth(base, end))
            base = kept(base, end)
        return grown[:BEFORE], grown[BEFORE:]

    async def _counters(self, plan: Plan, at: float) -> Counters:
        clients = sorted({name for pair in PAIRS.values() for name in pair.clients.names})
        copies = sorted({name for pair in PAIRS.values() for name in pair.copies.names})
        of_clients, of_copies = await asyncio.gather(
            self._queries.instant_value(expression(clients, plan.model, (plan.from_version,)), at),
            self._queries.instant_value(_of_copies(copies, plan.model, plan.to_version), at),
        )
        return {**counters(of_clients), **counters(of_copies)}


def _of_copies(names: Sequence[str], model: str, version: str) -> str:
    """Return PromQL for the counters of copies to a version. The count of copies itself has no label `traffic`."""
    matchers = f'{NAME}=~"{"|".join(names)}", model={json.dumps(model)}, version={json.dumps(version)}'
    return f'sum by ({", ".join((NAME, *LABELS, "le"))}) ({{{matchers}, traffic=~"|mirror"}})'


def compared(plan: Plan, analysis: Analysis, history: Sequence[Counters], periods: Sequence[Counters]) -> Finding:
    """Return the finding about what the counters grew by. Pure."""
    chosen = _comparisons(analysis)
    limit = STRICTER * fails_at(replace(analysis, comparisons=chosen))
    samples: list[Sample] = []
    left_out: list[str] = []
    for comparison in chosen:
        evidence = _evidence(plan, comparison, history, periods)
        sample = judged(comparison, evidence, limit, (plan.to_version, plan.from_version))
        if sample.outcome is Outcome.NOT_ENOUGH and comparison.metric is not Metric.ERRORS:
            left_out.append(f"{comparison.metric.value} is not compared: {sample.words}")
        else:
            samples.append(sample)
    outcome = overall(samples)
    copies = sum(sum(total(grown, COPIES, "", plan.to_version).values()) for grown in periods)
    missing = math.ceil(max(0.0, analysis.minimum_requests - copies))
    words = tuple(sample.words for sample in samples if sample.outcome is outcome and not sample.dry_run)
    words += tuple(f"{sample.words} (dry run)" for sample in samples if sample.dry_run)
    if outcome is not Outcome.FAIL and missing:
        said = f"{plan.to_version} has had {count(copies)} of the {count(analysis.minimum_requests)} copies of requests"
        return Finding(Outcome.NOT_ENOUGH, (said, *words), tuple(samples), missing)
    return Finding(outcome, words + tuple(left_out), tuple(samples))


def _comparisons(analysis: Analysis) -> tuple[Comparison, ...]:
    """Return the analysis's comparisons that copies allow. Without an analysis there are the usual ones."""
    named = tuple(each for each in analysis.comparisons if each.metric in PAIRS)
    return named or tuple(Comparison(metric, DEFAULT_TOLERANCES[metric]) for metric in PAIRS)


def _evidence(plan: Plan, comparison: Comparison, history: Sequence[Counters], periods: Sequence[Counters]) -> Evidence:
    pair, shape = PAIRS[comparison.metric], KINDS[comparison.metric].shape
    evidence = begun(shape, comparison.tolerance, [pair.clients.strata(grown, plan.from_version) for grown in history])
    for grown in periods:
        ours = pair.copies.strata(grown, plan.to_version)
        theirs = pair.clients.strata(grown, plan.from_version)
        names = sorted({*ours, *theirs})
        evidence = looked(evidence, [Stratum(n, ours.get(n, EMPTY), theirs.get(n, EMPTY)) for n in names])
    return evidence
