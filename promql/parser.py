"""The parser of Prometheus 3's PromQL: text to a tree, or to an error with its place and its reason."""

from __future__ import annotations

from promql.durations import INSTANT, QueryTimes
from promql.errors import ExpressionError
from promql.limits import check_size
from promql.nodes import Node
from promql.syntax import Parser
from promql.tokens import place
from promql.words import Fault


def parse_tree(expr: str, times: QueryTimes = INSTANT) -> Node:
    """Return the tree of an expression. `times` holds the values of `step()` and `range()` in durations.

    Raises ExpressionError when the expression is not valid. Its message begins with `line:column: `, except when the
    expression is too large.
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
