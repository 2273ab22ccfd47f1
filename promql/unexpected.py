"""Error messages for a token that does not fit, in Prometheus's words."""

from __future__ import annotations

from collections.abc import Sequence

from promql.tokens import Token

_AFTER = {
    "offset": "unexpected end of input in offset, expected duration",
    "@": "unexpected end of input in @, expected timestamp",
}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def reason(expr: str, tokens: Sequence[Token], number: int, after: str) -> str:
    """Return why token `number` is unexpected. `number == len(tokens)` means the end of the expression.

    `after` is `offset` or `@` where a time is missing, or the name of a label that has no operator, or "".
    """
    inside = _inside(tokens[:number])
    if number == len(tokens):
        if inside in ("{", "["):
            return f"unexpected end of input inside {'braces' if inside == '{' else 'brackets'}"
        return "unclosed left parenthesis" if inside else _AFTER.get(after, "unexpected end of input")
    token, before = tokens[number], tokens[number - 1] if number else None
    if token.kind == "bad":
        return _of_characters(expr, token, inside)
    if inside == "{":
        return _of_matchers(token, before, after)
    if inside == "[" and before is not None:
        if token.text == "]" and before.text == "[":
            return "missing unit character in duration"
        if token.text == ":":
            return (
                "expect duration before first colon(:) in brackets"
                if before.text == "["
                else "unexpected second colon(:) in brackets"
            )
    if token.text == ")" and not inside:
        return "unexpected right parenthesis ')'"
    return f"unexpected {token.text!r}"


def _inside(tokens: Sequence[Token]) -> str:
    """Return the innermost open bracket after `tokens`, or ""."""
    closing: list[str] = []
    for token in tokens:
        if token.kind != "symbol":
            continue
        if token.text in _CLOSING:
            closing.append(token.text)
        elif closing and token.text == _CLOSING[closing[-1]]:
            closing.pop()
    return closing[-1] if closing else ""


def _of_characters(expr: str, token: Token, inside: str) -> str:
    first = token.text[0]
    if first in "\"'`":
        return f"unterminated quoted string {first}"
    if first.isascii() and (first.isdigit() or len(token.text) > 1):
        return f"bad number or duration syntax: {token.text}"
    if inside == "{":
        return f"unexpected character inside braces: '{first}'"
    following = expr[token.start + 1 : token.start + 2]
    if first in "=!" and following:
        return f"unexpected character after '{first}': '{following}'"
    return f"unexpected character: '{first}'"


def _of_matchers(token: Token, before: Token | None, name: str) -> str:
    if name:
        return f"invalid label matcher, expected label matching operator after '{name}'"
    if token.text.lower() == "or":
        return "`or` between label matchers is not PromQL; use a regular expression"
    shown = f"unexpected {'identifier ' if token.kind == 'word' else ''}{token.text!r} in label matching"
    if before is not None and before.text in ("=", "!=", "=~", "!~") and before.kind == "symbol":
        return f"{shown}, expected string"
    if before is not None and before.text in ("{", ",") and before.kind == "symbol":
        return f"{shown}, expected identifier or right_brace"
    return f"{shown}, expected ',' or '}}'"
