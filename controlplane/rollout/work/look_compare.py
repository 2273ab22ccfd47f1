"""The comparisons of one look, from what the counters grew by. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane.rollout.comparison.evidence import Evidence, Stratum, begun, looked
from controlplane.rollout.comparison.judging import EXPECTED, fails_at, judged
from controlplane.rollout.comparison.metrics import KINDS
from controlplane.rollout.comparison.numbers import count
from controlplane.rollout.comparison.tally import EMPTY, Tally
from controlplane.rollout.findings import Outcome, Sample
from controlplane.rollout.model import Plan
from controlplane.rollout.options import Analysis, Comparison, Metric
from controlplane.rollout.work.look_counters import SYNTHETIC, Counters, total
from controlplane.rollout.work.look_memory import Memory
from controlplane.rollout.work.look_sources import METRICS, REQUESTS, Source


@dataclass(frozen=True)
class Grown:
    """The counters that a look has read."""

    counters: Counters
    """The counters now."""
    by: Counters
    """Their growth since the look before."""
    history: tuple[Counters, ...] = ()
    """Their growth in periods before the candidate's first request; only at the first look."""


@dataclass(frozen=True)
class Compared:
    """The comparisons of a look."""

    samples: tuple[Sample, ...]
    left_out: tuple[str, ...]
    """Sentences about metrics that nothing measures."""
    sources: Mapping[Metric, str]
    evidence: Mapping[Metric, Evidence]


def compared(plan: Plan, analysis: Analysis, memory: Memory, grown: Grown) -> Compared:
    """Return the comparisons of a look."""
    samples: list[Sample] = []
    left_out: list[str] = []
    sources, evidence = dict(memory.sources), dict(memory.evidence)
    limit, versions = fails_at(analysis), (plan.to_version, plan.from_version)
    for comparison in analysis.comparisons:
        metric = comparison.metric
        source = _source(metric, sources.get(metric), grown, versions)
        only_synthetic = source is None
        source = source or _synthetic_source(metric, grown, versions)
        if source is None:
            left_out.append(f"{metric.value} is not compared: no source has counted any {KINDS[metric].noun}")
            continue
        if not only_synthetic:
            sources[metric] = _key(source)
        before = evidence.get(metric) or begun(
            KINDS[metric].shape,
            comparison.tolerance,
            [source.strata(period, plan.from_version) for period in grown.history],
        )
        if not only_synthetic and not any(source.has(grown.counters, version) for version in versions):
            words = f"the {source.source}'s {_metric(source)} cannot be read now: {metric.value} is not compared"
            samples.append(_unread(comparison, before, limit, versions, words))
            continue
        after = evidence[metric] = looked(before, _strata(source, grown.by, versions))
        sample = judged(comparison, after, limit, versions)
        missing = "" if after.size is not None else _absent(source, grown.by, versions, memory.requests_from, metric)
        if missing:
            samples.append(replace(sample, words=missing))
        elif after.size is None:
            left_out.append(f"{metric.value} is not compared yet: {sample.words}")
        else:
            samples.append(sample)
    return Compared(tuple(samples), tuple(left_out), sources, evidence)


def _source(metric: Metric, known: str | None, grown: Grown, versions: Sequence[str]) -> Source | None:
    """Return the known source, else the first one that counted a request of either version, or None."""
    if known is not None:
        return next((source for source in METRICS[metric] if _key(source) == known), None)
    periods = [_of_clients(period) for period in (grown.by, *grown.history)]
    for source in METRICS[metric]:
        here = any(source.has(grown.counters, version) for version in versions)
        counted = (tally.total for period in periods for v in versions for tally in source.strata(period, v).values())
        if here and any(number > 0 for number in counted):
            return source
    return None


def _synthetic_source(metric: Metric, grown: Grown, versions: Sequence[str]) -> Source | None:
    """Return a source under whose name synthetic requests were counted, or None. It is none of clients' requests."""
    by = {counter: values for counter, values in grown.by.items() if counter.instance == SYNTHETIC}
    found = (s for s in METRICS[metric] if any(_counted(s.strata(by, version)) > 0 for version in versions))
    return next(found, None)


def _of_clients(counters: Counters) -> Counters:
    return {counter: values for counter, values in counters.items() if counter.instance != SYNTHETIC}


def _key(source: Source) -> str:
    return f"{source.source} {source.names[-1]}"


def _metric(source: Source) -> str:
    return source.name.removesuffix("_bucket")


def _strata(source: Source, by: Counters, versions: Sequence[str]) -> list[Stratum]:
    ours, theirs = (source.strata(by, version) for version in versions)
    return [
        Stratum(name, ours.get(name, EMPTY), theirs.get(name, EMPTY)) for name in sorted({*ours, *theirs})
    ]  # fmt: skip


def _absent(source: Source, by: Counters, versions: Sequence[str], requests_from: str, metric: Metric) -> str:
    """Return why the candidate's lack of observations is a reason to wait, or "" when it can be chance.

    The stable version's share of requests with an observation says how many of the candidate's are expected.
    """
    ours, theirs = versions
    requests, of = (sum(total(by, REQUESTS, requests_from, version).values()) for version in versions)
    seen = _counted(source.strata(by, theirs))
    if _counted(source.strata(by, ours)) > 0 or of <= 0 or requests * seen / of < EXPECTED:
        return ""
    noun = KINDS[metric].noun
    return (
        f"{ours} had {count(requests)} requests but no {noun} were counted; {theirs} had {count(seen)} of {count(of)}"
    )


def _counted(strata: Mapping[str, Tally]) -> float:
    return sum(tally.total for tally in strata.values())


def _unread(comparison: Comparison, evidence: Evidence, limit: float, versions: tuple[str, str], words: str) -> Sample:
    return replace(judged(comparison, evidence, limit, versions), outcome=Outcome.NOT_ENOUGH, words=words)
