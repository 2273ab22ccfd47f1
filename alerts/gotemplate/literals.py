"""Parses constants of templates: Go's texts, characters and numbers. `source` is the action, for error messages."""

from __future__ import annotations

import re

from alerts.errors import TemplateError

_ESCAPE = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\'\"])|x(?P<byte>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<unknown>.))"
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}


def text_value(word: str, source: str) -> str:
    """Return the text of a literal in quotes or backquotes. Raises TemplateError for a wrong escape."""
    return word[1:-1] if word[0] == "`" else _unescaped(word, source, '"')


def char_value(word: str, source: str) -> int:
    """Return the code point of a character in single quotes. Raises TemplateError unless it is one character."""
    text = _unescaped(word, source, "'")
    if len(text) != 1:
        raise TemplateError(f"{source}: {word} is not one character; put texts in double quotes")
    return ord(text)


def number_value(word: str, source: str) -> int | float:
    """Return a number. As in Go, it is a float when it has a point or an exponent, otherwise an int.

    Raises TemplateError for a word that is not a number, and for an int of more than 64 bits.
    """
    digits = word.replace("_", "").lower()
    try:
        if digits.lstrip("+-").startswith("0x") and ("p" in digits or "." in digits):
            return float.fromhex(digits)
        if any(sign in digits for sign in ".ep") and not digits.lstrip("+-").startswith("0x"):
            return float(digits)
        octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
        value = int(f"{octal[1]}0o{octal[2]}", 0) if octal else int(digits, 0)
    except (ValueError, OverflowError):
        raise TemplateError(f"{source}: {word} is not a number") from None
    if not -(2**63) <= value < 2**63:
        raise TemplateError(f"{source}: {word} does not fit into 64 bits; write {word}.0")
    return value


def _unescaped(word: str, source: str, quote: str) -> str:
    other = "'" if quote == '"' else '"'
    pieces: list[bytes] = []
    at, inner = 0, word[1:-1]
    for match in _ESCAPE.finditer(inner):
        pieces.append(inner[at : match.start()].encode(errors="surrogatepass"))
        at = match.end()
        plain, byte, octal, short, long, unknown = match.groups()
        code = int(octal, 8) if octal else int(byte or short or long or "0", 16)
        surrogate = 0xD800 <= code <= 0xDFFF
        if unknown is not None or plain == other or code > (0xFF if octal else 0x10FFFF) or surrogate:
            raise TemplateError(f"{source}: {match[0]} is not an escape of Go's texts")
        if plain is not None:
            pieces.append(_PLAIN[plain].encode())
        else:
            pieces.append(bytes([code]) if byte or octal else chr(code).encode())
    pieces.append(inner[at:].encode(errors="surrogatepass"))
    # Labels and messages must be UTF-8. Go replaces wrong bytes by U+FFFD too when it writes JSON.
    return b"".join(pieces).decode(errors="replace")
