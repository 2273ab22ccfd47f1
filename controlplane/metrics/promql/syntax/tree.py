"""The syntax tree of PromQL for evaluation, made from the parser's tree.

The parser's nodes have brackets and places, for code that explains an expression. The nodes here have neither. They are
frozen, and the engine caches them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.vocabulary import refuse_unsupported
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.matchers import Matcher, MatchOp
from promql import nodes
from promql.durations import INSTANT, QueryTimes
from promql.errors import ExpressionError
from promql.nodes import At, ValueKind
from promql.parser import parse_tree
from promql.strings import readable


@dataclass(frozen=True)
class Number:
    """A number literal."""

    value: float
    kind: ValueKind = "scalar"


@dataclass(frozen=True)
class String:
    """A string literal."""

    value: str
    kind: ValueKind = "string"


@dataclass(frozen=True)
class Selector:
    """An instant vector selector."""

    matchers: tuple[Matcher, ...]
    offset_ms: int = 0
    at: At = None
    kind: ValueKind = "vector"


@dataclass(frozen=True)
class Range:
    """A range vector selector, `selector[range]`."""

    selector: Selector
    range_ms: int
    kind: ValueKind = "matrix"


@dataclass(frozen=True)
class Subquery:
    """`expr[range:step]`. Without a step the engine's default applies."""

    expr: Node
    range_ms: int
    step_ms: int | None
    offset_ms: int = 0
    at: At = None
    kind: ValueKind = "matrix"


@dataclass(frozen=True)
class Call:
    """A function call."""

    name: str
    args: tuple[Node, ...]
    kind: ValueKind = "vector"


@dataclass(frozen=True)
class Aggregate:
    """An aggregation. `labels` are those of `by`, or of `without`."""

    op: str
    expr: Node
    param: Node | None
    labels: tuple[str, ...]
    without: bool
    kind: ValueKind = "vector"


@dataclass(frozen=True)
class VectorMatching:
    """The vector matching of a binary operation: the labels by which the series of both sides are matched."""

    on: bool
    labels: tuple[str, ...]
    many: Literal["none", "left", "right"]
    """The side that may have several series in a match group."""
    include: tuple[str, ...]
    """Labels that are copied from the one side to the result."""


@dataclass(frozen=True)
class Binary:
    """A binary operation."""

    op: str
    left: Node
    right: Node
    bool_modifier: bool
    matching: VectorMatching
    kind: ValueKind = "vector"


@dataclass(frozen=True)
class Negate:
    """A unary minus."""

    expr: Node
    kind: ValueKind = "vector"


Node = Number | String | Selector | Range | Subquery | Call | Aggregate | Binary | Negate


def parse(expr: str, times: QueryTimes = INSTANT) -> Node:
    """Return the tree of an expression. `times` holds the values of `step()` and `range()` in durations.

    Raises QueryError(bad_data) with the parser's message when the expression is not valid or not supported.
    """
    try:
        tree = parse_tree(expr, times)
        refuse_unsupported(expr)
        return _evaluated(tree)
    except ExpressionError as error:
        if "unknown function" in str(error):
            # Functions that Prometheus 3 removed have a better message than "unknown function".
            refuse_unsupported(expr)
        raise QueryError("bad_data", str(error)) from error
    except RecursionError as error:
        raise QueryError("bad_data", "the expression is nested too deeply") from error


def parse_selector(expr: str) -> tuple[Matcher, ...]:
    """Return the matchers of a series selector such as a `match[]` parameter.

    Raises QueryError(bad_data) when it is not a plain selector.
    """
    node = parse(expr)
    if not isinstance(node, Selector) or node.offset_ms or node.at is not None:
        raise QueryError("bad_data", f"not a plain series selector: {expr}")
    return node.matchers


def metric_name(selector: Selector) -> str | None:
    """Return the metric that a selector names, or None if it names none or several."""
    names = [m.value for m in selector.matchers if m.name == METRIC_NAME and m.op is MatchOp.EQUAL]
    return names[0] if len(names) == 1 else None


def nested(node: Node) -> Iterator[Node]:
    """Yield a node and every node below it, from left to right."""
    yield node
    for part in _parts(node):
        yield from nested(part)


def _parts(node: Node) -> Iterable[Node]:
    match node:
        case Range(selector=selector):
            return (selector,)
        case Subquery(expr=expr) | Negate(expr=expr):
            return (expr,)
        case Aggregate(expr=expr, param=param):
            return (expr,) if param is None else (param, expr)
        case Call(args=args):
            return args
        case Binary(left=left, right=right):
            return (left, right)
        case _:
            return ()


def calls(node: Node) -> Iterator[Call | Aggregate]:
    """Yield the functions and aggregations of a query in the order in which their names are written."""
    return (part for part in nested(node) if isinstance(part, Call | Aggregate))


def _evaluated(node: nodes.Node) -> Node:
    """Return the node for evaluation: without brackets, with the sign of a number as part of the number."""
    match node:
        case nodes.NumberLiteral():
            return Number(node.val)
        case nodes.StringLiteral():
            return String(node.val)
        case nodes.ParenExpr():
            return _evaluated(node.expr)
        case nodes.VectorSelector():
            return _selector(node)
        case nodes.MatrixSelector():
            return Range(_selector(node.selector), node.range_ms)
        case nodes.SubqueryExpr():
            inner = _evaluated(node.expr)
            return Subquery(inner, node.range_ms, node.step_ms, node.offset_ms or 0, node.at)
        case nodes.Call():
            return Call(node.name, tuple(map(_evaluated, node.args)), node.kind)
        case nodes.AggregateExpr():
            param = None if node.param is None else _evaluated(node.param)
            return Aggregate(node.op, _evaluated(node.expr), param, _names(node.labels), node.without)
        case nodes.BinaryExpr():
            return _binary(node)
        case nodes.UnaryExpr():
            inner = _evaluated(node.expr)
            return Number(-inner.value) if isinstance(inner, Number) else Negate(inner, inner.kind)


def _names(names: Iterable[str] | None) -> tuple[str, ...]:
    found = tuple(names or ())
    wrong = next((name for name in found if not name or readable(name) != name), None)
    if wrong is not None:
        raise QueryError("bad_data", f'parse error: invalid label name for grouping: "{readable(wrong)}"')
    return found


def _selector(node: nodes.VectorSelector) -> Selector:
    matchers = [Matcher(METRIC_NAME, MatchOp.EQUAL, node.name)] if node.name else []
    matchers += [Matcher(m.name, MatchOp(m.op), m.value) for m in node.matchers]
    return Selector(tuple(matchers), node.offset_ms or 0, node.at)


def _binary(node: nodes.BinaryExpr) -> Binary:
    how = node.matching
    if how.fills:
        raise QueryError("bad_data", "fill modifiers are experimental and not supported")
    matching = VectorMatching(how.on, _names(how.labels), _MANY[how.group], _names(how.include))
    return Binary(node.op, _evaluated(node.lhs), _evaluated(node.rhs), how.returns_bool, matching, node.kind)


_MANY: dict[str, Literal["none", "left", "right"]] = {"": "none", "group_left": "left", "group_right": "right"}
