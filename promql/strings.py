r"""String literals of PromQL. They have Go's escapes, such as `\xff` for a byte, so a value need not be valid UTF-8.

A byte that is not valid UTF-8 becomes a lone surrogate, as in Python's file names (`surrogateescape`). Such a value
equals no label value.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\\(?:x(?P<hex>[0-9a-fA-F]{2})|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})"
                     r"|(?P<octal>[0-7]{3})|(?P<plain>.))")  # fmt: skip
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_DIGITS = {"x": (2, "0123456789abcdefABCDEF"), "u": (4, "0123456789abcdefABCDEF"), "U": (8, "0123456789abcdefABCDEF")}
_DIGITS |= dict.fromkeys("01234567", (3, "01234567"))
_QUOTED = {value: f"\\{letter}" for letter, value in _PLAIN.items()} | {'"': '\\"'}
_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")


def unquoted(literal: str) -> str:
    """Return the value of a literal. `literal` includes its quotes: `'"a\\nb"'` is three characters.

    Raises ValueError, in Prometheus's words, when an escape is not valid.
    """
    quote, inside = literal[0], literal[1:-1]
    if quote == "`" or "\\" not in inside:
        return inside
    value = bytearray()
    at = 0
    while (escape := inside.find("\\", at)) >= 0:
        value += inside[at:escape].encode()
        piece, at = _unescaped(inside, escape, quote)
        value += piece
    return (value + inside[at:].encode()).decode(errors="surrogateescape")


def quote(text: str) -> str:
    """Return a value as a literal with quotes, as Go's strconv.Quote writes it."""
    written = [_QUOTED.get(char) or (char if char.isprintable() else _hexadecimal(char)) for char in text]
    return f'"{"".join(written)}"'


def _hexadecimal(char: str) -> str:
    code = ord(char)
    if _NOT_UTF8.match(char):
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def readable(text: str) -> str:
    """Return a text that can be sent as UTF-8: each byte that is not valid UTF-8 becomes U+FFFD."""
    return _NOT_UTF8.sub("\ufffd", text)


def _unescaped(inside: str, at: int, quote: str) -> tuple[bytes, int]:
    """Return the bytes of the escape at index `at`, and the index of the first character after it."""
    match = _ESCAPE.match(inside, at)
    kind = inside[at + 1]
    if match is None or (match["plain"] is not None and kind in _DIGITS):
        size, digits = _DIGITS[kind]
        begin = at + 1 if kind.isdecimal() else at + 2
        bad = next((c for c in (inside + quote)[begin : begin + size] if c not in digits), quote)
        raise ValueError(f"illegal character {_go(bad)} in escape sequence")
    if match["plain"] is not None:
        if kind != quote and kind not in _PLAIN:
            raise ValueError(f"unknown escape sequence {_go(kind)}")
        return _PLAIN.get(kind, kind).encode(), match.end()
    number = int(match["octal"], 8) if match["octal"] else int(match["hex"] or match["short"] or match["long"], 16)
    is_byte = match["octal"] is not None or match["hex"] is not None
    if number > (0xFF if is_byte else 0x10FFFF) or 0xD800 <= number <= 0xDFFF:
        raise ValueError("escape sequence is an invalid Unicode code point")
    return bytes([number]) if is_byte else chr(number).encode(), match.end()


def _go(character: str) -> str:
    """Return a character as Go's %#U writes it."""
    return f"U+{ord(character):04X} '{character}'"
