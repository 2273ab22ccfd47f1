"""A query's syntax tree in the format of Prometheus's `/api/v1/parse_query`, for programs that explain queries.

Every node is an object with its `type`. Durations are milliseconds, and numbers are texts.
"""

from __future__ import annotations

from typing import Any

from controlplane.metrics.promql.syntax.tree import parse
from controlplane.metrics.promql.values import format_value
from controlplane.metrics.series.index import METRIC_NAME
from promql import nodes
from promql.nodes import At
from promql.parser import parse_tree
from promql.signatures import FUNCTIONS
from promql.strings import readable

_CARDS = {"": "one-to-one", "group_left": "many-to-one", "group_right": "one-to-many"}


def syntax_tree(expr: str) -> dict[str, Any]:
    """Return the tree. Raises QueryError(bad_data) when the expression is not valid or not supported."""
    parse(expr)
    return _written(parse_tree(expr))


def _written(node: nodes.Node) -> dict[str, Any]:
    match node:
        case nodes.NumberLiteral():
            return {"type": "numberLiteral", "val": format_value(node.val, exponents=False)}
        case nodes.StringLiteral():
            return {"type": "stringLiteral", "val": readable(node.val)}
        case nodes.ParenExpr():
            return {"type": "parenExpr", "expr": _written(node.expr)}
        case nodes.UnaryExpr():
            return {"type": "unaryExpr", "op": "-", "expr": _written(node.expr)}
        case nodes.VectorSelector():
            return {"type": "vectorSelector", **_selector(node)}
        case nodes.MatrixSelector():
            return {"type": "matrixSelector", "range": node.range_ms, **_selector(node.selector)}
        case nodes.SubqueryExpr():
            times = {"range": node.range_ms, "offset": node.offset_ms or 0, "step": node.step_ms or 0}
            return {"type": "subquery", "expr": _written(node.expr), **times, **_at(node.at)}
        case nodes.Call():
            return _call(node)
        case nodes.AggregateExpr():
            return _aggregate(node)
        case nodes.BinaryExpr():
            return _binary(node)


def _names(names: list[str] | None) -> list[str]:
    return list(map(readable, names or ()))


def _selector(node: nodes.VectorSelector) -> dict[str, Any]:
    name = readable(node.name)
    matchers = [{"name": readable(m.name), "value": readable(m.value), "type": m.op} for m in node.matchers]
    if name:
        matchers.append({"name": METRIC_NAME, "value": name, "type": "="})
    plain = {"anchored": False, "smoothed": False}
    return {"name": name, "offset": node.offset_ms or 0, "matchers": matchers, **_at(node.at), **plain}


def _call(node: nodes.Call) -> dict[str, Any]:
    signature = FUNCTIONS[node.name]
    function = {
        "name": node.name,
        "argTypes": list(signature.args),
        "variadic": signature.variadic,
        "returnType": signature.returns,
    }
    return {"type": "call", "func": function, "args": list(map(_written, node.args))}


def _aggregate(node: nodes.AggregateExpr) -> dict[str, Any]:
    return {
        "type": "aggregation",
        "op": node.op,
        "expr": _written(node.expr),
        "param": None if node.param is None else _written(node.param),
        "grouping": _names(node.labels),
        "without": node.without,
    }


def _binary(node: nodes.BinaryExpr) -> dict[str, Any]:
    how, matching = node.matching, None
    if node.lhs.kind == node.rhs.kind == "vector":
        matching = {
            "card": "many-to-many" if node.op in ("and", "or", "unless") else _CARDS[how.group],
            "labels": _names(how.labels),
            "on": how.on,
            "include": _names(how.include),
        }
    return {
        "type": "binaryExpr",
        "op": node.op,
        "lhs": _written(node.lhs),
        "rhs": _written(node.rhs),
        "matching": matching,
        "bool": how.returns_bool,
    }


def _at(at: At) -> dict[str, Any]:
    return {"timestamp": at if isinstance(at, int) else None, "startOrEnd": at if isinstance(at, str) else None}
