"""Where the arguments of a query's functions are written."""

from __future__ import annotations

from collections.abc import Sequence

from alerts.promql.grammar import Unexpected, parts
from alerts.promql.tokens import Token, tokenize
from controlplane.metrics.promql.syntax.tree import Aggregate, Call, Node, calls


def places(expr: str, tree: Node) -> dict[int, int]:
    """Return where each argument of a function or an aggregation begins, an index in `expr`, by the `id` of its node.

    Brackets around a whole argument are not part of it. Empty where the expression is nested too deeply to be walked.
    """
    try:
        written = sorted((part for part in parts(expr) if part.name), key=lambda part: part.start)
    except (Unexpected, RecursionError):
        return {}
    called = list(calls(tree))
    if [_name(call) for call in called] != [part.name for part in written]:
        return {}
    tokens = tokenize(expr)
    return {
        id(argument): _start([token for token in tokens if part.start <= token.start < part.end])
        for call, whole in zip(called, written, strict=True)
        for argument, part in zip(_arguments(call), whole.args, strict=True)
    }


def _name(call: Call | Aggregate) -> str:
    return call.name if isinstance(call, Call) else call.op


def _arguments(call: Call | Aggregate) -> Sequence[Node]:
    if isinstance(call, Call):
        return call.args
    return (call.expr,) if call.param is None else (call.param, call.expr)


def _start(argument: Sequence[Token]) -> int:
    """Return the index of an argument's first word within the brackets that hold all of it."""
    while argument[0].text == "(" and _closing(argument) == len(argument) - 1:
        argument = argument[1:-1]
    return argument[0].start


def _closing(tokens: Sequence[Token]) -> int:
    """Return the number of the token that closes the bracket that is the first."""
    depth = 0
    for number, token in enumerate(tokens):
        depth += (token.text == "(") - (token.text == ")")
        if not depth:
            return number
    return -1
