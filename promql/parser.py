"""PromQL of Prometheus 3 to a tree, or to an error that says where and why."""

from __future__ import annotations

from promql.durations import INSTANT, QueryTimes
from promql.errors import ExpressionError
from promql.limits import check_size
from promql.nodes import Node
from promql.syntax import Parser
from promql.tokens import place
from promql.words import Fault


def parse_tree(expr: str, times: QueryTimes = INSTANT) -> Node:
    """Return the tree of an expression. `times` are what `step()` and `range()` are in calculated durations.

    Raises ExpressionError with `line:column`; of an expression that is too large there is no place to name.
    """
    try:
        check_size(expr)
        expr.encode()
        return Parser(expr, times).whole()
    except UnicodeEncodeError as error:
        raise ExpressionError(f"{place(expr, error.start)}: parse error: invalid UTF-8") from error
    except ValueError as error:
        raise ExpressionError(str(error)) from error
    except Fault as error:
        raise ExpressionError(f"{place(expr, error.index)}: parse error: {error}") from error
