"""The evaluation as a PromQL function sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from collectors.samples import FloatArray
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.promql.annotations.collected import Annotations
from controlplane.metrics.promql.frame import Frame, Value
from controlplane.metrics.promql.syntax.tree import Node
from controlplane.metrics.series.budget import Budget
from controlplane.metrics.series.samples import Windows


@dataclass(frozen=True)
class Ranges:
    """An evaluated range vector: a window for every series and step."""

    windows: Windows
    after_ms: IntArray
    """[steps] left ends of the windows, unix milliseconds, excluded."""
    until_ms: IntArray
    """[steps] right ends of the windows, unix milliseconds, included."""
    range_s: float
    """Length of the windows in seconds."""

    def frame(self, values: FloatArray, present: BoolArray, *, keep_name: bool = False) -> Frame:
        """Return a frame of one value per window, from `values` and `present` of shape [series, steps].

        Series without any value are left out. Metric names are dropped unless `keep_name`.
        Raises QueryError(execution) when two series have the same labels after that.
        """
        frame = Frame(self.windows.samples.labels, values, present).occupied()
        return frame if keep_name else frame.nameless()


class Evaluation(Protocol):
    """Evaluates nodes at a fixed set of steps."""

    steps: IntArray
    """[steps] evaluation times in unix milliseconds."""
    budget: Budget
    annotations: Annotations
    """Warnings and infos that a function adds about its arguments."""

    def value(self, node: Node) -> Value:
        """Evaluate any node except a range vector. Raises QueryError when that fails, as all methods here do."""
        ...

    def frame(self, node: Node) -> Frame:
        """Evaluate a node that is an instant vector."""
        ...

    def scalars(self, node: Node) -> FloatArray:
        """Evaluate a node that is a scalar. Return float64 of shape [steps]."""
        ...

    def text(self, node: Node) -> str:
        """Evaluate a node that is a string."""
        ...

    def ranges(self, node: Node) -> Ranges:
        """Evaluate a node that is a range vector. The windows have no staleness markers."""
        ...

    def sample_times(self, node: Node) -> Frame | None:
        """Return the timestamps (seconds) of a plain selector's samples, or None for any other node."""
        ...


Function = Callable[[Evaluation, tuple[Node, ...]], Value]
"""A PromQL function. It evaluates its own arguments."""
