"""The state between two looks as JSON: counters, and the evidence so far. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from controlplane.rollout.comparison.evidence import Evidence
from controlplane.rollout.options import Metric
from controlplane.rollout.work.look_counters import Counter, Counters

FORMAT = 1
"""Format of the text. Raise it when a field or the bets (comparison/betting.py) change: evidence then begins anew."""


@dataclass(frozen=True)
class Memory:
    """The state between two looks."""

    at: float
    """Time of the look, in unix seconds."""
    by_instance: bool
    """Whether counters are read for each target."""
    counters: Counters
    requests_from: str = ""
    """The source that counts requests; "" before any request was counted."""
    requests: float = 0.0
    """Number of the candidate's requests at its present weight. An interval in which the weight changed counts 0."""
    synthetic: float = 0.0
    """Number of synthetic ones among them."""
    sources: Mapping[Metric, str] = field(default_factory=dict)
    """The source from which each metric is read, as `source name`. It never changes."""
    evidence: Mapping[Metric, Evidence] = field(default_factory=dict)


class _Stored(msgspec.Struct):
    format: int
    at: float
    by_instance: bool
    requests_from: str
    requests: float
    synthetic: float
    sources: dict[str, str]
    evidence: dict[str, Evidence]
    counters: list[tuple[Counter, dict[str, float]]]


_STORED = msgspec.json.Decoder(_Stored)  # at import: see stored/shape.py


def to_carry(memory: Memory) -> str:
    """Return the memory as text."""
    stored = _Stored(
        FORMAT,
        memory.at,
        memory.by_instance,
        memory.requests_from,
        memory.requests,
        memory.synthetic,
        {metric.value: source for metric, source in memory.sources.items()},
        {metric.value: evidence for metric, evidence in memory.evidence.items()},
        [(counter, dict(values)) for counter, values in memory.counters.items()],
    )
    return msgspec.json.encode(stored).decode()


def from_carry(text: str) -> Memory | None:
    """Return the memory, or None when this release cannot read the text."""
    try:
        stored = _STORED.decode(text)
        if stored.format != FORMAT:
            return None
        return Memory(
            stored.at,
            stored.by_instance,
            dict(stored.counters),
            stored.requests_from,
            stored.requests,
            stored.synthetic,
            {Metric(name): source for name, source in stored.sources.items()},
            {Metric(name): evidence for name, evidence in stored.evidence.items()},
        )
    except (msgspec.DecodeError, ValueError, AssertionError):
        return None
