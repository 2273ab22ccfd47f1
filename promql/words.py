"""A cursor over the tokens of an expression, the base of the parser."""

from __future__ import annotations

from promql import checks
from promql.strings import unquoted
from promql.tokens import Token, tokenize
from promql.unexpected import reason


class Fault(Exception):
    """An expression is not valid. `index` is the place of the fault, as the index of a character."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class Words:
    """Reads tokens from the first to the last. Keeps the first fault that was noted without an exception."""

    def __init__(self, expr: str) -> None:
        self._expr = expr
        self._tokens = tokenize(expr)
        # Texts as the grammar compares them: words in lower case, and "" for a string, as a string is no keyword.
        self._texts = [*map(_compared, self._tokens), ""]
        self._next = 0
        self._fault: checks.Fault | None = None

    def _unexpected(self, after: str = "") -> Fault:
        return Fault(self._here(), reason(self._expr, self._tokens, self._next, after))

    def _here(self) -> int:
        return self._tokens[self._next].start if self._next < len(self._tokens) else len(self._expr)

    def _end(self) -> int:
        return self._tokens[self._next - 1].end

    def _take(self, *texts: str) -> str:
        text = self._texts[self._next]
        if text in texts and text:
            self._next += 1
            return text
        return ""

    def _need(self, text: str) -> None:
        if self._texts[self._next] != text:
            raise self._unexpected()
        self._next += 1

    def _need_kind(self, *kinds: str) -> Token:
        if self._next >= len(self._tokens) or self._tokens[self._next].kind not in kinds:
            raise self._unexpected()
        self._next += 1
        return self._tokens[self._next - 1]

    def _note(self, fault: checks.Fault | None) -> None:
        self._fault = self._fault or fault

    def _value(self, token: Token) -> str:
        try:
            return unquoted(token.text)
        except ValueError as error:
            raise Fault(token.start, str(error)) from error


def _compared(token: Token) -> str:
    return token.text.lower() if token.kind == "word" else "" if token.kind == "string" else token.text
