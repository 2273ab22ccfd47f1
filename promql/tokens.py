"""The tokens of a PromQL expression, each with its place."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

TokenKind = Literal["number", "duration", "string", "word", "symbol", "bad"]


class Token(NamedTuple):
    """A token of an expression. `start` is the index of its first character. A `bad` token is not valid PromQL."""

    kind: TokenKind
    text: str
    start: int

    @property
    def end(self) -> int:
        """The index after the last character."""
        return self.start + len(self.text)


_SKIPPED = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)+")
_STRING = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"|' + r"'(?:[^'\\\n]|\\[^\n])*'|`[^`]*`")
_NUMERIC = re.compile(r"0[xX][0-9A-Za-z_.]*|(?:[0-9]|\.[0-9])(?:[eE][-+]?(?=[0-9])|[0-9A-Za-z_.])*")
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_NUMBER = re.compile(
    rf"0[xX]_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][-+]?{_DIGITS})?"
)
DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]+)y)?(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?"
)
"""A duration such as `1h30m`. Its groups are the numbers of its units, from years to milliseconds."""
_WORD = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_WORD_WITHOUT_COLON = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYMBOL = re.compile(r"==|!=|<=|>=|[-+*/%^<>@(){}\[\],:]|=(?!~)")
_SYMBOL_IN_BRACES = re.compile(r"=~|!~|!=|[={},]")


def _words(word: re.Pattern[str], symbol: re.Pattern[str]) -> re.Pattern[str]:
    """Return the pattern of one token and the blanks before it. The name of the group that matched is its kind."""
    kinds = {"numeric": _NUMERIC, "string": _STRING, "word": word, "symbol": symbol}
    either = "|".join(f"(?P<{kind}>{pattern.pattern})" for kind, pattern in kinds.items())
    # The group is atomic: without that the pattern could backtrack into a comment and read a token there.
    return re.compile(f"(?>(?:{_SKIPPED.pattern})?)(?:{either})")


# In square brackets a colon separates range and step. In braces there is no colon. Elsewhere it is part of a name.
_OUTSIDE = _words(_WORD, _SYMBOL)
_IN_BRACKETS = _words(_WORD_WITHOUT_COLON, _SYMBOL)
_IN_BRACES = _words(_WORD_WITHOUT_COLON, _SYMBOL_IN_BRACES)


def tokenize(expr: str) -> list[Token]:
    """Return the tokens of an expression without comments and blanks. The list ends at the first bad token."""
    tokens: list[Token] = []
    at, bracket, brace = 0, False, False
    while True:
        match = (_IN_BRACES if brace else _IN_BRACKETS if bracket else _OUTSIDE).match(expr, at)
        if match is None:
            skipped = _SKIPPED.match(expr, at)
            at = skipped.end() if skipped else at
            return tokens if at == len(expr) else [*tokens, Token("bad", expr[at], at)]
        kind = match.lastgroup
        assert kind is not None
        at = match.end()
        text = match[kind]
        if kind == "numeric":
            kind = _numeric_kind(text)
        elif kind == "word" and not brace and text.lower() in ("inf", "nan"):
            kind = "number"
        tokens.append(Token(kind, text, at - len(text)))  # type: ignore[arg-type]  # the groups' names are kinds
        if kind == "bad":
            return tokens
        if kind == "symbol":
            bracket = text == "[" or (bracket and text != "]")
            brace = text == "{" or (brace and text != "}")


def _numeric_kind(text: str) -> TokenKind:
    if _NUMBER.fullmatch(text):
        return "number"
    return "duration" if DURATION.fullmatch(text) else "bad"


def seconds(token: Token) -> float:
    """Return the value of a number, or a duration in seconds: `5m` → 300.0. Too large a number is infinity."""
    if token.kind == "number":
        digits = token.text.replace("_", "")
        try:
            # As Go's strconv reads it, with base 0: a leading zero makes an octal number of octal digits.
            octal = len(digits) > 1 and digits[0] == "0" and digits.isdecimal() and not set(digits) & {"8", "9"}
            return float(int(digits, 8 if octal else 0)) if octal or digits[:2] in ("0x", "0X") else float(digits)
        except OverflowError:
            return float("inf")
    units = DURATION.fullmatch(token.text)
    assert units is not None, token
    sizes = (31_536_000, 604_800, 86_400, 3_600, 60, 1, 0.001)
    return float(sum(int(number or 0) * size for number, size in zip(units.groups(), sizes, strict=True)))


def place(expr: str, index: int) -> str:
    """Return the `line:column` of the character at an index. Both count from 1."""
    before = expr[:index]
    return f"{before.count(chr(10)) + 1}:{index - before.rfind(chr(10))}"
