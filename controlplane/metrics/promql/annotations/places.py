"""Places of the arguments of a query's functions in its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controlplane.metrics.promql.syntax.tree import Aggregate, Call, Node, calls
from promql import nodes
from promql.checks import without_brackets
from promql.durations import QueryTimes
from promql.errors import ExpressionError
from promql.parser import parse_tree

_SOME_TIMES = QueryTimes(1.0, 3600.0)
"""Values of `step()` and `range()` for parsing. They do not change a place. They must make durations positive."""


def places(expr: str, tree: Node) -> dict[int, int]:
    """Return the index in `expr` at which each argument of a function or an aggregation begins, by its node's `id`.

    Round brackets around a whole argument are not part of it. The result is empty when a calculated duration is not
    valid with the times used here.
    """
    try:
        written = _calls(parse_tree(expr, _SOME_TIMES))
    except ExpressionError:
        return {}
    return {
        id(argument): without_brackets(part).start
        for call, whole in zip(calls(tree), written, strict=True)
        for argument, part in zip(_arguments(call), whole.args, strict=True)
    }


def _arguments(call: Call | Aggregate) -> Sequence[Node]:
    if isinstance(call, Call):
        return call.args
    return (call.expr,) if call.param is None else (call.param, call.expr)


def _calls(root: nodes.Node) -> Iterator[nodes.Call | nodes.AggregateExpr]:
    """Yield the functions and aggregations of an expression in the order in which their names are written."""
    waiting: list[nodes.Node] = [root]
    while waiting:
        node = waiting.pop()
        match node:
            case nodes.Call() | nodes.AggregateExpr():
                yield node
                waiting += reversed(node.args)
            case nodes.BinaryExpr():
                waiting += (node.rhs, node.lhs)
            case nodes.ParenExpr() | nodes.UnaryExpr() | nodes.SubqueryExpr():
                waiting.append(node.expr)
            case _:
                continue
