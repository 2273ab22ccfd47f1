"""Where the arguments of a query's functions are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controlplane.metrics.promql.syntax.tree import Aggregate, Call, Node, calls
from promql import nodes
from promql.checks import without_brackets
from promql.durations import QueryTimes
from promql.errors import ExpressionError
from promql.parser import parse_tree

_SOME_TIMES = QueryTimes(1.0, 3600.0)
"""What `step()` and `range()` are does not move a place, but must make durations that are positive."""


def places(expr: str, tree: Node) -> dict[int, int]:
    """Return where each argument of a function or an aggregation begins, an index in `expr`, by the `id` of its node.

    Brackets around a whole argument are not part of it. Empty where a calculated duration only fits other times.
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
