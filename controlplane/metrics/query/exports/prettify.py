"""PromQL in the format of Prometheus's own formatter: an expression longer than a line is broken at its operators."""

from __future__ import annotations

import re
from collections.abc import Iterable

from controlplane.metrics.promql.syntax.tree import parse
from controlplane.metrics.promql.values import format_value
from promql import nodes
from promql.durations import is_calculated
from promql.nodes import At
from promql.parser import parse_tree
from promql.strings import quote
from promql.tokens import tokenize

MAX_LINE = 100
"""Longest expression on one line, in bytes without its indentation (Prometheus's promql/parser/prettier.go)."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_UNITS = ((31_536_000_000, "y"), (604_800_000, "w"), (86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"))


def prettify(expr: str) -> str:
    """Return an expression with uniform blanks and line breaks. Comments are left out.

    An expression with calculated durations (`[5m * 2]`) is returned as it is, because their values depend on the query.
    Raises QueryError(bad_data) when the expression is not valid.
    """
    parse(expr)
    return expr.strip() if is_calculated(tokenize(expr)) else _broken(parse_tree(expr), 0)


def _broken(node: nodes.Node, level: int) -> str:
    """Return a node on as many lines as it needs, each indented by at least `level` steps of two blanks."""
    indent = "  " * level
    line = _line(node)
    if len(line.encode()) <= MAX_LINE:
        return indent + line
    match node:
        case nodes.BinaryExpr():
            left, right = _broken(node.lhs, level + 1), _broken(node.rhs, level + 1)
            return f"{left}\n{indent}{_operator(node)}\n{right}"
        case nodes.ParenExpr():
            return f"{indent}(\n{_broken(node.expr, level + 1)}\n{indent})"
        case nodes.UnaryExpr():
            return f"{indent}-{_broken(node.expr, level).lstrip()}"
        case nodes.Call():
            return _call(node.name, node.args, level)
        case nodes.AggregateExpr():
            return _call(_aggregation(node), node.args, level)
        case nodes.SubqueryExpr():
            return _broken(node.expr, level) + _subquery(node)
        case _:
            return indent + line


def _call(name: str, args: Iterable[nodes.Node], level: int) -> str:
    indent = "  " * level
    inside = ",\n".join(_broken(arg, level + 1) for arg in args)
    return f"{indent}{name}(\n{inside}\n{indent})"


def _line(node: nodes.Node) -> str:
    match node:
        case nodes.NumberLiteral():
            return format_value(node.val, exponents=False).lstrip("+")
        case nodes.StringLiteral():
            return quote(node.val)
        case nodes.ParenExpr():
            return f"({_line(node.expr)})"
        case nodes.UnaryExpr():
            return f"-{_line(node.expr)}"
        case nodes.VectorSelector():
            return _selector(node) + _moved(node.at, node.offset_ms)
        case nodes.MatrixSelector():
            selector = node.selector
            return f"{_selector(selector)}[{_duration(node.range_ms)}]{_moved(selector.at, selector.offset_ms)}"
        case nodes.SubqueryExpr():
            return _line(node.expr) + _subquery(node)
        case nodes.Call():
            return f"{node.name}({', '.join(map(_line, node.args))})"
        case nodes.AggregateExpr():
            return f"{_aggregation(node)}({', '.join(map(_line, node.args))})"
        case nodes.BinaryExpr():
            return f"{_line(node.lhs)} {_operator(node)} {_line(node.rhs)}"


def _selector(node: nodes.VectorSelector) -> str:
    matchers = sorted(f"{_label(m.name)}{m.op}{quote(m.value)}" for m in node.matchers)
    return node.name + (f"{{{','.join(matchers)}}}" if matchers or not node.name else "")


def _subquery(node: nodes.SubqueryExpr) -> str:
    step = "" if node.step_ms is None else _duration(node.step_ms)
    return f"[{_duration(node.range_ms)}:{step}]{_moved(node.at, node.offset_ms)}"


def _aggregation(node: nodes.AggregateExpr) -> str:
    if node.without:
        return f"{node.op} without ({_labels(node.labels)}) "
    return f"{node.op} by ({_labels(node.labels)}) " if node.labels else node.op


def _operator(node: nodes.BinaryExpr) -> str:
    how = node.matching
    words = [node.op]
    if how.returns_bool:
        words.append("bool")
    if how.labels is not None and (how.on or how.labels or how.group):
        words.append(f"{'on' if how.on else 'ignoring'} ({_labels(how.labels)})")
    if how.group:
        words.append(f"{how.group} ({_labels(how.include)})")
    return " ".join(words)


def _labels(names: Iterable[str] | None) -> str:
    return ", ".join(map(_label, names or ()))


def _label(name: str) -> str:
    return name if _LABEL.fullmatch(name) else quote(name)


def _moved(at: At, offset_ms: int | None) -> str:
    when = "" if at is None else f" @ {at}()" if isinstance(at, str) else f" @ {at / 1000:.3f}"
    return when + (f" offset {_duration(offset_ms)}" if offset_ms is not None else "")


def _duration(milliseconds: int) -> str:
    """Return a duration in Prometheus's format. Years and weeks are used only if they divide it: 8 days → `8d`."""
    if not milliseconds:
        return "0s"
    rest, written = abs(milliseconds), "-" if milliseconds < 0 else ""
    for size, unit in _UNITS:
        if rest >= size and (unit not in "yw" or rest % size == 0):
            written += f"{rest // size}{unit}"
            rest %= size
    return f"{written}{rest}ms" if rest else written
