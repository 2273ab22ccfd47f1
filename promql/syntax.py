"""The grammar of PromQL: tokens to nodes, by precedence climbing.

The first token that does not fit raises Fault at once. An expression of the right form can still be wrong, such as
`rate(1)`. The parser notes the first of these faults, inner before outer and left before right, and raises it at the
end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

from promql import checks
from promql.durations import Duration, Impossible, QueryTimes, Unfit, calculate, calculate_offset
from promql.errors import PatternError
from promql.nodes import (
    AggregateExpr,
    At,
    BinaryExpr,
    Call,
    LabelMatcher,
    Matching,
    MatrixSelector,
    Node,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)
from promql.regex import compile_regex
from promql.signatures import AGGREGATIONS, FUNCTIONS
from promql.tokens import Token, seconds
from promql.words import Fault, Words

EXPERIMENTAL_MODIFIERS = frozenset(("anchored", "smoothed"))
"""Modifiers of selectors that Prometheus 3 has behind a flag. This parser refuses them by name."""

MAX_DEPTH = 850
"""Deepest nesting, in frames of Python's stack. The stack has 1,000 frames, and the callers of the parser need some.
850 frames are enough for some 210 nested round brackets, or 120 nested calls."""

_OF_BRACKETS, _OF_A_CALL, _OF_AN_OPERAND = 4, 7, 2
"""Frames of the stack that one level of each kind of nesting takes."""

MAX_DURATION_S = 2**63 / 1e9
"""Longest duration, 292 years in seconds: Go counts nanoseconds in a signed int64."""

MAX_AT_S = 1e11
"""Latest time after `@`, in unix seconds: some 3,000 years, the same limit as for the times of queries. Chosen."""

_PRECEDENCE = {
    "or": 1,
    **dict.fromkeys(("and", "unless"), 2),
    **dict.fromkeys(checks.COMPARISONS, 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%", "atan2"), 5),
    "^": 6,
}
_POWER = _PRECEDENCE["^"]
_NO_METRIC = frozenset(("atan2", "bool", "on", "ignoring", "group_left", "group_right"))
_NO_FUNCTION = frozenset(("and", "or", "unless", "by", "without", "offset")) | _NO_METRIC
_NO_ARGUMENT = (frozenset(_PRECEDENCE) - {"+", "-", "and", "or", "unless"}) | _NO_METRIC | {")", "[", ",", "@", "="}
_FILLS = ("fill", "fill_left", "fill_right")
_OPERATORS = ("=", "!=", "=~", "!~")


class Parser(Words):
    """The parser of one expression. `times` holds the values of `step()` and `range()` in durations."""

    def __init__(self, expr: str, times: QueryTimes) -> None:
        super().__init__(expr)
        self._times = times
        self._depth = 0

    def whole(self) -> Node:
        """Return the tree of the whole expression. Raises Fault when the expression is not valid."""
        if not self._tokens:
            raise Fault(0, "no expression found in input")
        node = self._expression(0)
        if self._next < len(self._tokens):
            raise self._unexpected()
        if self._fault is not None:
            raise Fault(*self._fault)
        return node

    # Operations

    def _expression(self, least: int) -> Node:
        """Read operands and the operators between them whose precedence is at least `least`."""
        left = self._operand()
        while (precedence := _PRECEDENCE.get(self._texts[self._next], 0)) > 0 and precedence >= least:
            operator = self._tokens[self._next]
            op = self._texts[self._next]
            self._next += 1
            matching = self._matching()
            right = self._inner(_OF_AN_OPERAND, precedence + (op != "^"))
            kind: Literal["scalar", "vector"] = "scalar" if left.kind == right.kind == "scalar" else "vector"
            left = BinaryExpr(left.start, right.end, op, operator.start, left, right, matching, kind)
            self._note(checks.of_binary(left))
        return left

    def _inner(self, frames: int, least: int) -> Node:
        """Read an expression inside another. `frames` is the stack that this level of nesting takes."""
        self._depth += frames
        if self._depth > MAX_DEPTH:
            raise Fault(self._here(), "the expression is nested too deeply")
        node = self._expression(least)
        self._depth -= frames
        return node

    def _matching(self) -> Matching:
        matching = Matching(bool(self._take("bool")))
        if how := self._take("on", "ignoring"):
            matching.on = how == "on"
            matching.labels = self._labels()
            if group := self._take("group_left", "group_right"):
                matching.group = cast(Literal["group_left", "group_right"], group)
                if self._texts[self._next] == "(":
                    matching.include = self._labels()
        while self._texts[self._next] in _FILLS and self._texts[self._next + 1] == "(":
            self._next += 2
            self._take("+", "-")
            self._need_kind("number", "duration")
            self._need(")")
            matching.fills = True
        return matching

    def _operand(self) -> Node:
        """Read an operand with its signs. A sign binds as `*` does: `-x ^ 2` → `-(x ^ 2)`."""
        signs = []
        while self._take("+", "-"):
            signs.append(self._tokens[self._next - 1])
        node = self._modified(self._primary())
        if not signs:
            return node
        if self._texts[self._next] == "^":
            node = self._power(node)
        for sign in reversed(signs):
            self._note(checks.of_sign(sign.start, node))
            if sign.text == "-" and not isinstance(node, NumberLiteral):
                node = UnaryExpr(sign.start, node.end, node, node.kind)
                continue
            if sign.text == "-" and isinstance(node, NumberLiteral):
                node.val = -node.val
            node.start = sign.start
        return node

    def _power(self, left: Node) -> Node:
        operator = self._tokens[self._next]
        self._next += 1
        matching = self._matching()
        right = self._inner(_OF_AN_OPERAND, _POWER)
        kind: Literal["scalar", "vector"] = "scalar" if left.kind == right.kind == "scalar" else "vector"
        node = BinaryExpr(left.start, right.end, "^", operator.start, left, right, matching, kind)
        self._note(checks.of_binary(node))
        return node

    def _primary(self) -> Node:
        if self._next >= len(self._tokens):
            raise self._unexpected()
        token = self._tokens[self._next]
        if token.kind in ("number", "duration"):
            self._next += 1
            return NumberLiteral(token.start, token.end, seconds(token))
        if token.kind == "string":
            self._next += 1
            return StringLiteral(token.start, token.end, self._value(token))
        if token.kind == "word":
            return self._named(token)
        if token.text == "(":
            self._next += 1
            inside = self._inner(_OF_BRACKETS, 0)
            self._need(")")
            return ParenExpr(token.start, self._end(), inside, inside.kind)
        if token.text == "{":
            return self._selector(token, "")
        raise self._unexpected()

    # Names

    def _named(self, token: Token) -> Node:
        name, following = self._texts[self._next], self._texts[self._next + 1]
        if following in ("(", "by", "without") and name in AGGREGATIONS:
            return self._aggregate(token, name)
        if following == "(" and name not in _NO_FUNCTION and ":" not in name:
            return self._call(token)
        if name in _NO_METRIC:
            raise self._unexpected()
        self._next += 1
        return self._selector(token, token.text)

    def _aggregate(self, token: Token, op: str) -> Node:
        self._next += 1
        grouping = self._take("by", "without")
        labels = self._labels() if grouping else None
        args = self._arguments()
        if not grouping and (grouping := self._take("by", "without")):
            labels = self._labels()
        node = AggregateExpr(token.start, self._end(), op, args, labels, grouping == "without")
        self._note(checks.of_aggregate(node))
        return node

    def _call(self, token: Token) -> Node:
        self._next += 1
        args = self._arguments()
        signature = FUNCTIONS.get(token.text)
        if signature is None:
            self._note((token.start, f"unknown function with name '{token.text}'"))
            return Call(token.start, self._end(), token.text, args, "vector")
        self._note(checks.of_call(token.text, token.start, args, signature))
        return Call(token.start, self._end(), token.text, args, signature.returns)

    def _arguments(self) -> list[Node]:
        self._need("(")
        args: list[Node] = []
        if self._take(")"):
            return args
        args.append(self._inner(_OF_A_CALL, 0))
        while self._take(","):
            if self._texts[self._next] in _NO_ARGUMENT:
                # Prometheus blames the comma.
                comma = self._tokens[self._next - 1]
                raise Fault(comma.start, "trailing commas not allowed in function call args")
            args.append(self._inner(_OF_A_CALL, 0))
        self._need(")")
        return args

    def _labels(self) -> list[str]:
        self._need("(")
        labels: list[str] = []
        while not self._take(")"):
            if self._texts[self._next] == "without":
                raise self._unexpected()
            token = self._need_kind("word", "string")
            labels.append(self._value(token) if token.kind == "string" else token.text)
            if self._texts[self._next] != ")":
                self._need(",")
        return labels

    def _selector(self, token: Token, name: str) -> Node:
        matchers = self._matchers() if self._texts[self._next] == "{" else []
        node = VectorSelector(token.start, self._end(), name, matchers)
        if matchers or not name:
            self._note(checks.of_selector(node))
        return node

    def _matchers(self) -> list[LabelMatcher]:
        self._need("{")
        found: list[LabelMatcher] = []
        while not self._take("}"):
            token = self._need_kind("word", "string")
            name = self._value(token) if token.kind == "string" else token.text
            op = self._take(*_OPERATORS)
            if op:
                value = self._value(self._need_kind("string"))
                self._check_pattern(token, op, value)
                found.append(LabelMatcher(name, op, value))
            elif token.kind == "word":
                raise self._unexpected(token.text)
            else:
                found.append(LabelMatcher("__name__", "=", name))
            if self._texts[self._next] != "}":
                self._need(",")
        return found

    def _check_pattern(self, token: Token, op: str, value: str) -> None:
        if op in ("=~", "!~"):
            try:
                compile_regex(value)
            except PatternError as error:
                raise Fault(token.start, str(error)) from error

    # Ranges and modifiers

    def _modified(self, node: Node) -> Node:
        """Read the ranges and modifiers after an operand."""
        while True:
            text = self._texts[self._next]
            if text == "[":
                node = self._brackets(node)
            elif text == "offset":
                self._next += 1
                self._offset(node)
            elif text == "@":
                self._next += 1
                self._at(node)
            elif text in EXPERIMENTAL_MODIFIERS:
                message = f"the {text} modifier is experimental in Prometheus 3, and not supported"
                raise Fault(self._here(), message)
            else:
                return node
            node.end = self._end()

    def _brackets(self, node: Node) -> Node:
        bracket = self._here()
        self._next += 1
        range_ms = self._duration(calculate, positive=True)
        if self._take(":"):
            step_ms = None if self._texts[self._next] == "]" else self._duration(calculate, positive=True)
            self._need("]")
            if node.kind != "vector":
                shown = checks.SHOWN[node.kind]
                self._note((node.start, f"subquery is only allowed on vector, got {shown} instead"))
            return SubqueryExpr(node.start, self._end(), node, range_ms, step_ms)
        self._need("]")
        if not isinstance(node, VectorSelector):
            self._note((bracket, "ranges only allowed for vector selectors"))
            return MatrixSelector(node.start, self._end(), VectorSelector(node.start, node.end, "", []), range_ms)
        if node.offset_ms is not None:
            self._note((bracket, "no offset modifiers allowed before range"))
        elif node.at is not None:
            self._note((bracket, "no @ modifiers allowed before range"))
        return MatrixSelector(node.start, self._end(), node, range_ms)

    def _duration(
        self, walk: Callable[[Sequence[Token], int, QueryTimes], Duration], *, positive: bool, after: str = ""
    ) -> int:
        """Read a duration and return its milliseconds."""
        start = self._next
        try:
            value, self._next = walk(self._tokens, start, self._times)
        except Unfit as error:
            self._next = error.index
            raise self._unexpected(after if error.index == start else "") from error
        except Impossible as error:
            raise Fault(self._tokens[error.index].start, str(error)) from error
        written = self._tokens[start : self._next]
        if not -MAX_DURATION_S < value < MAX_DURATION_S:  # refuses NaN too
            blamed = next((t for t in written if t.kind in ("number", "duration")), written[0])
            raise Fault(blamed.start, "duration out of range")
        if positive and value <= 0:
            raise Fault(written[0].start, "duration must be greater than 0")
        milliseconds = round(value * 1e6) / 1e3
        # Prometheus truncates a calculated duration to whole milliseconds, and rounds a literal.
        return round(milliseconds) if len(written) == 1 else int(milliseconds)

    def _offset(self, node: Node) -> None:
        offset_ms = self._duration(calculate_offset, positive=False, after="offset")
        target = _movable(node)
        if target is None:
            kinds = "an vector selector or matrix selector or a subquery"
            self._note((node.start, f"offset modifier must be preceded by {kinds}"))
        elif target.offset_ms is not None:
            self._note((node.start, "offset may not be set multiple times"))
        else:
            target.offset_ms = offset_ms

    def _at(self, node: Node) -> None:
        at = self._time()
        target = _movable(node)
        if target is None:
            kinds = "an vector selector or matrix selector or a subquery"
            self._note((node.start, f"@ modifier must be preceded by {kinds}"))
        elif target.at is not None:
            self._note((node.start, "@ <timestamp> may not be set multiple times"))
        else:
            target.at = at

    def _time(self) -> At:
        if word := self._take("start", "end"):
            self._need("(")
            self._need(")")
            return cast(Literal["start", "end"], word)
        if self._next >= len(self._tokens):
            raise self._unexpected("@")
        sign = -1 if self._take("+", "-") == "-" else 1
        token = self._need_kind("number", "duration")
        when = seconds(token)
        if not when <= MAX_AT_S:  # refuses NaN too
            raise Fault(token.start, f"timestamp out of bounds for @ modifier: {token.text}")
        return sign * round(when * 1000)


def _movable(node: Node) -> VectorSelector | SubqueryExpr | None:
    """Return the node that holds the offset and the `@` of `node`. None when `node` cannot have them."""
    if isinstance(node, MatrixSelector):
        return node.selector
    return node if isinstance(node, VectorSelector | SubqueryExpr) else None
