"""The syntax tree of PromQL as we evaluate it, and its translation from the parser's.

The parser is a Rust wheel; its objects convert on every attribute access and some of its getters panic. So a query is
translated once into these frozen nodes, which the engine caches.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import promql_parser

from alerts.expression import check_size
from controlplane.errors import QueryError
from controlplane.metrics.dialect import at_seconds, rewritten, with_signs_as_minus
from controlplane.metrics.index import METRIC_NAME
from controlplane.metrics.locate import locate
from controlplane.metrics.matchers import Matcher, MatchOp, compile_regex
from controlplane.metrics.tokens import place, tokenize
from controlplane.metrics.vocabulary import EXPERIMENTAL_AGGREGATIONS, refusal

_UNKNOWN_FUNCTION = re.compile(r"unknown function with name '(\w+)'")

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
        check_size(expr)
        expr.encode()
    except UnicodeEncodeError as error:
        raise QueryError("bad_data", _at_place(expr, error.start, "invalid UTF-8")) from error
    except ValueError as error:
        raise QueryError("bad_data", str(error)) from error
    text = rewritten(expr)
    tree, complaint = _parsed(text)
    if complaint is None and (negated := with_signs_as_minus(text)) is not None:
        complaint = _parsed(negated)[1]
    if complaint is not None:
        # The rewritten text differs in numbers alone, so what is wrong in one is wrong in the other.
        index = locate(expr, complaint, _complaint)
        unknown = _UNKNOWN_FUNCTION.fullmatch(complaint)
        reason = refusal(unknown[1]) if unknown else None
        raise QueryError("bad_data", _at_place(expr, index, reason or _worded(expr, index, complaint)))
    try:
        return _translate(tree)
    except _Unsupported as error:
        word = next((t for t in tokenize(expr) if t.kind == "word" and t.text.lower() == error.word), None)
        raise QueryError("bad_data", _at_place(expr, None if word is None else word.start, str(error))) from error
    except RecursionError as error:
        raise QueryError("bad_data", "the expression is nested too deeply") from error


def _parsed(text: str) -> tuple[Any, str | None]:
    """Return the parser's tree, or what is wrong."""
    try:
        return promql_parser.parse(text), None
    except RecursionError:
        return None, "the expression is nested too deeply"
    except (ValueError, OverflowError) as error:
        return None, str(error)
    except BaseException as error:
        # A panic in the Rust wheel arrives as pyo3's PanicException, which is no Exception and cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        return None, "the parser cannot read this expression"


def _complaint(part: str) -> str | None:
    """Return what is wrong with a part of an expression, None where nothing is."""
    try:
        text = rewritten(part)
    except QueryError as error:
        return str(error)
    return _parsed(text)[1] or _parsed(with_signs_as_minus(text) or text)[1]


def _worded(expr: str, index: int | None, complaint: str) -> str:
    """Return the parser's complaint in Prometheus's words."""
    if complaint == _NO_REASON and index is not None:
        token = next((t for t in tokenize(expr) if t.start == index), None)
        return "unexpected end of input" if token is None else f"unexpected {token.text!r}"
    return _KIND_OF_VALUE.sub(lambda match: f"{match[1]} {_SHOWN_KINDS[match[2]]}", complaint)


_NO_REASON = "invalid promql query"
_KIND_OF_VALUE = re.compile(r"\b(type|got) (vector|matrix)\b")
_SHOWN_KINDS = {"vector": "instant vector", "matrix": "range vector"}


def _at_place(expr: str, index: int | None, message: str) -> str:
    return f"parse error: {message}" if index is None else f"{place(expr, index)}: parse error: {message}"


class _Unsupported(Exception):
    """A function or operator, `word`, that this engine does not have."""

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message)
        self.word = word


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
    reason = refusal(node.func.name, experimental=node.func.experimental)
    if reason is not None:
        raise _Unsupported(node.func.name, reason)
    kind = str(node.func.return_type).rsplit(".", 1)[-1].lower()
    return Call(node.func.name, tuple(_translate(a) for a in node.args), kind)  # type: ignore[arg-type]  # four words


def _aggregate(node: Any) -> Aggregate:
    without, labels = False, ()
    if node.modifier is not None:
        without = str(node.modifier.type).endswith("Without")
        labels = tuple(node.modifier.labels)
    param = None if node.param is None else _translate(node.param)
    op = str(node.op)
    if op in EXPERIMENTAL_AGGREGATIONS:
        raise _Unsupported(op, f"{op} is experimental in Prometheus 3, and not supported")
    return Aggregate(op, _translate(node.expr), param, labels, without)


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
