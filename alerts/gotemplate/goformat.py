"""Formats numbers as Go does, and as Prometheus's humanize functions do. The templates of rule files expect both."""

from __future__ import annotations

import math

_SPECIAL = {math.inf: "+Inf", -math.inf: "-Inf"}


def go_float(value: float) -> str:
    """Return a float as Go's `%v`: the shortest digits, with an exponent below 1e-4 and from 1e6 on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return _SPECIAL[value]
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    if 1e-4 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0")
    # Seventeen digits always suffice. Like repr and Go, use the fewest digits that read back as the same value.
    digits = next(text for n in range(17) if float(text := f"{value:.{n}e}") == value)
    mantissa, _, exponent = digits.partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:].zfill(2)}"


def as_number(value: object) -> float:
    """Return a template value as a float: `"1.5"` -> 1.5. Raises ValueError when it is not a number."""
    if isinstance(value, float | int):
        return float(value)
    try:
        return float(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a number") from None


def _digits(value: float, suffix: str) -> str:
    text = f"{value:.4g}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        text = f"{mantissa}e{exponent}"
    return f"{text}{suffix}"


def humanize(value: object) -> str:
    """Return a number with four digits and an SI prefix: 1234567 -> `1.235M`."""
    v = as_number(value)
    if v == 0 or not math.isfinite(v):
        return f"{v:.4g}" if math.isfinite(v) else go_float(v)
    if abs(v) >= 1:
        return _scale(v, 1000.0, ("", "k", "M", "G", "T", "P", "E", "Z", "Y"))
    prefix = ""
    for candidate in ("m", "u", "n", "p", "f", "a", "z", "y"):
        if abs(v) >= 1:
            break
        prefix = candidate
        v *= 1000
    return _digits(v, prefix)


def humanize1024(value: object) -> str:
    """Return a number with four digits and a binary prefix: 1048576 -> `1Mi`."""
    v = as_number(value)
    if not math.isfinite(v) or abs(v) <= 1:
        return _digits(v, "") if math.isfinite(v) else go_float(v)
    return _scale(v, 1024.0, ("", "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"))


def humanize_percentage(value: object) -> str:
    """Return a ratio as a percentage with four digits: 0.0123 -> `1.23%`."""
    v = as_number(value)
    return f"{_digits(v * 100, '') if math.isfinite(v) else go_float(v)}%"


def humanize_duration(value: object) -> str:
    """Return seconds as a duration: 90061 -> `1d 1h 1m 1s`, 0.0042 -> `4.2ms`."""
    v = as_number(value)
    if not math.isfinite(v):
        return go_float(v)
    if v == 0:
        return _digits(v, "s")
    if abs(v) >= 1:
        sign, whole = ("-" if v < 0 else ""), int(abs(v))
        s, m, h, d = whole % 60, whole // 60 % 60, whole // 3600 % 24, whole // 86400
        if d:
            return f"{sign}{d}d {h}h {m}m {s}s"
        if h:
            return f"{sign}{h}h {m}m {s}s"
        return f"{sign}{m}m {s}s" if m else f"{sign}{_digits(abs(v), 's')}"
    prefix = ""
    for candidate in ("m", "u", "n", "p", "f", "a", "z", "y"):
        if abs(v) >= 1:
            break
        prefix = candidate
        v *= 1000
    return _digits(v, f"{prefix}s")


def _scale(v: float, base: float, prefixes: tuple[str, ...]) -> str:
    index = 0
    while abs(v) >= base and index < len(prefixes) - 1:
        v /= base
        index += 1
    return _digits(v, prefixes[index])
