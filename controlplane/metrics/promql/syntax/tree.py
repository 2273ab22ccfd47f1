"""The syntax tree of PromQL as we evaluate it, and its translation from the parser's.

The parser is a Rust wheel; its objects convert on every attribute access and some of its getters panic. So a query is
translated once into these frozen nodes, which the engine caches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from alerts.errors import ExpressionError
from alerts.promql.dialect import INSTANT, Rewritten, at_seconds
from alerts.promql.durations import QueryTimes
from alerts.promql.parser import parse_tree
from alerts.promql.strings import readable
from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.vocabulary import STABLE_SINCE, refuse_unsupported
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.matchers import Matcher, MatchOp

ValueKind = Literal["scalar", "vector", "matrix", "string"]
At = int | Literal["start", "end"] | None
"""The `@` modifier: unix milliseconds, or the start or end of the query."""


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
    """`expr[range:step]`; without a step the engine's default applies."""

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
    """An aggregation; `labels` are those of `by`, or of `without`."""

    op: str
    expr: Node
    param: Node | None
    labels: tuple[str, ...]
    without: bool
    kind: ValueKind = "vector"


@dataclass(frozen=True)
class VectorMatching:
    """How the sides of a binary operation between vectors find each other."""

    on: bool
    labels: tuple[str, ...]
    many: Literal["none", "left", "right"]
    """Which side may have several series per match group."""
    include: tuple[str, ...]
    """Labels copied from the one side."""


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
    """Unary minus."""

    expr: Node
    kind: ValueKind = "vector"


Node = Number | String | Selector | Range | Subquery | Call | Aggregate | Binary | Negate


def parse(expr: str, times: QueryTimes = INSTANT) -> Node:
    """Parse PromQL. `times` are what `step()` and `range()` are in calculated durations.

    Raises QueryError(bad_data) with the parser's message, and the place where it is known.
    """
    try:
        tree, rewritten = parse_tree(expr, times)
        refuse_unsupported(expr)
        return _Translation(rewritten).node(tree)
    except ExpressionError as error:
        if "unknown function" in str(error):
            # What is gone from PromQL, or newer than the parser, is better called so.
            refuse_unsupported(expr)
        raise QueryError("bad_data", str(error)) from error
    except RecursionError as error:
        raise QueryError("bad_data", "the expression is nested too deeply") from error


def parse_selector(expr: str) -> tuple[Matcher, ...]:
    """Parse a series selector, as `match[]` parameters have it. Raises QueryError(bad_data)."""
    node = parse(expr)
    if not isinstance(node, Selector) or node.offset_ms or node.at is not None:
        raise QueryError("bad_data", f"not a plain series selector: {expr}")
    return node.matchers


def metric_name(selector: Selector) -> str | None:
    """Return the one metric that a selector names, if it names one."""
    names = [m.value for m in selector.matchers if m.name == METRIC_NAME and m.op is MatchOp.EQUAL]
    return names[0] if len(names) == 1 else None


def calls(node: Node) -> Iterator[Call | Aggregate]:
    """Yield the functions and aggregations of a query in the order in which their names are written."""
    match node:
        case Call(args=args):
            yield node
            for argument in args:
                yield from calls(argument)
        case Aggregate():
            yield node
            if node.param is not None:
                yield from calls(node.param)
            yield from calls(node.expr)
        case Binary():
            yield from calls(node.left)
            yield from calls(node.right)
        case Negate() | Subquery():
            yield from calls(node.expr)


class _Translation:
    """Makes nodes of the parser's, with the expression's own strings and names."""

    def __init__(self, rewritten: Rewritten) -> None:
        self._meant = rewritten.meant
        self._makers: dict[str, Callable[[Any], Node]] = {
            "NumberLiteral": lambda node: Number(node.val),
            "StringLiteral": lambda node: String(self._meant(node.val)),
            "ParenExpr": lambda node: self.node(node.expr),
            "VectorSelector": self._selector,
            "MatrixSelector": lambda node: Range(self._selector(node.vector_selector), _ms(node.range)),
            "SubqueryExpr": self._subquery,
            "Call": self._call,
            "AggregateExpr": self._aggregate,
            "BinaryExpr": self._binary,
            "UnaryExpr": self._negate,
        }

    def node(self, node: Any) -> Node:
        make = self._makers.get(type(node).__name__)
        if make is None:
            raise QueryError("bad_data", f"unsupported expression: {type(node).__name__}")
        return make(node)

    def _names(self, names: Iterable[str] | None) -> tuple[str, ...]:
        meant = tuple(map(self._meant, names or ()))
        wrong = next((name for name in meant if not name or readable(name) != name), None)
        if wrong is not None:
            raise QueryError("bad_data", f'parse error: invalid label name for grouping: "{readable(wrong)}"')
        return meant

    def _selector(self, node: Any) -> Selector:
        if node.matchers.or_matchers:
            raise QueryError("bad_data", "`or` between label matchers is not PromQL; use a regular expression")
        matchers = [Matcher(METRIC_NAME, MatchOp.EQUAL, self._meant(node.name))] if node.name else []
        for m in node.matchers.matchers:
            op = _MATCH_OPS[str(m.op).rsplit(".", 1)[-1]]
            matchers.append(Matcher(self._meant(m.name), op, self._meant(m.value)))
        return Selector(tuple(matchers), _ms(node.offset), _at(node.at))

    def _subquery(self, node: Any) -> Subquery:
        step = None if node.step is None else _ms(node.step)
        return Subquery(self.node(node.expr), _ms(node.range), step, _ms(node.offset), _at(node.at))

    def _call(self, node: Any) -> Call:
        if node.func.experimental and node.func.name not in STABLE_SINCE:
            # Those known by name were refused before, with their place: this is one newer than they.
            raise QueryError("bad_data", f'function "{node.func.name}" is experimental, and not supported')
        kind = str(node.func.return_type).rsplit(".", 1)[-1].lower()
        return Call(node.func.name, tuple(map(self.node, node.args)), kind)  # type: ignore[arg-type]  # four words

    def _aggregate(self, node: Any) -> Aggregate:
        without = False
        labels: tuple[str, ...] = ()
        if node.modifier is not None:
            without = str(node.modifier.type).endswith("Without")
            labels = self._names(node.modifier.labels)
        param = None if node.param is None else self.node(node.param)
        return Aggregate(str(node.op), self.node(node.expr), param, labels, without)

    def _binary(self, node: Any) -> Binary:
        left, right = self.node(node.lhs), self.node(node.rhs)
        both_scalar = left.kind == right.kind == "scalar"
        matching, returns_bool = VectorMatching(False, (), "none", ()), False
        if node.modifier is not None:
            modifier = node.modifier
            if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
                raise QueryError("bad_data", "fill modifiers are experimental and not supported")
            on = modifier.matching is not None and str(modifier.matching.type).endswith("Include")
            labels = () if modifier.matching is None else self._names(modifier.matching.labels)
            many = _MANY[str(modifier.card).rsplit(".", 1)[-1]]
            matching = VectorMatching(on, labels, many, self._names(modifier.group_labels))
            returns_bool = bool(modifier.return_bool)
        return Binary(str(node.op), left, right, returns_bool, matching, "scalar" if both_scalar else "vector")

    def _negate(self, node: Any) -> Node:
        inner = self.node(node.expr)
        if isinstance(inner, Number):
            return Number(-inner.value)
        return Negate(inner, inner.kind)


def _ms(delta: timedelta | None) -> int:
    return 0 if delta is None else round(delta / timedelta(milliseconds=1))


def _at(modifier: Any) -> At:
    if modifier is None:
        return None
    word = str(modifier.type).rsplit(".", 1)[-1]
    if word == "Start":
        return "start"
    if word == "End":
        return "end"
    when: datetime = modifier.at
    return round(at_seconds(when.timestamp()) * 1000)


_MATCH_OPS = {"Equal": MatchOp.EQUAL, "NotEqual": MatchOp.NOT_EQUAL, "Re": MatchOp.RE, "NotRe": MatchOp.NOT_RE}

_MANY: dict[str, Literal["none", "left", "right"]] = {
    "OneToOne": "none",
    "ManyToOne": "left",
    "OneToMany": "right",
    "ManyToMany": "none",
}
