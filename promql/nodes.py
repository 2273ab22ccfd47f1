"""The nodes of a parsed expression. Each node has its place in the text, and brackets have a node too.

The names are those of Prometheus's own syntax tree. `start` and `end` are indexes of characters: `expr[start:end]`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ValueKind = Literal["scalar", "vector", "matrix", "string"]
At = int | Literal["start", "end"] | None
"""The `@` modifier: unix milliseconds, or the start or end of the query."""


@dataclass(slots=True)
class NumberLiteral:
    """A number, or a duration as its seconds."""

    start: int
    end: int
    val: float
    kind: ValueKind = "scalar"


@dataclass(slots=True)
class StringLiteral:
    """A string literal; `val` has its escapes resolved."""

    start: int
    end: int
    val: str
    kind: ValueKind = "string"


@dataclass(slots=True)
class ParenExpr:
    """An expression in round brackets."""

    start: int
    end: int
    expr: Node
    kind: ValueKind


@dataclass(slots=True)
class LabelMatcher:
    """`name op value`; `op` is one of `=`, `!=`, `=~` and `!~`."""

    name: str
    op: str
    value: str


@dataclass(slots=True)
class VectorSelector:
    """An instant vector selector. `name` is the metric name written before the braces, else ""."""

    start: int
    end: int
    name: str
    matchers: list[LabelMatcher]
    offset_ms: int | None = None
    at: At = None
    kind: ValueKind = "vector"


@dataclass(slots=True)
class MatrixSelector:
    """A range vector selector. `selector` holds its offset and its `@` modifier."""

    start: int
    end: int
    selector: VectorSelector
    range_ms: int
    kind: ValueKind = "matrix"


@dataclass(slots=True)
class SubqueryExpr:
    """`expr[range:step]`."""

    start: int
    end: int
    expr: Node
    range_ms: int
    step_ms: int | None
    offset_ms: int | None = None
    at: At = None
    kind: ValueKind = "matrix"


@dataclass(slots=True)
class Call:
    """A function call."""

    start: int
    end: int
    name: str
    args: list[Node]
    kind: ValueKind


@dataclass(slots=True)
class AggregateExpr:
    """An aggregation. `labels` is None where neither `by` nor `without` is written."""

    start: int
    end: int
    op: str
    args: list[Node]
    labels: list[str] | None
    without: bool
    kind: ValueKind = "vector"

    @property
    def expr(self) -> Node:
        """The aggregated vector, the last argument."""
        return self.args[-1]

    @property
    def param(self) -> Node | None:
        """The parameter before the vector, such as the 5 in `topk(5, x)`. None for `sum` and others without one."""
        return self.args[0] if len(self.args) > 1 else None


@dataclass(slots=True)
class Matching:
    """The vector matching of a binary operation: `bool`, `on (…)`, `ignoring (…)`, `group_left (…)`."""

    returns_bool: bool = False
    on: bool = False
    labels: list[str] | None = None
    """The labels of `on` or `ignoring`; None where neither is written."""
    group: Literal["", "group_left", "group_right"] = ""
    include: list[str] = field(default_factory=list)
    fills: bool = False
    """Whether `fill`, `fill_left` or `fill_right` is written. These modifiers are experimental in Prometheus."""


@dataclass(slots=True)
class BinaryExpr:
    """A binary operation. `op` is in lower case, `op_start` is the index of its first character."""

    start: int
    end: int
    op: str
    op_start: int
    lhs: Node
    rhs: Node
    matching: Matching
    kind: ValueKind


@dataclass(slots=True)
class UnaryExpr:
    """A unary minus. A unary plus has no node: the parser drops it once the operand is checked."""

    start: int
    end: int
    expr: Node
    kind: ValueKind


Node = (
    NumberLiteral
    | StringLiteral
    | ParenExpr
    | VectorSelector
    | MatrixSelector
    | SubqueryExpr
    | Call
    | AggregateExpr
    | BinaryExpr
    | UnaryExpr
)
