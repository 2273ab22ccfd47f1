"""What a function sees of the evaluation that calls it."""

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
    """[steps] open left end of the windows."""
    until_ms: IntArray
    """[steps] closed right end."""
    range_s: float

    def frame(self, values: FloatArray, present: BoolArray, *, keep_name: bool = False) -> Frame:
        """Return a frame of one value per window; series without any are left out, names dropped unless kept.

        Raises QueryError(execution) when series that differ by name alone become one.
        """
        frame = Frame(self.windows.samples.labels, values, present).occupied()
        return frame if keep_name else frame.nameless()


class Evaluation(Protocol):
    """Evaluates nodes at a fixed set of steps."""

    steps: IntArray
    """[steps] evaluation times in unix milliseconds."""
    budget: Budget
    annotations: Annotations
    """Where a function says what is odd about its arguments."""

    def value(self, node: Node) -> Value:
        """Evaluate any node but a range vector."""
        ...

    def frame(self, node: Node) -> Frame:
        """Evaluate an instant vector."""
        ...

    def scalars(self, node: Node) -> FloatArray:
        """Evaluate a scalar: [steps]."""
        ...

    def text(self, node: Node) -> str:
        """Evaluate a string."""
        ...

    def ranges(self, node: Node) -> Ranges:
        """Evaluate a range vector, staleness markers left out."""
        ...

    def sample_times(self, node: Node) -> Frame | None:
        """Return the timestamps (seconds) of a plain selector's samples; None for any other node."""
        ...


Function = Callable[[Evaluation, tuple[Node, ...]], Value]
"""A PromQL function; it evaluates its own arguments."""
