"""A query's syntax tree as Prometheus's `/api/v1/parse_query` writes it, for programs that draw or explain queries.

Every node is an object with its `type`; durations are milliseconds, and numbers are text.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from alerts.promql.dialect import Rewritten, at_seconds
from alerts.promql.parser import parse_tree
from alerts.promql.strings import readable
from controlplane.metrics.promql.syntax.tree import parse
from controlplane.metrics.promql.values import format_value
from controlplane.metrics.series.index import METRIC_NAME

_MATCH_OPS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
_CARDS = {
    "OneToOne": "one-to-one",
    "ManyToOne": "many-to-one",
    "OneToMany": "one-to-many",
    "ManyToMany": "many-to-many",
}
_KINDS = {
    "NumberLiteral": "scalar",
    "StringLiteral": "string",
    "MatrixSelector": "matrix",
    "SubqueryExpr": "matrix",
    "VectorSelector": "vector",
    "AggregateExpr": "vector",
}


def syntax_tree(expr: str) -> dict[str, Any]:
    """Return the tree. Raises QueryError(bad_data) for what is no PromQL, or none that is evaluated here."""
    parse(expr)
    tree, rewritten = parse_tree(expr)
    return _Tree(rewritten).node(tree)


class _Tree:
    """Writes nodes of the parser's, with the expression's own strings and names."""

    def __init__(self, rewritten: Rewritten) -> None:
        self._rewritten = rewritten
        self._writers: dict[str, Callable[[Any], dict[str, Any]]] = {
            "NumberLiteral": lambda n: {"type": "numberLiteral", "val": format_value(n.val, exponents=False)},
            "StringLiteral": lambda n: {"type": "stringLiteral", "val": self._meant(n.val)},
            "ParenExpr": lambda n: {"type": "parenExpr", "expr": self.node(n.expr)},
            "UnaryExpr": lambda n: {"type": "unaryExpr", "op": "-", "expr": self.node(n.expr)},
            "VectorSelector": lambda n: {"type": "vectorSelector", **self._selector(n)},
            "MatrixSelector": self._matrix,
            "SubqueryExpr": self._subquery,
            "Call": self._call,
            "AggregateExpr": self._aggregate,
            "BinaryExpr": self._binary,
        }

    def _meant(self, text: str) -> str:
        return readable(self._rewritten.meant(text))

    def node(self, node: Any) -> dict[str, Any]:
        return self._writers[type(node).__name__](node)

    def _names(self, names: Any) -> list[str]:
        return [self._meant(name) for name in names or ()]

    def _selector(self, node: Any) -> dict[str, Any]:
        name = self._meant(node.name or "")
        matchers = [
            {"name": self._meant(m.name), "value": self._meant(m.value), "type": _MATCH_OPS[_word(m.op)]}
            for m in node.matchers.matchers
        ]
        if name:
            matchers.append({"name": METRIC_NAME, "value": name, "type": "="})
        plain = {"anchored": False, "smoothed": False}
        return {"name": name, "offset": _ms(node.offset), "matchers": matchers, **_at(node.at), **plain}

    def _matrix(self, node: Any) -> dict[str, Any]:
        return {"type": "matrixSelector", "range": _ms(node.range), **self._selector(node.vector_selector)}

    def _subquery(self, node: Any) -> dict[str, Any]:
        times = {"range": _ms(node.range), "offset": _ms(node.offset), "step": _ms(node.step)}
        return {"type": "subquery", "expr": self.node(node.expr), **times, **_at(node.at)}

    def _call(self, node: Any) -> dict[str, Any]:
        function = {
            "name": node.func.name,
            "argTypes": [_word(kind).lower() for kind in node.func.arg_types],
            "variadic": node.func.variadic,
            "returnType": _word(node.func.return_type).lower(),
        }
        return {"type": "call", "func": function, "args": [self.node(arg) for arg in node.args]}

    def _aggregate(self, node: Any) -> dict[str, Any]:
        modifier = node.modifier
        return {
            "type": "aggregation",
            "op": str(node.op),
            "expr": self.node(node.expr),
            "param": None if node.param is None else self.node(node.param),
            "grouping": self._names(modifier.labels if modifier else ()),
            "without": modifier is not None and _word(modifier.type) == "Without",
        }

    def _binary(self, node: Any) -> dict[str, Any]:
        modifier, matching = node.modifier, None
        if _kind(node.lhs) == _kind(node.rhs) == "vector":
            how = modifier.matching if modifier else None
            card = "ManyToMany" if str(node.op) in ("and", "or", "unless") else "OneToOne"
            matching = {
                "card": _CARDS[_word(modifier.card) if modifier and card == "OneToOne" else card],
                "labels": self._names(how.labels if how else ()),
                "on": how is not None and _word(how.type) == "Include",
                "include": self._names(modifier.group_labels if modifier else ()),
            }
        return {
            "type": "binaryExpr",
            "op": str(node.op),
            "lhs": self.node(node.lhs),
            "rhs": self.node(node.rhs),
            "matching": matching,
            "bool": bool(modifier and modifier.return_bool),
        }


def _kind(node: Any) -> str:
    match type(node).__name__:
        case "ParenExpr" | "UnaryExpr":
            return _kind(node.expr)
        case "Call":
            return _word(node.func.return_type).lower()
        case "BinaryExpr":
            return "scalar" if _kind(node.lhs) == _kind(node.rhs) == "scalar" else "vector"
        case name:
            return _KINDS[name]


def _word(value: Any) -> str:
    return str(value).rsplit(".", 1)[-1]


def _ms(delta: timedelta | None) -> int:
    return 0 if delta is None else round(delta / timedelta(milliseconds=1))


def _at(modifier: Any) -> dict[str, Any]:
    word = None if modifier is None else _word(modifier.type)
    if word in (None, "Start", "End"):
        return {"timestamp": None, "startOrEnd": word and word.lower()}
    return {"timestamp": round(at_seconds(modifier.at.timestamp()) * 1000), "startOrEnd": None}
