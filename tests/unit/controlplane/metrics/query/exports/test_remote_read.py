"""Remote read on the wire: read without trust, and written to the last bit."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from cramjam import snappy
from hypothesis import given
from hypothesis import strategies as st

from collectors.samples import Layout, Series
from controlplane.errors import MalformedRequest, QueryError, TooLarge
from controlplane.metrics.query.exports import remote_read as module
from controlplane.metrics.query.exports.calls import args_of, queries_of
from controlplane.metrics.query.exports.remote_read import ReadQuery, decode, remote_read
from controlplane.metrics.series.budget import Budget, EngineLimits
from controlplane.metrics.series.matchers import Matcher, MatchOp
from controlplane.metrics.series.series_store import SeriesStore

NOW_MS = 1_800_000_000_000


def varint(value: int) -> bytes:
    out = bytearray()
    value %= 2**64
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def request(*queries: bytes, types: bytes = b"") -> bytes:
    return bytes(snappy.compress_raw(b"".join(field(1, query) for query in queries) + types))


def query(start: int = 0, end: int = NOW_MS, *matchers: tuple[int, bytes, bytes]) -> bytes:
    told = (field(1, op) + field(2, name) + field(3, value) for op, name, value in matchers)
    return field(1, start) + field(2, end) + b"".join(field(3, one) for one in told) + field(4, b"\x08\x01")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    return module._fields(data)


def series_of(answer: bytes) -> list[list[tuple[dict[str, str], list[tuple[int, bytes]]]]]:
    """Return, of each query, labels and (time, value's bytes) of each series."""
    results = []
    for _, result in fields(bytes(snappy.decompress_raw(answer))):
        assert isinstance(result, bytes)
        found = []
        for _, one in fields(result):
            assert isinstance(one, bytes)
            labels, samples = {}, []
            for number, part in fields(one):
                assert isinstance(part, bytes)
                values = dict(fields(part))
                if number == 1:
                    labels[str(values[1], "utf-8")] = str(values[2], "utf-8")  # type: ignore[arg-type]
                else:
                    time = values[2]
                    assert isinstance(time, int)
                    samples.append((time - 2**64 if time >= 2**63 else time, values[1]))
            found.append((labels, samples))
        results.append(found)
    return results  # type: ignore[return-value]


def budget() -> Budget:
    return Budget(EngineLimits())


def double(value: float) -> bytes:
    return struct.pack("<d", value)


def test_a_request_is_read_as_it_was_meant() -> None:
    body = request(
        query(-5, NOW_MS, (0, b"__name__", b"up"), (1, b"a", b"b"), (2, b"c", b"x.*"), (3, b"d", b"")),
        query(),
        types=field(2, b"\x01\x00"),
    )
    first, second = decode(body)
    assert (first.start_ms, first.end_ms) == (-5, NOW_MS)
    assert [(m.name, m.op, m.value) for m in first.matchers] == [
        ("__name__", MatchOp.EQUAL, "up"),
        ("a", MatchOp.NOT_EQUAL, "b"),
        ("c", MatchOp.RE, "x.*"),
        ("d", MatchOp.NOT_RE, ""),
    ]
    assert second == ReadQuery(0, NOW_MS, ())
    assert queries_of(args_of([first, second])) == [first, second]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", MalformedRequest),
        (b"\xff\xff\xff\xff\x0f", TooLarge),
        (bytes(snappy.compress_raw(b"\x0a")), MalformedRequest),
        (bytes(snappy.compress_raw(b"\x0a\x05ab")), MalformedRequest),
        (bytes(snappy.compress_raw(b"\x0b\x01")), MalformedRequest),
        (bytes(snappy.compress_raw(b"\x08" + b"\xff" * 11)), MalformedRequest),
        (request(query(0, 1, (4, b"a", b"b"))), MalformedRequest),
        (request(query(0, 1, (0, b"\xff", b"b"))), MalformedRequest),
        (request(*[query()] * 101), TooLarge),
        (request(query(), types=field(2, 1)), QueryError),
    ],
)
def test_what_is_no_request_of_ours_is_refused(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode(body)


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(data: bytes) -> None:
    for body in (data, bytes(snappy.compress_raw(data))):
        with contextlib.suppress(MalformedRequest, QueryError):
            decode(body)


def store_of(*rows: tuple[int, list[float]]) -> SeriesStore:
    store = SeriesStore(1e12)
    layout = Layout((Series("b", (("n", "2"),)), Series("a", (("n", "1"),))))
    for at, values in rows:
        store.append("t", layout, at, np.array(values))
    return store


def test_every_bit_travels_staleness_markers_and_both_ends_included() -> None:
    store = store_of((NOW_MS - 20, [1.5, -0.0]), (NOW_MS - 10, [np.nan, np.inf]), (NOW_MS, [2.0, 3.0]))
    store.end("t", NOW_MS + 5)
    everything = ReadQuery(NOW_MS - 20, NOW_MS + 5, ())
    (found,) = series_of(remote_read(store, [everything], budget()))
    assert [labels for labels, _ in found] == [{"__name__": "a", "n": "1"}, {"__name__": "b", "n": "2"}]
    stale = struct.pack("<Q", 0x7FF0000000000002)
    assert found[0][1] == [
        (NOW_MS - 20, double(-0.0)),
        (NOW_MS - 10, double(np.inf)),
        (NOW_MS, double(3.0)),
        (NOW_MS + 5, stale),
    ]
    one = ReadQuery(NOW_MS - 10, NOW_MS - 10, (Matcher("n", MatchOp.EQUAL, "2"),))
    none = ReadQuery(0, 1, ())
    assert series_of(remote_read(store, [one, none], budget())) == [
        [({"__name__": "b", "n": "2"}, [(NOW_MS - 10, double(np.nan))])],
        [],
    ]


@pytest.mark.parametrize("at", [0, 1, 2**35 - 1, 2**35, 2**42 - 1, 2**42])
def test_times_of_any_size_are_written(at: int) -> None:
    (found,) = series_of(remote_read(store_of((at, [1.0, 2.0])), [ReadQuery(-1, at, ())], budget()))
    assert [samples for _, samples in found] == [[(at, double(2.0))], [(at, double(1.0))]]


def test_an_answer_has_a_limit() -> None:
    store = store_of((NOW_MS, [1.0, 2.0]))
    everything = ReadQuery(0, NOW_MS, ())
    assert remote_read(store, [everything], budget(), 2)
    with pytest.raises(QueryError, match=r"exceeded sample limit \(3\)") as caught:
        remote_read(store, [everything, everything], budget(), 3)
    assert caught.value.kind == "bad_data"
