"""`models[].slos` of fleet.yaml: service level objectives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from collectors.durations import format_duration
from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import Duration, Model, Name

BOUNDS = {
    "e2e": (
        *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5),
        *(10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0),
    ),
    "ttft": (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0),
}
"""Bounds of the gateway's histograms, in seconds (a test compares them). Between two bounds no request is counted."""
DAY_S = 86400.0


class Latency(Model):
    """A request is good if it takes at most `below`."""

    metric: Literal["ttft", "e2e"]
    below: Annotated[Duration, Field(gt=0)]

    @check
    def _below_is_a_bound(self) -> Iterator[Fault]:
        if not self.reads("metric", "below") or self.below in BOUNDS[self.metric]:
            return
        near = [b for b in BOUNDS[self.metric] if b < self.below][-1:]
        near += [b for b in BOUNDS[self.metric] if b > self.below][:1]
        sentence = f"{format_duration(self.below)} is between two buckets of the histogram, and is counted nowhere"
        yield Fault(("below",), f"{sentence}; use {' or '.join(map(format_duration, near))}")


class Availability(Model):
    """A request is good if it does not fail. Failures are errors, rejections, timeouts and cut answers."""


class SloSection(Model):
    """An objective: the share of good requests over a window. Exactly one of `latency` and `availability` is set."""

    name: Name
    objective: float = Field(gt=0, lt=100)
    """Percent of requests that should be good."""
    window: Annotated[Duration, Field(ge=DAY_S, le=90 * DAY_S)] = 30 * DAY_S
    latency: Latency | None = None
    availability: Availability | None = None

    @check
    def _has_one_kind(self) -> Iterator[Fault]:
        if not self.reads("latency", "availability"):
            return
        if (self.latency is None) == (self.availability is None):
            yield Fault((), "needs exactly one of latency: {metric: ttft, below: 1s} and availability: {}")


def slo_faults(slos: Iterable[SloSection]) -> Iterator[Fault]:
    """Yield a fault for each name that an earlier SLO of the model has. Its place is relative to the model."""
    first: dict[str, int] = {}
    for number, slo in enumerate(slos):
        if slo.reads("name") and first.setdefault(slo.name, number) != number:
            yield Fault(("slos", number, "name"), f"{slo.name!r} is taken by slos[{first[slo.name]}]")
