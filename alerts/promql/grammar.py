"""Where an expression stops being PromQL, and where its parts are: what a message needs to name a place.

This walks the words of an expression that the parser refused, and neither evaluates nor decides anything. Precedence
does not matter here: operands and operators alternate, whatever binds first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from alerts.promql.durations import Duration, Impossible, QueryTimes, Unfit, calculate, calculate_offset
from alerts.promql.tokens import Token, tokenize

AGGREGATORS = frozenset(
    [
        "sum",
        "avg",
        "count",
        "min",
        "max",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "count_values",
        "quantile",
        "limitk",
        "limit_ratio",
    ]
)
_WORD_OPERATORS = frozenset(("and", "or", "unless", "atan2"))
_SYMBOL_OPERATORS = frozenset(("+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">="))
_NO_METRIC = frozenset(("atan2", "bool", "on", "ignoring", "group_left", "group_right"))
_GROUPING = frozenset(("by", "without"))
_NO_FUNCTION = _WORD_OPERATORS | _NO_METRIC | _GROUPING | {"offset"}
_NO_ARGUMENT = (_SYMBOL_OPERATORS - {"+", "-"}) | _NO_METRIC | {")", "[", ",", "@", "="}
MAX_DEPTH = 200
"""Deepest nesting walked; beyond it no place is named."""


class Unexpected(Exception):
    """The first word that fits no expression begins at `index`, which is the expression's length where it ends."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


@dataclass
class Part:
    """A part of an expression that could stand alone: `expr[start:end]`."""

    start: int
    end: int = 0
    name: str = ""
    """The function or aggregation operator that is called."""
    args: list[Part] = field(default_factory=list)
    operators: list[Token] = field(default_factory=list)
    """The binary operators between the operands of a whole (sub)expression."""
    operands: list[Part] = field(default_factory=list)
    bracket: int = -1
    """Where the range is written that is this part's last word."""


def parts(expr: str) -> list[Part]:
    """Return the parts of an expression, each after those inside it. Raises Unexpected where it is no PromQL."""
    walk = _Walk(expr)
    walk.expression(0)
    if walk.token is not None:
        raise Unexpected(walk.token.start)
    return walk.parts


class _Walk:
    def __init__(self, expr: str) -> None:
        self._tokens = tokenize(expr)
        self._length = len(expr)
        self._next = 0
        self.parts: list[Part] = []

    @property
    def token(self) -> Token | None:
        """The word that comes next."""
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _text(self) -> str:
        token = self.token
        if token is None or token.kind == "string":
            return ""
        return token.text.lower() if token.kind == "word" else token.text

    def _here(self) -> int:
        token = self.token
        return self._length if token is None else token.start

    def _last_end(self) -> int:
        return self._tokens[self._next - 1].end

    def _take(self, *texts: str) -> bool:
        if self._text() in texts:
            self._next += 1
            return True
        return False

    def _need(self, *texts: str) -> None:
        if not self._take(*texts):
            raise Unexpected(self._here())

    def _need_kind(self, *kinds: str) -> None:
        token = self.token
        if token is None or token.kind not in kinds:
            raise Unexpected(self._here())
        self._next += 1

    def expression(self, depth: int) -> Part:
        """Walk operands and the operators between them."""
        if depth > MAX_DEPTH:
            raise RecursionError
        whole = Part(self._here())
        whole.operands.append(self._operand(depth))
        while self._text() in _SYMBOL_OPERATORS or self._text() in _WORD_OPERATORS:
            assert self.token is not None
            whole.operators.append(self.token)
            self._next += 1
            self._matching()
            whole.operands.append(self._operand(depth))
        whole.end = self._last_end()
        self.parts.append(whole)
        return whole

    def _matching(self) -> None:
        self._take("bool")
        if self._take("on", "ignoring"):
            self._labels()
            if self._take("group_left", "group_right") and self._text() == "(":
                self._labels()

    def _operand(self, depth: int) -> Part:
        start = self._here()
        while self._take("+", "-"):
            pass
        base = self._here()
        token = self.token
        if token is None or token.kind == "bad":
            raise Unexpected(self._here())
        if token.kind in ("number", "duration", "string"):
            self._next += 1
        elif token.text == "(":
            self._next += 1
            self.expression(depth + 1)
            self._need(")")
        elif token.text == "{":
            self._matchers()
        elif token.kind == "word":
            self._named(depth)
        else:
            raise Unexpected(token.start)
        self.parts.append(Part(base, self._last_end()))
        self._modifiers(base)
        self.parts.append(Part(base, self._last_end()))
        self.parts.append(Part(start, self._last_end()))
        return self.parts[-1]

    def _named(self, depth: int) -> None:
        token = self.token
        assert token is not None
        name = token.text.lower()
        following = self._tokens[self._next + 1].text.lower() if self._next + 1 < len(self._tokens) else ""
        if name in AGGREGATORS and (following == "(" or following in _GROUPING):
            self._next += 1
            call = Part(token.start, name=name)
            if self._take(*_GROUPING):
                self._labels()
                self._arguments(call, depth)
            else:
                self._arguments(call, depth)
                if self._take(*_GROUPING):
                    self._labels()
        elif following == "(" and name not in _NO_FUNCTION and ":" not in name:
            self._next += 1
            call = Part(token.start, name=token.text)
            self._arguments(call, depth)
        elif name in _NO_METRIC:
            raise Unexpected(token.start)
        else:
            self._next += 1
            if self._text() == "{":
                self._matchers()
            return
        call.end = self._last_end()
        self.parts.append(call)

    def _arguments(self, call: Part, depth: int) -> None:
        self._need("(")
        if self._take(")"):
            return
        call.args.append(self.expression(depth + 1))
        while self._take(","):
            if self._text() in _NO_ARGUMENT:
                raise Unexpected(self._tokens[self._next - 1].start)  # Prometheus blames the comma
            call.args.append(self.expression(depth + 1))
        self._need(")")

    def _labels(self) -> None:
        self._need("(")
        while not self._take(")"):
            token = self.token
            self._need_kind("word", "string")
            if token is not None and token.kind == "word" and token.text.lower() == "without":
                raise Unexpected(token.start)
            if self._text() != ")":
                self._need(",")

    def _matchers(self) -> None:
        self._need("{")
        while not self._take("}"):
            name = self.token
            self._need_kind("word", "string")
            if self._take("=", "!=", "=~", "!~"):
                self._need_kind("string")
            elif name is not None and name.kind == "word":
                raise Unexpected(self._here())
            if self._text() != "}":
                self._need(",")

    def _modifiers(self, base: int) -> None:
        while True:
            bracket = self._here()
            if self._take("["):
                self._duration(calculate)
                if self._take(":") and self._text() != "]":
                    self._duration(calculate)
                self._need("]")
                self.parts.append(Part(base, self._last_end(), bracket=bracket))
            elif self._take("offset"):
                self._duration(calculate_offset)
            elif self._take("@"):
                if self._take("start", "end"):
                    self._need("(")
                    self._need(")")
                else:
                    self._take("+", "-")
                    self._need_kind("number", "duration")
            else:
                return

    def _duration(self, walk: Callable[[Sequence[Token], int, QueryTimes], Duration]) -> None:
        try:
            self._next = walk(self._tokens, self._next, QueryTimes()).end
        except Unfit as error:
            self._next = error.index
            raise Unexpected(self._here()) from error
        except Impossible as error:
            raise Unexpected(self._tokens[error.index].start) from error
