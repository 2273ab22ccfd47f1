"""The syntax tree of PromQL as we evaluate it, and its translation from the parser's.

The parser is a Rust wheel; its objects convert on every attribute access and some of its getters panic. So a query is
translated once into these frozen nodes, which the engine caches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from alerts.errors import ExpressionError
from alerts.promql.dialect import at_seconds
from alerts.promql.parser import parse_tree
from controlplane.errors import QueryError
from controlplane.metrics.index import METRIC_NAME
from controlplane.metrics.matchers import Matcher, MatchOp, compile_regex
from controlplane.metrics.vocabulary import refuse_unsupported

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


def parse(expr: str) -> Node:
    """Parse PromQL. Raises QueryError(bad_data) with the parser's message, and the place where it is known."""
    try:
        tree = parse_tree(expr)
        refuse_unsupported(expr)
        return _translate(tree)
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


def _translate(node: Any) -> Node:
    translate = _TRANSLATIONS.get(type(node).__name__)
    if translate is None:
        raise QueryError("bad_data", f"unsupported expression: {type(node).__name__}")
    return translate(node)


def _selector(node: Any) -> Selector:
    if node.matchers.or_matchers:
        raise QueryError("bad_data", "`or` between label matchers is not PromQL; use a regular expression")
    matchers = [Matcher(METRIC_NAME, MatchOp.EQUAL, node.name)] if node.name else []
    for m in node.matchers.matchers:
        matcher = Matcher(m.name, _MATCH_OPS[str(m.op).rsplit(".", 1)[-1]], m.value)
        if matcher.op in (MatchOp.RE, MatchOp.NOT_RE):
            compile_regex(matcher.value)
        matchers.append(matcher)
    return Selector(tuple(matchers), _ms(node.offset), _at(node.at))


def _range(node: Any) -> Range:
    return Range(_selector(node.vector_selector), _ms(node.range))


def _subquery(node: Any) -> Subquery:
    step = None if node.step is None else _ms(node.step)
    return Subquery(_translate(node.expr), _ms(node.range), step, _ms(node.offset), _at(node.at))


def _call(node: Any) -> Call:
    if node.func.experimental:
        # Those known by name were refused before, with their place: this is one newer than they.
        raise QueryError("bad_data", f'function "{node.func.name}" is experimental, and not supported')
    kind = str(node.func.return_type).rsplit(".", 1)[-1].lower()
    return Call(node.func.name, tuple(_translate(a) for a in node.args), kind)  # type: ignore[arg-type]  # four words


def _aggregate(node: Any) -> Aggregate:
    without, labels = False, ()
    if node.modifier is not None:
        without = str(node.modifier.type).endswith("Without")
        labels = tuple(node.modifier.labels)
    param = None if node.param is None else _translate(node.param)
    return Aggregate(str(node.op), _translate(node.expr), param, labels, without)


def _binary(node: Any) -> Binary:
    left, right = _translate(node.lhs), _translate(node.rhs)
    both_scalar = left.kind == right.kind == "scalar"
    matching, returns_bool = VectorMatching(False, (), "none", ()), False
    if node.modifier is not None:
        modifier = node.modifier
        if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
            raise QueryError("bad_data", "fill modifiers are experimental and not supported")
        on = modifier.matching is not None and str(modifier.matching.type).endswith("Include")
        labels = () if modifier.matching is None else tuple(modifier.matching.labels)
        many = _MANY[str(modifier.card).rsplit(".", 1)[-1]]
        matching = VectorMatching(on, labels, many, tuple(modifier.group_labels or ()))
        returns_bool = bool(modifier.return_bool)
    return Binary(str(node.op), left, right, returns_bool, matching, "scalar" if both_scalar else "vector")


def _negate(node: Any) -> Node:
    inner = _translate(node.expr)
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

_TRANSLATIONS: dict[str, Callable[[Any], Node]] = {
    "NumberLiteral": lambda node: Number(node.val),
    "StringLiteral": lambda node: String(node.val),
    "ParenExpr": lambda node: _translate(node.expr),
    "VectorSelector": _selector,
    "MatrixSelector": _range,
    "SubqueryExpr": _subquery,
    "Call": _call,
    "AggregateExpr": _aggregate,
    "BinaryExpr": _binary,
    "UnaryExpr": _negate,
}
