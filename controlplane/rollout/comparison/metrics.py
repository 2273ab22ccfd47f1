"""The compared metrics: shape, unit and words of each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from controlplane.rollout.comparison.evidence import Shape
from controlplane.rollout.options import Metric


@dataclass(frozen=True)
class Kind:
    """The shape of a metric's values, and its words."""

    shape: Shape
    unit: str
    """ratio, seconds or tokens: the unit of a sample's values."""
    does: str
    """Verb of a share (`v2 fails 3% of …`), or noun of a quantity (`the median duration of v2 …`)."""
    noun: str
    """Plural of the counted things, such as requests."""


KINDS: Mapping[Metric, Kind] = MappingProxyType({
    Metric.ERRORS: Kind(Shape.SHARE, "ratio", "fails", "requests"),
    Metric.TTFT: Kind(Shape.LARGER, "seconds", "time to first token", "first tokens"),
    Metric.INTER_TOKEN: Kind(Shape.LARGER, "seconds", "time per token", "streamed answers"),
    Metric.DURATION: Kind(Shape.LARGER, "seconds", "duration", "durations"),
    Metric.TRUNCATED: Kind(Shape.SHARE, "ratio", "truncates", "answers"),
    Metric.EMPTY: Kind(Shape.SHARE, "ratio", "leaves empty", "answers"),
    Metric.REFUSED: Kind(Shape.SHARE, "ratio", "refuses", "answers"),
    Metric.OUTPUT_TOKENS: Kind(Shape.OTHER, "tokens", "length of an answer", "answers"),
})  # fmt: skip
"""The kind of each metric."""
