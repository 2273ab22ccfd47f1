"""The sources of each compared metric, the nearest to the client first. Pure.

Both versions are always read from the same source: a gateway and an engine measure different times and see different
failures. docs/reference/metrics.md has the metrics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from controlplane.gateway.telemetry import families as f
from controlplane.rollout.comparison.tally import Tally, share
from controlplane.rollout.evidence import FAILED, SOURCES
from controlplane.rollout.options import Metric
from controlplane.rollout.work.look_counters import SYNTHETIC, Counter, Counters, tallies, total

REQUESTS = f.REQUESTS.name
KNOWN = frozenset({*FAILED, "success", "aborted"})
"""Outcomes that say whether a request failed. An engine without outcomes counts all requests as `unknown`."""
CLUSTERED = 2.0
"""Divisor of the number of requests behind gaps between tokens. The gaps of one request depend on each other, and count
as one observation (docs/verdicts.md). A gap is more often one of a long answer: with exponential lengths its answer has
twice the mean number of gaps."""


@dataclass(frozen=True)
class Source(ABC):
    """One way to read a metric. `source` is gateway, probe or engine."""

    source: str
    name: str
    """The counter, or the histogram's `_bucket`."""

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics that are read."""
        return (self.name,)

    @property
    def label(self) -> str:
        """Value of the label `source`. The gateway's own metrics have none."""
        return self.source if self.name.startswith("llm_") else ""

    def has(self, found: Counters, version: str) -> bool:
        """Whether counters of this version are there."""
        return any(self._mine(counter) and counter.version == version for counter in found)

    def _mine(self, counter: Counter) -> bool:
        return (counter.name, counter.source) == (self.name, self.label) and counter.instance != SYNTHETIC

    @abstractmethod
    def strata(self, grown: Counters, version: str) -> dict[str, Tally]:
        """Return the requests of a version by prompt stratum."""


@dataclass(frozen=True)
class Failures(Source):
    """Requests by outcome."""

    def has(self, found: Counters, version: str) -> bool:
        """Whether outcomes of this version are counted."""
        return any(self._mine(c) and c.version == version and c.outcome in KNOWN for c in found)

    def strata(self, grown: Counters, version: str) -> dict[str, Tally]:
        """Return the requests, failed ones in the second bucket."""
        bad = total(grown, self.name, self.label, version, outcome=FAILED)
        return _shares(bad, total(grown, self.name, self.label, version, outcome=KNOWN))


@dataclass(frozen=True)
class Answers(Source):
    """Answers, and those with a property: by a label's value, or by a counter of their own."""

    bad: str = ""
    """The counter of answers with the property. "": they are those with `value`."""
    label_name: str = "finish"
    value: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Both counters."""
        return (self.name, self.bad) if self.bad else (self.name,)

    def has(self, found: Counters, version: str) -> bool:
        """Whether answers of this version are counted, and why they ended."""
        return any(self._mine(c) and c.version == version and (self.bad or getattr(c, self.label_name)) for c in found)

    def strata(self, grown: Counters, version: str) -> dict[str, Tally]:
        """Return the answers, those with the property in the second bucket."""
        answers = {"outcome": ("success",)} if self.name == REQUESTS else {}
        of = total(grown, self.name, self.label, version, **answers)
        if self.bad:
            return _shares(total(grown, self.bad, self.label, version), of)
        chosen = {**answers, self.label_name: (self.value,)}
        return _shares(total(grown, self.name, self.label, version, **chosen), of)


@dataclass(frozen=True)
class Times(Source):
    """A histogram with one observation a request."""

    def strata(self, grown: Counters, version: str) -> dict[str, Tally]:
        """Return the observations by bucket."""
        return tallies(grown, self.name, self.label, version)


@dataclass(frozen=True)
class Gaps(Source):
    """A histogram with many observations a request, which depend on each other."""

    @property
    def names(self) -> tuple[str, ...]:
        """The histogram, and the number of requests."""
        return (self.name, REQUESTS)

    def strata(self, grown: Counters, version: str) -> dict[str, Tally]:
        """Return the observations, scaled to half as many as there were requests."""
        requests = sum(total(grown, REQUESTS, self.label, version).values())
        found = tallies(grown, self.name, self.label, version)
        gaps = sum(tally.total for tally in found.values())
        scale = min(1.0, requests / CLUSTERED / gaps) if gaps else 0.0
        return {prompt: tally.scaled(scale) for prompt, tally in found.items()}


def _shares(bad: Mapping[str, float], of: Mapping[str, float]) -> dict[str, Tally]:
    return {prompt: share(min(bad.get(prompt, 0.0), number), number) for prompt, number in of.items()}


def _times(own: f.Family, canonical: str, *sources: str) -> tuple[Source, ...]:
    return (Times("gateway", f"{own.name}_bucket"), *(Times(source, f"{canonical}_bucket") for source in sources))


OTHERS = SOURCES[1:]
"""Sources of times between tokens beside the gateway's own histograms. Its canonical ones also hold answers that are no
streams, and have no strata."""
COUNTS: tuple[Source, ...] = tuple(Failures(source, REQUESTS) for source in SOURCES)
METRICS: Mapping[Metric, tuple[Source, ...]] = MappingProxyType({
    Metric.ERRORS: COUNTS,
    Metric.TTFT: _times(f.ANSWER_FIRST, "llm_time_to_first_token_seconds", *OTHERS),
    Metric.INTER_TOKEN: (
        *_times(f.EACH_TOKEN, "llm_time_per_output_token_seconds", *OTHERS),
        *(Gaps(source, "llm_inter_token_latency_seconds_bucket") for source in OTHERS),
    ),
    Metric.DURATION: _times(f.ANSWER_DURATION, "llm_request_duration_seconds", *SOURCES),
    Metric.TRUNCATED: (
        Answers("gateway", f.ANSWERS.name, value="length"),
        Answers("engine", REQUESTS, label_name="reason", value="length"),
    ),
    Metric.EMPTY: (Answers("gateway", f.ANSWERS.name, bad=f.EMPTY.name),),
    Metric.REFUSED: (Answers("gateway", f.ANSWERS.name, bad=f.REFUSED.name),),
    Metric.OUTPUT_TOKENS: (Times("gateway", f"{f.ANSWER_TOKENS.name}_bucket"),),
})  # fmt: skip
"""The sources of each metric, best first."""


def read_for(metrics: Mapping[Metric, tuple[Source, ...]]) -> tuple[str, ...]:
    """Return the names of all metrics that these sources and the count of requests need, sorted."""
    sources = [*COUNTS, *(source for found in metrics.values() for source in found)]
    return tuple(sorted({name for source in sources for name in source.names}))
