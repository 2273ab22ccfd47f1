"""Thresholds of a look: PromQL expressions with limits."""

from __future__ import annotations

import asyncio
import math

from controlplane.errors import ControlPlaneError
from controlplane.metrics.query.queries import samples_of
from controlplane.rollout.evidence import Queries
from controlplane.rollout.findings import Outcome, Sample
from controlplane.rollout.model import Plan
from controlplane.rollout.options import Threshold
from controlplane.rollout.planning.templates import filled

LEAST_WINDOW_S = 60.0
"""Least `{{window}}`, in seconds: a rate needs two scrapes in it. Chosen: four at the usual 15 s."""


async def thresholds(queries: Queries, plan: Plan, now: float) -> list[Sample]:
    """Return one sample for each threshold. An expression that cannot be evaluated has not enough data."""
    analysis = plan.options.analysis
    assert analysis is not None  # the caller has one
    window_s = max(LEAST_WINDOW_S, analysis.interval_s)
    return list(await asyncio.gather(*(_sample(queries, plan, each, window_s, now) for each in analysis.thresholds)))


async def _sample(queries: Queries, plan: Plan, threshold: Threshold, window_s: float, now: float) -> Sample:
    try:
        expr = filled(threshold.expr, plan.model, plan.to_version, plan.from_version, window_s)
        samples = samples_of(await queries.instant_value(expr, now))
    except (ControlPlaneError, ValueError) as error:
        return _made(threshold, None, Outcome.NOT_ENOUGH, f"cannot be evaluated: {error}")
    values = [sample.value for sample in samples if not math.isnan(sample.value)]
    if not values:
        return _made(threshold, None, Outcome.NOT_ENOUGH, "has no value now")
    # Of several series the one that is worst counts.
    if threshold.at_most is not None and max(values) > threshold.at_most:
        words = f"is {_shown(max(values))}, above its limit of {_shown(threshold.at_most)}"
        return _made(threshold, max(values), Outcome.FAIL, words)
    if threshold.at_least is not None and min(values) < threshold.at_least:
        words = f"is {_shown(min(values))}, below its limit of {_shown(threshold.at_least)}"
        return _made(threshold, min(values), Outcome.FAIL, words)
    value = max(values) if threshold.at_most is not None else min(values)
    return _made(threshold, value, Outcome.PASS, f"is {_shown(value)}, within its limit")


def _made(threshold: Threshold, value: float | None, outcome: Outcome, words: str) -> Sample:
    name = f"threshold {threshold.name}"
    return Sample(name, "", value, None, 0.0, 0.0, None, None, None, outcome, f"{name} {words}", threshold.dry_run)


def _shown(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
