"""Regular expressions in linear time, for patterns with which Python's backtracking `re` could run for years.

`re` holds the interpreter while it matches: one such pattern, against one label value, would stop scraping, alerting
and serving together, and no deadline could end it. So the paths that `re` might try are bounded beforehand, and where
they are too many, the pattern runs as an automaton (Thompson's construction, subsets made when they are met).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from re import _constants as op  # type: ignore[attr-defined]  # no stubs: the parse tree is CPython's own, since 3.11
from re import _parser  # type: ignore[attr-defined]  # see above
from typing import Any, NamedTuple

from controlplane.errors import QueryError

MAX_PATHS = 50_000
"""Paths that `re` may try on one value: some milliseconds. `.*a.*` on 200 characters has 40,401."""
MAX_PROGRAM = 5_000
"""Instructions of an automaton; `{n,m}` is written out, as RE2 does."""
MAX_SUBSETS = 2_000
"""Subsets remembered before they are forgotten: bounds memory, not what can be matched."""
_FLAGS = re.DOTALL | re.ASCII
_TOO_MANY = float("inf")


class Regex:
    """One pattern, fully anchored; `.` matches newlines too, as Prometheus compiles it."""

    def __init__(self, pattern: str) -> None:
        """Raises re.error, OverflowError and RecursionError as re.compile does."""
        self._compiled = re.compile(pattern, _FLAGS)
        self._shown = pattern if len(pattern) <= 80 else pattern[:77] + "..."
        self._tree = _parser.parse(pattern, _FLAGS)
        self._cheap_to = -1

    def matches(self, value: str) -> bool:
        """Whether the whole value matches. Raises QueryError (bad_data) for what an automaton cannot do."""
        if self._cheap(len(value)):
            return self._compiled.fullmatch(value) is not None
        return self._automaton.accepts(value)

    def fullmatch(self, value: str) -> re.Match[str] | None:
        """Match with groups. Raises QueryError (bad_data) where that could take too long."""
        if not self._cheap(len(value)):
            raise QueryError(
                "bad_data",
                f"regular expression {self._shown!r} could take too long on a value of {len(value)} characters: "
                "use fewer repetitions and alternatives",
            )
        return self._compiled.fullmatch(value)

    def _cheap(self, size: int) -> bool:
        """Whether `re` is quick on values of this size; then it is on all shorter ones."""
        if size > self._cheap_to and _paths(self._tree, size) <= MAX_PATHS:
            self._cheap_to = size
        return size <= self._cheap_to

    @cached_property
    def _automaton(self) -> _Automaton:
        try:
            return _Automaton(self._tree)
        except _Unsupported as error:
            raise QueryError("bad_data", f"regular expression {self._shown!r}: {error}") from error


def _paths(tree: Any, size: int) -> float:
    """Return an upper bound of the ways in which a sequence can match parts of a value of `size` characters."""
    paths = 1.0
    for code, argument in tree:
        if code is op.BRANCH:
            paths *= sum(_paths(branch, size) for branch in argument[1])
        elif code is op.SUBPATTERN:
            paths *= _paths(argument[3], size)
        elif code in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, item = argument
            inner = _paths(item, size)
            if inner > 1 and most > 1:
                return _TOO_MANY
            paths *= inner * (1 + min(int(most) - int(least), size))
        if paths > MAX_PATHS:
            return _TOO_MANY
    return paths


class _Unsupported(Exception):
    """What the automaton cannot do, in words."""


class _Step(NamedTuple):
    """An instruction: consume a character that `accepts`, pass an `anchor` ("^" or "$"), or neither, then go `to`."""

    accepts: Callable[[str], bool] | None
    anchor: str
    to: tuple[int, ...]


class _Automaton:
    """Instruction 0 is the end; subsets of instructions are the states."""

    def __init__(self, tree: Any) -> None:
        self._steps: list[_Step] = [_Step(None, "", ())]
        self._start = self._sequence(tree, 0, tree.state.flags)
        self._moves: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def accepts(self, value: str) -> bool:
        """Whether the whole value matches; time grows with its length only."""
        state = self._closure([self._start], "^" if value else "^$")
        for at, char in enumerate(value):
            if at + 1 == len(value):  # only here may `$` be passed, so this move is no remembered one
                state = self._move(state, char, "$")
            elif (known := self._moves.get((state, char))) is not None:
                state = known
            else:
                if len(self._moves) >= MAX_SUBSETS:
                    self._moves.clear()
                self._moves[state, char] = state = self._move(state, char, "")
            if not state:
                return False
        return 0 in state

    def _move(self, state: frozenset[int], char: str, anchors: str) -> frozenset[int]:
        steps = (self._steps[number] for number in state)
        return self._closure([s.to[0] for s in steps if s.accepts is not None and s.accepts(char)], anchors)

    def _closure(self, numbers: list[int], anchors: str) -> frozenset[int]:
        seen: set[int] = set()
        while numbers:
            number = numbers.pop()
            if number not in seen:
                seen.add(number)
                step = self._steps[number]
                if step.accepts is None and (not step.anchor or step.anchor in anchors):
                    numbers.extend(step.to)
        return frozenset(seen)

    def _add(self, accepts: Callable[[str], bool] | None, to: tuple[int, ...], anchor: str = "") -> int:
        if len(self._steps) >= MAX_PROGRAM:
            raise _Unsupported("its repetitions are too large")
        self._steps.append(_Step(accepts, anchor, to))
        return len(self._steps) - 1

    def _sequence(self, tree: Any, then: int, flags: int) -> int:
        """Write the instructions of a sequence that goes on at `then`; return where it begins."""
        for code, argument in reversed(list(tree)):
            then = self._item(code, argument, then, flags)
        return then

    def _item(self, code: Any, argument: Any, then: int, flags: int) -> int:
        if code is op.BRANCH:
            return self._add(None, tuple(self._sequence(branch, then, flags) for branch in argument[1]))
        if code is op.SUBPATTERN:
            _, added, removed, item = argument
            return self._sequence(item, then, (flags | added) & ~removed)
        if code in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, item = argument
            return self._repeat((int(least), None if most is op.MAXREPEAT else int(most)), item, then, flags)
        if code is op.AT:
            anchor = {op.AT_BEGINNING: "^", op.AT_BEGINNING_STRING: "^", op.AT_END: "$", op.AT_END_STRING: "$"}
            if argument not in anchor or flags & re.MULTILINE:
                raise _Unsupported("word boundaries and multi-line anchors are not possible beside so many repetitions")
            return self._add(None, (then,), anchor[argument])
        return self._add(_test(code, argument, bool(flags & re.IGNORECASE)), (then,))

    def _repeat(self, times: tuple[int, int | None], item: Any, then: int, flags: int) -> int:
        least, most = times
        if most is None:
            loop = self._add(None, ())
            self._steps[loop] = _Step(None, "", (self._sequence(item, loop, flags), then))
            start = loop
        else:
            start = then
            for _ in range(most - least):
                start = self._add(None, (self._sequence(item, start, flags), then))
        for _ in range(least):
            start = self._sequence(item, start, flags)
        return start


def _test(code: Any, argument: Any, ignore_case: bool) -> Callable[[str], bool]:
    """Return the condition that one character must satisfy."""
    if code is op.ANY:
        return lambda _: True
    if code is op.NOT_LITERAL:
        inner = _test(op.LITERAL, argument, ignore_case)
        return lambda char: not inner(char)
    if code is op.IN:
        negated = argument[0][0] is op.NEGATE
        members = [_test(c, a, ignore_case) for c, a in argument if c is not op.NEGATE]
        return lambda char: any(member(char) for member in members) is not negated
    if code is op.LITERAL:
        low = high = argument
    elif code is op.RANGE:
        low, high = argument
    elif code is op.CATEGORY and argument in _CATEGORIES:
        category = re.compile(_CATEGORIES[argument], re.ASCII)
        return lambda char: category.fullmatch(char) is not None
    else:
        raise _Unsupported(f"{str(code).lower()} is not possible beside so many repetitions")
    if not ignore_case:
        return lambda char: low <= ord(char) <= high
    return lambda char: any(low <= ord(c) <= high for c in (char, char.lower(), char.upper()) if len(c) == 1)


_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
}
