"""Remote read: the format of its messages, and the samples that a request selects.

The messages (https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/), compressed with snappy's block
format:

    ReadRequest {Query queries = 1; ResponseType accepted_response_types = 2}
    Query {int64 start_timestamp_ms = 1; int64 end_timestamp_ms = 2; LabelMatcher matchers = 3; ReadHints hints = 4}
    LabelMatcher {Type type = 1 (EQ, NEQ, RE, NRE); string name = 2; string value = 3}
    ReadResponse {QueryResult results = 1}, QueryResult {TimeSeries timeseries = 1}, TimeSeries as in remote write

Answers have the type SAMPLES, which every client accepts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from cramjam import DecompressionError, snappy

from collectors.samples import FloatArray, Labels
from controlplane.errors import MalformedRequest, QueryError, TooLarge
from controlplane.metrics.arrays import IntArray
from controlplane.metrics.query.api_views import EVERYTHING
from controlplane.metrics.series.budget import Budget
from controlplane.metrics.series.matchers import Matcher, MatchOp
from controlplane.metrics.series.samples import Axis
from controlplane.metrics.series.store_reader import StoreReader
from controlplane.varint import varint

MAX_DECODED_BYTES = 2**20
MAX_QUERIES = 100
MAX_SAMPLES = 5_000_000
"""Maximum samples of one answer. Chosen: the answer is made in memory and has 90 MB before compression."""
SAMPLES = 0
"""Value of ReadRequest.ResponseType for SAMPLES."""
_OPS = (MatchOp.EQUAL, MatchOp.NOT_EQUAL, MatchOp.RE, MatchOp.NOT_RE)
_FIXED64 = 1
_SIX_BYTES = (2**35, 2**42)
"""Unix milliseconds whose varint has six bytes: from 1971 to 2109."""


class ReadQuery(NamedTuple):
    """One query. The interval includes both ends."""

    start_ms: int
    end_ms: int
    matchers: tuple[Matcher, ...]


def decode(body: bytes) -> list[ReadQuery]:
    """Return the queries of a compressed request.

    Raises MalformedRequest when the body cannot be read, TooLarge when it exceeds a limit, and QueryError(bad_data)
    when the client accepts no SAMPLES.
    """
    try:
        if (size := snappy.decompress_raw_len(body)) > MAX_DECODED_BYTES:
            raise TooLarge(f"the body inflates to {size} bytes, more than the {MAX_DECODED_BYTES} allowed")
        data = bytes(snappy.decompress_raw(body))
    except DecompressionError as error:
        raise MalformedRequest(f"the body is not in snappy's block format: {error}") from error
    queries, types = [], list[int]()
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            queries.append(_query(value))
        elif number == 2:
            types += [value] if isinstance(value, int) else list(value)
    if len(queries) > MAX_QUERIES:
        raise TooLarge(f"the request has {len(queries)} queries, more than the {MAX_QUERIES} allowed")
    if types and SAMPLES not in types:
        raise QueryError("bad_data", "server does not support any of the requested response types; supported: SAMPLES")
    return queries


def remote_read(store: StoreReader, queries: Sequence[ReadQuery], budget: Budget, most: int = MAX_SAMPLES) -> bytes:
    """Return the compressed answer. It includes staleness markers.

    Raises QueryError(bad_data) beyond `most` samples, and once the budget is spent.
    """
    results, left = [], most
    for query in queries:
        series: list[tuple[Labels, bytes]] = []
        plan = store.plan(query.matchers or EVERYTHING)
        for group in plan.everything():
            axis = group.read(query.start_ms - 1, query.end_ms, budget)
            if axis is None:
                continue
            left -= axis.values.size
            if left < 0:
                raise QueryError("bad_data", f"exceeded sample limit ({most})")
            series += zip((plan.labels[n] for n in axis.members.tolist()), _samples(axis), strict=True)
        series.sort()
        results.append(_block(b"\x0a", b"".join(_block(b"\x0a", _labels(one) + told) for one, told in series)))
    return bytes(snappy.compress_raw(b"".join(results)))


def _samples(axis: Axis) -> Iterator[bytes]:
    """Yield the encoded samples of each series, from a template with the times and gaps for the values."""
    low, high = _SIX_BYTES
    if len(axis.times) and low <= int(axis.times.min()) and int(axis.times.max()) < high:
        template = np.zeros((len(axis.times), 18), dtype=np.uint8)
        template[:, :3] = (0x12, 16, 0x09)
        template[:, 11] = 0x10
        for place in range(6):
            template[:, 12 + place] = (axis.times >> 7 * place) & 0x7F | (0x80 if place < 5 else 0)
        for values in axis.values:
            template[:, 3:11] = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8)
            yield template.tobytes()
    else:
        for values in axis.values:
            yield b"".join(_sample_of(axis.times, values))


def _sample_of(times: IntArray, values: FloatArray) -> Iterator[bytes]:
    for time_ms, value in zip(times.tolist(), values, strict=True):
        yield _block(b"\x12", b"\x09" + value.tobytes() + b"\x10" + varint(time_ms))


def _labels(labels: Labels) -> bytes:
    return b"".join(
        _block(b"\x0a", _block(b"\x0a", name.encode()) + _block(b"\x12", value.encode())) for name, value in labels
    )


def _query(data: bytes) -> ReadQuery:
    times = [0, 0, 0]
    matchers = []
    for number, value in _fields(data):
        if number in (1, 2) and isinstance(value, int):
            times[number] = value - 2**64 if value >= 2**63 else value
        elif number == 3 and isinstance(value, bytes):
            matchers.append(_matcher(value))
    return ReadQuery(times[1], times[2], tuple(matchers))


def _matcher(data: bytes) -> Matcher:
    op, texts = MatchOp.EQUAL, ["", ""]
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            if value >= len(_OPS):
                raise MalformedRequest(f"a matcher has the unknown type {value}")
            op = _OPS[value]
        elif number in (2, 3) and isinstance(value, bytes):
            try:
                texts[number - 2] = value.decode()
            except UnicodeDecodeError as error:
                raise MalformedRequest("a matcher is not UTF-8") from error
    return Matcher(texts[0], op, texts[1])


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value of each field. Raises MalformedRequest when the bytes are not protobuf."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        match tag & 7:
            case 0:
                value, at = _read_varint(data, at)
                yield tag >> 3, value
                continue
            case 2:
                size, at = _read_varint(data, at)
            case 1 | 5 as wire:
                size = 8 if wire == _FIXED64 else 4
            case wire:
                raise MalformedRequest(f"a field at byte {at} has the unknown wire type {wire}")
        if at + size > len(data):
            raise MalformedRequest(f"a field at byte {at} goes beyond the end")
        yield tag >> 3, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at + place >= len(data):
            raise MalformedRequest("the body ends in the middle of a number")
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value % 2**64, at + place + 1
    raise MalformedRequest(f"a number at byte {at} has more than ten bytes")


def _block(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content
