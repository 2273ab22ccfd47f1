"""The Prometheus text exposition format (0.0.4).

Names stay exactly as exposed: a counter without `_total` stays without it. The parser also accepts extensions that
servers send under the same content type: UTF-8 names in quotes (`version=1.0.0`), OpenMetrics' `# EOF`, timestamps and
exemplars (both ignored: one scrape has one timestamp), CRLF, and a missing last line feed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from collectors.errors import BodyTooLarge, ExpositionError
from collectors.exposition.foreign import foreign
from collectors.samples import FloatArray, Metadata, Series, labels_of


@dataclass(frozen=True)
class Limits:
    """Limits of one body. A body beyond one of them is refused as a whole, with BodyTooLarge."""

    max_body_bytes: int = 16 * 2**20
    """After decompression."""
    max_lines: int = 400_000
    """Bounds memory before any line is parsed. Leaves room for HELP, TYPE and a blank line per allowed sample."""
    max_samples: int = 100_000
    max_labels: int = 64
    """Labels per series."""
    max_name_chars: int = 256
    """Length of a metric's or a label's name."""
    max_value_chars: int = 4096
    """Length of a label's value: vLLM lists LoRA adapters in one value. HELP texts are cut to it."""


@dataclass(frozen=True, eq=False)
class Parsed:
    """Content of one body. `values[i]` belongs to `series[i]`, in the body's order."""

    series: tuple[Series, ...]
    values: FloatArray
    metadata: Mapping[str, Metadata] = field(default_factory=dict)
    """Metadata by family name, exactly as exposed, including families without samples."""
    duplicates: int = 0
    """Number of sample lines that repeat a series of the body. The first line of a series counts."""
    unstorable: tuple[int, ...] = ()
    """Numbers of the sample lines that were left out because they hold a NUL, which no database stores in a label."""


_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(
    r"""[ \t]*
    (?: (?P<name>[a-zA-Z_][a-zA-Z0-9_]*) | "(?P<quoted>[^"\\]*+(?:\\.[^"\\]*+)*+)" ) [ \t]*
    (?: = [ \t]* "(?P<value>[^"\\]*+(?:\\.[^"\\]*+)*+)" [ \t]* )?
    (?P<end>[,}])""",
    re.VERBOSE,
)
_OPEN = re.compile(r"[ \t]*\{")
_CLOSE = re.compile(r"[ \t]*\}")
_REST = re.compile(
    r"""[ \t]*(?P<value>[0-9+\-.eEnNaAiIfFtTyY]+)   # the characters of every float that Go and Python both read
    (?:[ \t]+[0-9+\-.eE]+)?                         # timestamp
    (?:[ \t]+\#[ \t]*\{.*)?                         # exemplar
    [ \t]*""",
    re.VERBOSE,
)
VALUE_BYTES = b"0123456789+-.eEnNaAiIfFtTyY"
"""Bytes of _REST's value. `_`, `x` and blanks are not among them: float() accepts them, Prometheus does not."""
_COMMENT = re.compile(r'#[ \t]+(HELP|TYPE)[ \t]+(?:([^\s"]+)|"((?:[^"\\]|\\.)*+)")(?:[ \t]+(.*))?')
_ESCAPE = re.compile(r'\\([\\n"])')
_TYPES = {
    "counter": "counter",
    "gauge": "gauge",
    "histogram": "histogram",
    "summary": "summary",
    "untyped": "unknown",
    "unknown": "unknown",
    "info": "gauge",
    "stateset": "gauge",
    "gaugehistogram": "unknown",
}


class Sample(NamedTuple):
    """One sample line."""

    line: int
    """Index of the line, from 0."""
    series: Series
    value: float
    plain: bool
    """Whether the line is just `<series> <value>`, so that the text before its last space is the series."""


def parse(body: bytes, limits: Limits | None = None) -> Parsed:
    """Parse a whole body. Raises BodyTooLarge beyond a limit, and ExpositionError (with its line) if malformed."""
    limits = limits or Limits()
    return Reading(lines_of(body, limits), limits).parsed()


def lines_of(body: bytes, limits: Limits) -> list[bytes]:
    """Return the lines of a body. Raises BodyTooLarge for too many bytes or lines."""
    if len(body) > limits.max_body_bytes:
        raise BodyTooLarge(f"the body has {len(body)} bytes, more than the {limits.max_body_bytes} allowed")
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n")
    lines = body.split(b"\n", limits.max_lines)  # bounded: a body of line feeds alone would become millions of lines
    if len(lines) > limits.max_lines:
        raise BodyTooLarge(f"the body has more than the {limits.max_lines} lines allowed")
    return lines


class Reading:
    """One pass over the lines of one body. Raises BodyTooLarge beyond a limit, and ExpositionError if malformed."""

    def __init__(self, lines: Sequence[bytes], limits: Limits) -> None:
        self.limits = limits
        self.samples: list[Sample] = []
        self._types: dict[str, str] = {}
        self._helps: dict[str, str] = {}
        self._floats: dict[str, str] = {}
        self._unstorable: list[int] = []
        try:
            for index, raw in enumerate(lines):
                self._read_line(index, raw)
        except ExpositionError as error:
            raise error.in_a(foreign(lines)) from None
        self.kept, self.duplicates = self._keep()
        """Indices of the samples that count, and the number of samples that repeat a series."""

    def parsed(self) -> Parsed:
        """Return the content of the body, without creation times and repeated series."""
        families = [name for name in {**self._types, **self._helps} if not self._is_creation_time(name)]
        return Parsed(
            series=tuple(self.samples[i].series for i in self.kept),
            values=np.array([self.samples[i].value for i in self.kept], dtype=np.float64),
            metadata={n: Metadata(self._types.get(n, "unknown"), self._helps.get(n, "")) for n in families},
            duplicates=self.duplicates,
            unstorable=tuple(self._unstorable),
        )

    def _keep(self) -> tuple[list[int], int]:
        first: dict[Series, int] = {}
        creation_times = 0
        for i, sample in enumerate(self.samples):
            if self._is_creation_time(sample.series.name):
                creation_times += 1
            else:
                first.setdefault(sample.series, i)
        return list(first.values()), len(self.samples) - creation_times - len(first)

    def _is_creation_time(self, name: str) -> bool:
        # prometheus_client exposes creation times as gauges of their own. A counter `jobs_created` is a real metric.
        if not name.endswith("_created") or self._types.get(name, "unknown") not in ("gauge", "unknown"):
            return False
        base = name.removesuffix("_created")
        owner = self._types.get(base) or self._types.get(f"{base}_total")
        return owner in ("counter", "histogram", "summary")

    def _read_line(self, index: int, raw: bytes) -> None:
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            raise ExpositionError("not UTF-8", index + 1) from error
        if "\0" in line:  # valid UTF-8, but PostgreSQL cannot store it in the labels of an alert
            if not line.lstrip(" \t").startswith("#"):
                self._unstorable.append(index + 1)
            return
        start = line.lstrip(" \t")
        if not start:
            return
        if start[0] == "#":
            self._read_comment(start, index + 1)
        elif len(self.samples) >= self.limits.max_samples:
            raise BodyTooLarge(f"the body has more than the {self.limits.max_samples} samples allowed")
        else:
            self.samples.append(self._read_sample(start, index))

    def _read_comment(self, line: str, number: int) -> None:
        match = _COMMENT.fullmatch(line)
        if not match:
            return
        kind, bare, quoted, text = match.groups()
        name = bare if quoted is None else _unescape(quoted)
        if len(name) > self.limits.max_name_chars:
            raise BodyTooLarge(f"line {number}: a metric name longer than {self.limits.max_name_chars} characters")
        if kind == "HELP":
            self._helps.setdefault(name, _unescape(text or "")[: self.limits.max_value_chars])
            return
        declared = (text or "").strip()
        if declared not in _TYPES:
            raise ExpositionError(f"unknown metric type {_quote(declared)}", number)
        self._types.setdefault(name, _TYPES[declared])

    def _read_sample(self, line: str, index: int) -> Sample:
        number = index + 1
        name, labels, end = self._read_series(line, number)
        rest = _REST.fullmatch(line, end)
        if not rest:
            raise ExpositionError(f"expected a value after the series, got {_quote(line[end:])}", number)
        try:
            value = float(rest["value"])
        except ValueError as error:
            raise ExpositionError(f"not a number: {_quote(rest['value'])}", number) from error
        start, stop = rest.span("value")
        if start == end and line[end - 1] != "}":
            raise ExpositionError(f"expected a blank after the metric name, got {_quote(line[end:])}", number)
        plain = stop == len(line) and line[start - 1] == " "
        return Sample(index, Series(name, labels_of(self._normalised(name, labels))), value, plain)

    def _read_series(self, line: str, number: int) -> tuple[str, dict[str, str], int]:
        match = _NAME.match(line)
        name, end = (match[0], match.end()) if match else ("", 0)
        labels: dict[str, str] = {}
        if opening := _OPEN.match(line, end):
            quoted_name, labels, end = self._read_labels(line, opening.end(), number)
            if quoted_name and name:
                raise ExpositionError(f"two metric names: {_quote(name)} and {_quote(quoted_name)}", number)
            name = name or quoted_name
        if not name:
            raise ExpositionError(f"expected a metric name, got {_quote(line)}", number)
        if len(name) > self.limits.max_name_chars:
            raise BodyTooLarge(f"line {number}: a metric name longer than {self.limits.max_name_chars} characters")
        return name, labels, end

    def _read_labels(self, line: str, at: int, number: int) -> tuple[str, dict[str, str], int]:
        metric = ""
        labels: dict[str, str] = {}
        while not (close := _CLOSE.match(line, at)):
            match = _LABEL.match(line, at)
            if not match:
                raise ExpositionError(f"expected a label, got {_quote(line[at:])}", number)
            bare, quoted, value, end = match.group("name", "quoted", "value", "end")
            label = bare if quoted is None else _unescape(quoted)
            if value is not None:
                self._add_label(labels, label, _unescape(value), number)
            elif quoted and not metric and not labels:
                metric = label
            else:
                raise ExpositionError(f"label {_quote(label)} has no value", number)
            at = match.end()
            if end == "}":
                return metric, labels, at
        return metric, labels, close.end()

    def _add_label(self, labels: dict[str, str], name: str, value: str, number: int) -> None:
        if name in labels or name in ("", "__name__"):
            raise ExpositionError(f"label name {_quote(name)} is repeated or reserved", number)
        labels[name] = value
        for what, size, limit in (
            ("labels in one series", len(labels), self.limits.max_labels),
            ("characters in a label name", len(name), self.limits.max_name_chars),
            ("characters in a label value", len(value), self.limits.max_value_chars),
        ):
            if size > limit:
                raise BodyTooLarge(f"line {number}: {size} {what}, more than the {limit} allowed")

    def _normalised(self, name: str, labels: dict[str, str]) -> dict[str, str]:
        # As in Prometheus 3: only for buckets and quantiles. An untyped family counts as a histogram or summary.
        for label, suffix, kind in (("le", "_bucket", "histogram"), ("quantile", "", "summary")):
            text = labels.get(label)
            if text and name.endswith(suffix):
                family = name.removesuffix(suffix)
                if self._types.get(family, "unknown") in (kind, "unknown"):
                    if text not in self._floats:
                        self._floats[text] = normalised_float(text)
                    labels[label] = self._floats[text]
        return labels


def normalised_float(text: str) -> str:
    """Return a bucket bound or quantile as Prometheus 3 and client libraries write it; other texts unchanged.

    That is Go's shortest `%g` with at least `.0`: `2` -> `2.0`, `1000000` -> `1e+06`, `inf` -> `+Inf`.
    """
    try:
        number = float(text)
    except ValueError:
        return text
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "+Inf" if number > 0 else "-Inf"
    if number == 0:
        return "0.0"
    decimal = Decimal(repr(number)).normalize()
    exponent = decimal.adjusted()
    if -4 <= exponent < 6:
        fixed = format(decimal, "f")
        return fixed if "." in fixed else f"{fixed}.0"
    return f"{decimal.scaleb(-exponent):f}e{exponent:+03d}"


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], text)


def _quote(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
