"""The format of remote write 1.0: a protobuf `WriteRequest`, compressed with snappy's block format.

The message (https://prometheus.io/docs/specs/remote_write_spec):

    WriteRequest {TimeSeries timeseries = 1; MetricMetadata metadata = 3}
    TimeSeries {Label labels = 1; Sample samples = 2; Exemplar exemplars = 3; Histogram histograms = 4}
    Label {string name = 1; string value = 2}
    Sample {double value = 1; int64 timestamp = 2}
    MetricMetadata {enum type = 1; string metric_family_name = 2; string help = 4; string unit = 5}

This module does not use the protobuf package, for two reasons. A generated parser builds every object of a hostile body
before anything can be counted, and an empty series costs its sender only two bytes. And copying its messages into
tuples costs more than reading the bytes. Labels and timestamps repeat across the series of a request. Therefore their
bytes are looked up in a cache before they are decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cramjam import DecompressionError, snappy

from collectors.samples import Labels, Metadata
from controlplane.errors import MalformedRequest, TooLarge
from controlplane.varint import varint

METADATA_TYPES = ("unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset")
"""Names of MetricMetadata.MetricType, by number."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DOUBLE = struct.Struct("<d")
_SAMPLE = struct.Struct("<Bd")
_MAX_VARINT_BYTES = 10


class TimeSeries(NamedTuple):
    """Samples of one series. `labels` include `__name__`. `samples` are (unix milliseconds, value), in sent order."""

    labels: Labels
    samples: tuple[tuple[int, float], ...]


class WriteRequest(NamedTuple):
    """One request. `metadata` are (metric family, type and help)."""

    series: tuple[TimeSeries, ...]
    metadata: tuple[tuple[str, Metadata], ...] = ()
    histograms: int = 0
    """Number of native-histogram samples in the request. They are only counted, and `encode` does not write them."""


@dataclass(frozen=True)
class WriteLimits:
    """Limits of one request. Chosen: Prometheus sends at most 2,000 samples a request, vmagent 10,000."""

    max_body_bytes: int = 16 * 2**20
    """Maximum bytes of the compressed body."""
    max_decoded_bytes: int = 32 * 2**20
    max_series: int = 50_000
    max_samples: int = 200_000
    max_metadata: int = 20_000
    max_labels: int = 64
    """Maximum labels of one series, `__name__` included."""
    max_name_bytes: int = 256
    max_value_bytes: int = 4096
    """Maximum bytes of a label's value, and of a metric's help."""


DEFAULT_LIMITS = WriteLimits()


def decode(body: bytes, limits: WriteLimits = DEFAULT_LIMITS) -> WriteRequest:
    """Return a compressed request, decoded.

    Labels are sorted. A label with an empty value is dropped, and a name that occurs twice stays twice. Exemplars and
    unknown fields are skipped, and native histograms are counted. Values keep every bit, so staleness markers survive.

    Raises MalformedRequest, or its subclass TooLarge, with the fault and its place. The size is checked before the body
    is decompressed, and reading stops at the first limit that is exceeded.
    """
    return _Reader(_decompress(body, limits), limits).request()


def encode(request: WriteRequest) -> bytes:
    """Return a request as a compressed body. `histograms` is not written.

    Raises OverflowError when a time does not fit in 64 bits.
    """
    out: list[bytes] = []
    pairs: dict[tuple[str, str], bytes] = {}
    times: dict[int, bytes] = {}
    for labels, samples in request.series:
        parts = []
        for pair in labels:
            written = pairs.get(pair)
            if written is None:
                written = pairs[pair] = _block(0x0A, _text(0x0A, pair[0]) + _text(0x12, pair[1]))
            parts.append(written)
        for timestamp_ms, value in samples:
            time = times.get(timestamp_ms)
            if time is None:
                time = times[timestamp_ms] = b"\x10" + varint(timestamp_ms)
            parts.append(bytes((0x12, 9 + len(time))) + _SAMPLE.pack(0x09, value) + time)
        out.append(_block(0x0A, b"".join(parts)))
    for family, (kind, about) in request.metadata:
        number = METADATA_TYPES.index(kind) if kind in METADATA_TYPES else 0
        out.append(_block(0x1A, b"\x08" + varint(number) + _text(0x12, family) + _text(0x22, about)))
    return bytes(snappy.compress_raw(b"".join(out)))


def _decompress(body: bytes, limits: WriteLimits) -> bytes:
    if len(body) > limits.max_body_bytes:
        raise TooLarge(f"the body has {len(body)} bytes, more than the {limits.max_body_bytes} allowed")
    try:
        size = snappy.decompress_raw_len(body)
        if size > limits.max_decoded_bytes:
            raise TooLarge(f"the body inflates to {size} bytes, more than the {limits.max_decoded_bytes} allowed")
        return bytes(snappy.decompress_raw(body))
    except DecompressionError as error:
        raise MalformedRequest(f"the body is not in snappy's block format: {error}") from error


class _Reader:
    """Reads one decompressed request. Every position is checked against the end of its message."""

    def __init__(self, data: bytes, limits: WriteLimits) -> None:
        self._data = data
        self._limits = limits
        self._pairs: dict[bytes, tuple[str, str]] = {}
        self._times: dict[bytes, int] = {}
        self._samples = self._histograms = 0

    def request(self) -> WriteRequest:
        data, limits = self._data, self._limits
        series: list[TimeSeries] = []
        metadata: list[tuple[str, Metadata]] = []
        pos, end = 0, len(data)
        while pos < end:
            tag, pos = self._tag(pos, end)
            if tag == 0x0A:
                if len(series) >= limits.max_series:
                    raise TooLarge(f"the request has more than the {limits.max_series} series allowed")
                start, pos = self._block(pos, end)
                series.append(self._timeseries(start, pos))
            elif tag == 0x1A:
                if len(metadata) >= limits.max_metadata:
                    raise TooLarge(f"the request has more than the {limits.max_metadata} metadata entries allowed")
                start, pos = self._block(pos, end)
                metadata.append(self._metadata(start, pos))
            else:
                pos = self._skip(tag, pos, end, "WriteRequest", (1, 3))
        return WriteRequest(tuple(series), tuple(metadata), self._histograms)

    def _timeseries(self, pos: int, end: int) -> TimeSeries:
        data, pairs = self._data, self._pairs
        labels: list[tuple[str, str]] = []
        samples: list[tuple[int, float]] = []
        while pos < end:
            tag, pos = self._tag(pos, end)
            if tag == 0x0A:
                # This is `_block` inlined for speed: most of a request's bytes are labels of less than 128 bytes.
                start = pos + 1
                if pos < end and data[pos] < 0x80 and start + data[pos] <= end:
                    pos = start + data[pos]
                else:
                    start, pos = self._block(pos, end)
                raw = data[start:pos]
                pair = pairs.get(raw)
                if pair is None:
                    pair = pairs[raw] = self._label(start, pos)
                labels.append(pair)
                if len(labels) > self._limits.max_labels:
                    raise TooLarge(f"a series has more than the {self._limits.max_labels} labels allowed")
            elif tag == 0x12:
                start, pos = self._block(pos, end)
                samples.append(self._sample(start, pos))
            elif tag == 0x22:
                _, pos = self._block(pos, end)
                self._histograms += 1
                self._count_sample()
            else:
                pos = self._skip(tag, pos, end, "TimeSeries", (1, 2, 4))
        labels.sort()
        return TimeSeries(tuple(pair for pair in labels if pair[1]), tuple(samples))

    def _label(self, pos: int, end: int) -> tuple[str, str]:
        name = value = ""
        while pos < end:
            tag, pos = self._tag(pos, end)
            if tag == 0x0A:
                name, pos = self._string(pos, end, "label name", self._limits.max_name_bytes)
            elif tag == 0x12:
                value, pos = self._string(pos, end, "label value", self._limits.max_value_bytes)
            else:
                pos = self._skip(tag, pos, end, "Label", (1, 2))
        if not name:
            raise MalformedRequest(f"byte {end}: a label without a name")
        return name, value

    def _sample(self, pos: int, end: int) -> tuple[int, float]:
        self._count_sample()
        data = self._data
        if end - pos > 10 and data[pos] == 0x09 and data[pos + 9] == 0x10:  # the usual order of fields
            raw = data[pos + 10 : end]
            time = self._times.get(raw)
            if time is not None:
                return time, _DOUBLE.unpack_from(data, pos + 1)[0]
            unsigned, after = self._varint(pos + 10, end)
            if after == end:
                time = self._times[raw] = _signed(unsigned)
                return time, _DOUBLE.unpack_from(data, pos + 1)[0]
        return self._any_sample(pos, end)

    def _any_sample(self, pos: int, end: int) -> tuple[int, float]:
        time, value = 0, 0.0
        while pos < end:
            tag, pos = self._tag(pos, end)
            if tag == 0x09:
                if pos + 8 > end:
                    raise _truncated(pos)
                value = _DOUBLE.unpack_from(self._data, pos)[0]
                pos += 8
            elif tag == 0x10:
                unsigned, pos = self._varint(pos, end)
                time = _signed(unsigned)
            else:
                pos = self._skip(tag, pos, end, "Sample", (1, 2))
        return time, value

    def _count_sample(self) -> None:
        self._samples += 1
        if self._samples > self._limits.max_samples:
            raise TooLarge(f"the request has more than the {self._limits.max_samples} samples allowed")

    def _metadata(self, pos: int, end: int) -> tuple[str, Metadata]:
        limits = self._limits
        kind, family, about = 0, "", ""
        while pos < end:
            tag, pos = self._tag(pos, end)
            if tag == 0x08:
                kind, pos = self._varint(pos, end)
            elif tag == 0x12:
                family, pos = self._string(pos, end, "metric family's name", limits.max_name_bytes)
            elif tag == 0x22:
                about, pos = self._string(pos, end, "metric's help", limits.max_value_bytes)
            else:
                pos = self._skip(tag, pos, end, "MetricMetadata", (1, 2, 4))
        # A type of a later protocol becomes "unknown". This is protobuf's rule for open enums.
        return family, Metadata(METADATA_TYPES[kind] if kind < len(METADATA_TYPES) else "unknown", about)

    def _tag(self, pos: int, end: int) -> tuple[int, int]:
        tag = self._data[pos]
        if tag < 0x80:
            return tag, pos + 1
        return self._varint(pos, end)

    def _block(self, pos: int, end: int) -> tuple[int, int]:
        """Return start and end of a length-delimited field's content."""
        if pos >= end:
            raise _truncated(pos)
        size = self._data[pos]
        if size < 0x80:
            pos += 1
        else:
            size, pos = self._varint(pos, end)
        if size > end - pos:
            raise MalformedRequest(f"byte {pos}: a field of {size} bytes where its message has {end - pos} left")
        return pos, pos + size

    def _string(self, pos: int, end: int, what: str, limit: int) -> tuple[str, int]:
        start, stop = self._block(pos, end)
        if stop - start > limit:
            raise TooLarge(f"byte {start}: a {what} of {stop - start} bytes, more than the {limit} allowed")
        try:
            return str(self._data[start:stop], "utf-8"), stop
        except UnicodeDecodeError as error:
            raise MalformedRequest(f"byte {start + error.start}: a {what} that is not UTF-8") from error

    def _varint(self, pos: int, end: int) -> tuple[int, int]:
        value = shift = 0
        for at in range(pos, min(end, pos + _MAX_VARINT_BYTES)):
            byte = self._data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value, at + 1
            shift += 7
        if end - pos < _MAX_VARINT_BYTES:
            raise _truncated(pos)
        raise MalformedRequest(f"byte {pos}: an integer of more than 64 bits")

    def _skip(self, tag: int, pos: int, end: int, message: str, known: Sequence[int]) -> int:
        """Return the position after a field that is not used."""
        number, wire = tag >> 3, tag & 7
        if number == 0 or number >> 29:
            raise MalformedRequest(f"byte {pos}: {message} has a field with the number {number}")
        if number in known or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            raise MalformedRequest(f"byte {pos}: field {number} of {message} has the wrong wire type {wire}")
        if wire == _VARINT:
            return self._varint(pos, end)[1]
        if wire == _BYTES:
            return self._block(pos, end)[1]
        pos += 8 if wire == _FIXED64 else 4
        if pos > end:
            raise _truncated(pos)
        return pos


def _truncated(pos: int) -> MalformedRequest:
    return MalformedRequest(f"byte {pos}: the message ends in the middle of a field")


def _signed(value: int) -> int:
    return value - 2**64 if value >> 63 else value


def _text(tag: int, text: str) -> bytes:
    return _block(tag, text.encode())


def _block(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + varint(len(content)) + content
