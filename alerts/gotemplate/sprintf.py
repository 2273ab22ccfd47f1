"""Go's fmt: print and printf. As in Go, wrong verbs and missing values are no errors but appear in the text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alerts.errors import TemplateError
from alerts.gotemplate.goformat import go_float
from alerts.gotemplate.gotime import format_time, go_duration
from alerts.gotemplate.values import AlertData, Duration, GoValue, Own, Sample, Time, type_name

MAX_WIDTH = 1_000_000
"""Go's own limit for a width or a precision."""

_DIRECTIVE = re.compile(
    r"%([-+# 0]*)(?:\[(\d+)\])?(\*|\d+)?(?:(\.)(?:\[(\d+)\])?(\*|\d+)?)?(?:\[(\d+)\])?(.)?", re.DOTALL
)
_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\"}


@dataclass(frozen=True)
class _Style:
    """Flags, width and precision: the part between % and the verb."""

    flags: str = ""
    width: int | None = None
    precision: int | None = None

    def padded(self, text: str, *, number: bool = False) -> str:
        """Return the text padded to the width. Zeros are inserted between a number's sign and its digits."""
        missing = (self.width or 0) - len(text)
        if missing <= 0:
            return text
        if "-" in self.flags:
            return text + " " * missing
        if "0" not in self.flags:
            return " " * missing + text
        sign = text[:1] if number and text[:1] in ("+", "-", " ") else ""
        return sign + "0" * missing + text[len(sign) :]


def go_value(value: GoValue) -> str:
    """Return a value as `%v` prints it."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Own):
        return value.go_string()
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{k}:{go_value(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, tuple):
        return "[" + " ".join(go_value(v) for v in value) + "]"
    if isinstance(value, Sample):
        return f"&{{{go_value(value.Labels)} {go_value(value.Value)}}}"
    if isinstance(value, AlertData):
        parts = (value.Labels, value.ExternalLabels, value.ExternalURL, value.Value)
        return "{" + " ".join(go_value(part) for part in parts) + "}"
    if isinstance(value, Time):
        return format_time(value.moment, value.nanoseconds)
    return go_duration(value.nanoseconds) if isinstance(value, Duration) else str(value)


def sprint(values: Sequence[GoValue]) -> str:
    """Return Go's fmt.Sprint: a space separates two values when neither is a text."""
    pieces: list[str] = []
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            pieces.append(" ")
        pieces.append(go_value(value))
    return "".join(pieces)


def sprintln(values: Sequence[GoValue]) -> str:
    """Return Go's fmt.Sprintln: spaces between all values, and a line break at the end."""
    return " ".join(go_value(value) for value in values) + "\n"


def sprintf(pattern: str, values: Sequence[GoValue]) -> str:
    """Return Go's fmt.Sprintf. Errors appear in the text, as in Go: `%!d(float64=0.5)`, `%!s(MISSING)`."""
    return _Printf(pattern, values).text()


class _Printf:
    """One call of printf. `_next` is the index of the next value."""

    def __init__(self, pattern: str, values: Sequence[GoValue]) -> None:
        self._pattern, self._values = pattern, values
        self._next, self._reordered = 0, False

    def text(self) -> str:
        pieces: list[str] = []
        at = 0
        for match in _DIRECTIVE.finditer(self._pattern):
            pieces += (self._pattern[at : match.start()], self._one(match))
            at = match.end()
        pieces.append(self._pattern[at:])
        if not self._reordered and self._next < len(self._values):
            extra = ", ".join(_with_type(value) for value in self._values[self._next :])
            pieces.append(f"%!(EXTRA {extra})")
        return "".join(pieces)

    def _one(self, match: re.Match[str]) -> str:
        flags, index_width, width, dot, index_precision, precision, index_value, verb = match.groups()
        wide = self._size(width, index_width)
        precise = self._size(precision, index_precision) if dot and precision else (0 if dot else None)
        self._jump(index_value or (index_width if width is None and not dot else None))
        if wide is not None and wide < 0:
            flags, wide = flags + "-", -wide
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if not 0 <= self._next < len(self._values):
            return f"%!{verb}({'BADINDEX' if self._reordered else 'MISSING'})"
        value = self._values[self._next]
        self._next += 1
        flags = flags.replace("0", "") if "-" in flags else flags
        return _formatted(verb, value, _Style(flags, wide, precise))

    def _size(self, written: str | None, index: str | None) -> int | None:
        if written is None:
            return None
        if written != "*":
            size = int(written)
        else:
            self._jump(index)
            value = self._values[self._next] if 0 <= self._next < len(self._values) else None
            self._next += 1
            size = value if type(value) is int else 0
        if abs(size) > MAX_WIDTH:
            raise TemplateError(f"a width or precision may be at most {MAX_WIDTH:,}, got {size:,}")
        return size

    def _jump(self, index: str | None) -> None:
        if index is not None:
            self._next, self._reordered = int(index) - 1, True


def _formatted(verb: str, value: GoValue, style: _Style) -> str:
    if verb == "T":
        return style.padded(type_name(value))
    if verb == "v":
        return style.padded(_general(value, style), number=isinstance(value, int | float))
    text: str | None = None
    if isinstance(value, bool):
        text = style.padded(go_value(value)) if verb == "t" else None
    elif isinstance(value, int):
        text = _whole(verb, value, style)
    elif isinstance(value, float):
        text = _float(verb, value, style)
    elif value is not None and (isinstance(value, str) or verb in "sq"):
        text = _text(verb, go_value(value), style)
    return f"%!{verb}({_with_type(value, style)})" if text is None else text


def _general(value: GoValue, style: _Style) -> str:
    if isinstance(value, float) and style.precision is not None:
        return f"%.{style.precision}g" % value if math.isfinite(value) else go_float(value)
    if isinstance(value, str):
        return _quote(value) if "#" in style.flags else value[: style.precision]
    return go_value(value)


def _with_type(value: GoValue, style: _Style = _Style()) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={_formatted('v', value, style)}"


def _whole(verb: str, value: int, style: _Style) -> str | None:
    if verb in "cqU":
        character = chr(value) if 0 <= value <= 0x10FFFF else "\ufffd"
        shown = {"c": character, "q": f"'{_escaped(character, chr(39))}'", "U": f"U+{value:04X}"}[verb]
        return style.padded(shown)
    base = {"d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}.get(verb)
    if base is None:
        return None
    digits = format(abs(value), base)
    if style.precision is not None:
        digits = "" if style.precision == 0 and value == 0 else digits.rjust(style.precision, "0")
    prefix = {"O": "0o"}.get(verb, "")
    if "#" in style.flags:
        prefix = {"b": "0b", "o": "0", "O": "0o", "x": "0x", "X": "0X"}.get(verb, "")
    return style.padded(_sign(value < 0, style) + prefix + digits, number=True)


def _float(verb: str, value: float, style: _Style) -> str | None:
    if verb not in "beEfFgGxX":
        return None
    if not math.isfinite(value):
        # Infinity always has a sign, NaN only with a flag. Neither is padded with zeros.
        text = "+NaN" if math.isnan(value) else go_float(value)
        if "+" not in style.flags and text[0] == "+":
            text = " " + text[1:] if " " in style.flags else text.removeprefix("+") if text == "+NaN" else text
        return _Style(style.flags.replace("0", ""), style.width).padded(text)
    text = _number(verb, abs(value), style)
    return style.padded(_sign(math.copysign(1, value) < 0, style) + text, number=True)


def _number(verb: str, value: float, style: _Style) -> str:
    """Return a non-negative float, formatted by one of Go's verbs for floats."""
    if verb in "xX":
        mantissa, _, exponent = value.hex().partition("p")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        text = f"{mantissa}p{exponent[0]}{exponent[1:].zfill(2)}"
        return text.upper() if verb == "X" else text
    if verb == "b":
        fraction, exponent_of_two = math.frexp(value)
        return f"{int(fraction * 2**53)}p{exponent_of_two - 53:+d}"
    if verb in "gG" and style.precision is None:
        text = go_float(value)
        return text.upper() if verb == "G" else text
    precision = 6 if style.precision is None else style.precision
    return f"%{'#' if '#' in style.flags else ''}.{precision}{verb}" % value


def _sign(negative: bool, style: _Style) -> str:
    return "-" if negative else "+" if "+" in style.flags else " " if " " in style.flags else ""


def _text(verb: str, value: str, style: _Style) -> str | None:
    if verb == "s":
        return style.padded(value[: style.precision])
    if verb == "q":
        raw = "#" in style.flags and "`" not in value and value.isprintable()
        return style.padded(f"`{value}`" if raw else _quote(value[: style.precision]))
    if verb in "xX":
        between = " " if " " in style.flags else ""
        shown = between.join(f"{byte:02x}" for byte in value.encode()[: style.precision])
        shown = ("0x" if "#" in style.flags else "") + shown
        return style.padded(shown.upper() if verb == "X" else shown)
    return None


def _quote(value: str) -> str:
    return f'"{_escaped(value, chr(34))}"'


def _escaped(value: str, quote: str) -> str:
    """Return a text escaped as in Go source code, for quotes of this kind."""
    return "".join(_QUOTED.get(c) or (f"\\{c}" if c == quote else c if c.isprintable() else _code(c)) for c in value)


def _code(character: str) -> str:
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
