"""Checks of a parsed expression beyond its syntax: kinds of values, numbers of arguments, vector matching.

Each function returns the first fault, or None when there is none.
"""

from __future__ import annotations

from promql.nodes import AggregateExpr, BinaryExpr, Node, ParenExpr, ValueKind, VectorSelector
from promql.regex import compile_regex
from promql.signatures import AGGREGATIONS, Signature
from promql.strings import readable

Fault = tuple[int, str]
"""The index of a character of the expression, and the error message."""

SHOWN: dict[ValueKind, str] = {
    "vector": "instant vector",
    "matrix": "range vector",
    "scalar": "scalar",
    "string": "string",
}
COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
SET_OPERATORS = frozenset(("and", "or", "unless"))


def of_call(name: str, start: int, args: list[Node], signature: Signature) -> Fault | None:
    """Check the number and the kinds of a function's arguments."""
    count = len(args)
    if not signature.variadic and count != signature.least:
        return start, f"expected {signature.least} argument(s) in call to '{name}', got {count}"
    if count < signature.least:
        return start, f"expected at least {signature.least} argument(s) in call to '{name}', got {count}"
    if signature.most is not None and count > signature.most:
        return start, f"expected at most {signature.most} argument(s) in call to '{name}', got {count}"
    for number, arg in enumerate(args):
        wanted = signature.args[min(number, len(signature.args) - 1)]
        if arg.kind != wanted:
            shown = f"expected type {SHOWN[wanted]} in call to function '{name}', got {SHOWN[arg.kind]}"
            return arg.start, shown
    return None


def of_aggregate(node: AggregateExpr) -> Fault | None:
    """Check the number and the kinds of an aggregation's arguments."""
    param = AGGREGATIONS[node.op]
    if not node.args:
        return node.start, f"no arguments for aggregate expression '{node.op}' provided"
    wanted = 1 if param is None else 2
    if len(node.args) != wanted:
        counts = f"expected {wanted}, got {len(node.args)}"
        return node.start, f"wrong number of arguments for aggregate expression provided, {counts}"
    kinds: list[tuple[Node, ValueKind]] = [(node.args[-1], "vector")]
    if param is not None:
        kinds.append((node.args[0], param))
    for arg, kind in kinds:
        if arg.kind != kind:
            return arg.start, f"expected type {SHOWN[kind]} in aggregation expression, got {SHOWN[arg.kind]}"
    return None


def of_binary(node: BinaryExpr) -> Fault | None:
    """Check the operands of a binary operation and its vector matching."""
    matching, left, right = node.matching, node.lhs, node.rhs
    scalar = "scalar" in (left.kind, right.kind)
    if matching.returns_bool and node.op not in COMPARISONS:
        return node.op_start, "bool modifier can only be used on comparison operators"
    if node.op in COMPARISONS and left.kind == right.kind == "scalar" and not matching.returns_bool:
        return node.op_start, "comparisons between scalars must use BOOL modifier"
    twice = next((label for label in matching.include if matching.on and label in (matching.labels or ())), None)
    if twice is not None:
        return node.op_start, f"label '{twice}' must not occur in ON and GROUP clause at once"
    if node.op in SET_OPERATORS:
        if scalar:
            return node.start, f"set operator '{node.op}' not allowed in binary scalar expression"
        if matching.group:
            return node.op_start, f"no grouping allowed for '{node.op}' operation"
    for side in (left, right):
        if side.kind not in ("scalar", "vector"):
            return side.start, "binary expression must contain only scalar and instant vector types"
    if matching.labels is not None and not left.kind == right.kind == "vector":
        return node.start, "vector matching only allowed between vectors"
    return None


def of_sign(start: int, operand: Node) -> Fault | None:
    """Check that the operand of a unary `+` or `-` at `start` is a scalar or an instant vector."""
    if operand.kind in ("scalar", "vector"):
        return None
    return start, f"unary expression only allowed on expressions of type scalar or vector, got: {operand.kind}"


def of_selector(node: VectorSelector) -> Fault | None:
    """Check that a selector names its metric once, and has a matcher that does not match the empty string."""
    if node.name:
        again = next((m.value for m in node.matchers if m.name == "__name__"), None)
        if again is not None:
            return node.start, f"metric name must not be set twice: '{node.name}' or '{readable(again)}'"
        return None
    for m in node.matchers:
        matches = compile_regex(m.value).matches("") if m.op in ("=~", "!~") else m.value == ""
        if matches != (m.op in ("=", "=~")):
            return None
    return node.start, "vector selector must contain at least one non-empty matcher"


def without_brackets(node: Node) -> Node:
    """Return a node without the round brackets around it: `((x))` → `x`."""
    while isinstance(node, ParenExpr):
        node = node.expr
    return node
