"""The notation of series in promtool's test files: `name{label="value"}`, and values in the expanding notation.

`1+2x3` → 1 3 5 7 (a start and three steps). `1x3` → 1 1 1 1. `_x3` → three missing samples. `stale` → a staleness
marker. Steps are added one after the other, as in Prometheus: `0+0.1x3` ends at 0.30000000000000004.
Grammar: Prometheus's series descriptions, promql/parser/generated_parser.y.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectors.samples import FloatArray, Labels, labels_of

MAX_SAMPLES = 1_000_000
"""Maximum number of samples of one series. Chosen: nearly two years at one sample a minute."""

NAME = "__name__"

_STRING = r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`[^`]*`'
_METRIC = re.compile(r"\s*(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(?:\{(?P<pairs>.*)\}\s*)?", re.DOTALL)
_PAIR = re.compile(
    rf"\s*(?:(?P<label>[a-zA-Z_]\w*|{_STRING})\s*=\s*(?P<value>{_STRING})|(?P<name>{_STRING}))\s*(?P<end>,|$)", re.ASCII
)
_ESCAPE = re.compile(r"""\\(?:([abfnrtv\\'"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))""")
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}

_NUMBER = r"(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[iI][nN][fF]|[nN][aA][nN])"
_ITEM = re.compile(rf"(?P<start>[+-]?{_NUMBER})(?:(?P<step>[+-]{_NUMBER})?x(?P<times>\d+))?", re.ASCII)
_MISSING = re.compile(r"_(?:x(?P<times>\d+))?", re.ASCII)


class Kind(IntEnum):
    """The kind of one place in a series."""

    MISSING = 0
    VALUE = 1
    STALE = 2


class Samples(NamedTuple):
    """The places of one series, one for each interval: `values` (float64) and `kinds` (uint8), both `[samples]`."""

    values: FloatArray
    kinds: NDArray[np.uint8]
    """The Kind of each place. `values` is meaningful only where it is VALUE."""


def parse_values(text: str) -> Samples:
    """Expand the values of a series. Raises ValueError, which quotes the wrong item."""
    if "{{" in text:
        raise ValueError("native histograms are not supported; use the series name_bucket, name_sum and name_count")
    values: list[FloatArray] = []
    kinds: list[NDArray[np.uint8]] = []
    total = 0
    for item in text.split():
        kind, count, start, step = _item(item)
        total += count
        if total > MAX_SAMPLES:
            raise ValueError(f"a series may have {MAX_SAMPLES:,} samples, this one has more at {item!r}")
        run = np.full(count, step)
        run[:1] = start
        # NaN and Inf are allowed start values: numpy's warnings about adding to them are noise.
        with np.errstate(all="ignore"):
            values.append(np.cumsum(run))
        kinds.append(np.full(count, kind, dtype=np.uint8))
    if not values:
        return Samples(np.empty(0), np.empty(0, dtype=np.uint8))
    return Samples(np.concatenate(values), np.concatenate(kinds))


def _item(item: str) -> tuple[Kind, int, float, float]:
    """Return an item's kind, number of samples, first value and step."""
    if item == "stale":
        return Kind.STALE, 1, 0.0, 0.0
    if missing := _MISSING.fullmatch(item):
        return Kind.MISSING, _times(missing["times"] or "1", item), 0.0, 0.0
    if found := _ITEM.fullmatch(item):
        count = 1 if found["times"] is None else _times(found["times"], item) + 1
        return Kind.VALUE, count, float(found["start"]), float(found["step"] or 0)
    raise ValueError(f"{item!r} is not a value; expected a number, 1+2x3, 1-2x3, 1x3, _, _x3 or stale, between spaces")


def _times(digits: str, item: str) -> int:
    if len(digits) > 9:
        raise ValueError(f"a series may have {MAX_SAMPLES:,} samples, this one has more at {item!r}")
    return int(digits)


def parse_series(text: str) -> Labels:
    """Read an input series like parse_labels. Raises ValueError, also for a series without a metric name."""
    if re.match(r"\s*[^\s{]+\s+\{", text):
        raise ValueError(f"{text!r}: remove the space before {{: a space ends the series")
    labels = parse_labels(text)
    if NAME not in dict(labels):
        raise ValueError(f"{text!r} has no metric name")
    return labels


def parse_labels(text: str) -> Labels:
    """Read `name{label="value",…}` into label pairs, with the name as `__name__`. Every part may be missing.

    Raises ValueError, which quotes the wrong part.
    """
    whole = _METRIC.fullmatch(text)
    if not whole:
        raise ValueError(f'{text!r} is not a series; expected name{{label="value"}}')
    if (whole["name"] or "").lower() in ("inf", "nan"):
        raise ValueError(f"{text!r}: {whole['name']} is a number in PromQL and no metric name")
    found: dict[str, str] = {} if whole["name"] is None else {NAME: whole["name"]}
    rest = (whole["pairs"] or "").strip()
    while rest:
        pair = _PAIR.match(rest)
        if not pair:
            raise ValueError(f'{text!r}: {rest!r} is not understood; expected label="value"')
        if pair["name"] is not None:
            label, value = NAME, _unquote(pair["name"])
        else:
            label, value = pair["label"], _unquote(pair["value"])
            label = _unquote(label) if label[0] in "\"'`" else label
        if label in found:
            raise ValueError(f"{text!r}: {'the metric name' if label == NAME else label} is given twice")
        found[label] = value
        rest = rest[pair.end() :].strip()
    return labels_of(found)


def format_labels(labels: Labels) -> str:
    """Format label pairs as a series. It is the inverse of parse_labels; labels keep their order."""
    pairs = dict(labels)
    name = pairs.pop(NAME, "")
    inner = ", ".join(f'{k}="{_quote(v)}"' for k, v in pairs.items())
    return f"{name}{{{inner}}}" if inner or not name else name


def _quote(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _unquote(word: str) -> str:
    """Return the text of a Go string literal. Raises ValueError."""
    if word[0] == "`":
        return word[1:-1]

    def one(match: re.Match[str]) -> str:
        plain, *codes, unknown = match.groups()
        if unknown is not None:
            raise ValueError(f"{word}: \\{unknown} is not an escape of PromQL strings")
        if plain is not None:
            return _PLAIN[plain]
        *hexadecimal, octal = codes
        code = int(octal, 8) if octal is not None else int(next(c for c in hexadecimal if c is not None), 16)
        if code > 0x10FFFF:
            raise ValueError(f"{word}: {match[0]} is no character")
        return chr(code)

    return _ESCAPE.sub(one, word[1:-1])
