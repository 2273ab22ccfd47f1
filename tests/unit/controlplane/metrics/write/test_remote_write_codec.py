"""The remote-write codec: what goes in comes out, and nothing that arrives raises more than its own errors."""

from __future__ import annotations

import contextlib
import math
import struct

import numpy as np
import pytest
from cramjam import snappy
from hypothesis import example, given
from hypothesis import strategies as st

from collectors.samples import Metadata
from controlplane.errors import MalformedRequest, TooLarge
from controlplane.metrics.write.remote_write_codec import (
    METADATA_TYPES,
    TimeSeries,
    WriteLimits,
    WriteRequest,
    decode,
    encode,
)

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
UP = TimeSeries((("__name__", "up"), ("job", "a")), ((1_700_000_000_000, 1.0),))


def packed(data: bytes) -> bytes:
    return bytes(snappy.compress_raw(data))


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes((number << 3 | 2, len(content))) + content


def label(name: str, value: str) -> bytes:
    return field(1, field(1, name.encode()) + field(2, value.encode()))


def test_what_is_written_is_read() -> None:
    request = WriteRequest(
        (UP, TimeSeries((("__name__", "überall"), ("π", "日本")), ((-1, -0.0), (2**63 - 1, 1e300), (-(2**63), 0.0)))),
        (("up", Metadata("gauge", "is it there?")), ("x", Metadata("unknown", ""))),
    )
    assert decode(encode(request)) == request
    assert math.copysign(1, decode(encode(request)).series[1].samples[0][1]) == -1


def test_the_bytes_are_those_of_the_specification() -> None:
    message = field(1, label("__name__", "up") + field(2, b"\x09" + struct.pack("<d", 1.0) + b"\x10\x80\x01"))
    assert bytes(snappy.decompress_raw(encode(WriteRequest((TimeSeries((("__name__", "up"),), ((128, 1.0),)),))))) == (
        message
    )


def test_a_staleness_marker_keeps_its_bits() -> None:
    read = decode(encode(WriteRequest((TimeSeries(UP.labels, ((1, STALE),)),)))).series[0].samples[0][1]
    assert struct.pack("<d", read) == struct.pack("<Q", 0x7FF0000000000002)
    assert np.array([read]).view(np.uint64)[0] == 0x7FF0000000000002


def test_labels_are_sorted_and_empty_ones_are_absent() -> None:
    message = field(1, label("b", "2") + label("__name__", "up") + label("a", "") + label("b", "1"))
    assert decode(packed(message)).series[0].labels == (("__name__", "up"), ("b", "1"), ("b", "2"))


def test_fields_at_their_default_may_be_absent() -> None:
    message = field(1, label("__name__", "up") + field(2, b"") + field(2, b"\x10\x05") + field(2, b"\x09" + b"\0" * 8))
    assert decode(packed(message)).series[0].samples == ((0, 0.0), (5, 0.0), (0, 0.0))


def test_fields_in_another_order_are_read() -> None:
    sample = b"\x10\x05\x09" + struct.pack("<d", 2.5)
    message = field(1, field(2, sample) + label("__name__", "up"))
    assert decode(packed(message)).series == (TimeSeries((("__name__", "up"),), ((5, 2.5),)),)


def test_exemplars_and_unknown_fields_are_skipped() -> None:
    unknown = b"\x50\x05" + b"\x59" + b"\0" * 8 + b"\x5d" + b"\0" * 4 + field(12, b"later")
    message = field(1, label("__name__", "up") + field(3, b"exemplar") + unknown) + unknown
    assert decode(packed(message)) == WriteRequest((TimeSeries((("__name__", "up"),), ()),))


def test_native_histograms_are_counted() -> None:
    message = field(1, label("__name__", "h") + field(4, b"\x08\x01") + field(4, b""))
    assert decode(packed(message)).histograms == 2


def test_a_type_of_a_later_protocol_is_unknown() -> None:
    entries = b"".join(field(3, bytes((8, n)) + field(2, b"m")) for n in (1, 7, 8, 127))
    assert [m.type for _, m in decode(packed(entries)).metadata] == ["counter", "stateset", "unknown", "unknown"]


def test_nothing_at_all_is_an_empty_request() -> None:
    assert decode(packed(b"")) == WriteRequest(())


BAD = {
    "no snappy": (b"", "not in snappy's block format"),
    "snappy of another kind": (bytes(snappy.compress(b"x" * 100)), "not in snappy's block format"),
    "cut": (encode(WriteRequest((UP,)))[:-3], "not in snappy's block format"),
    "a field beyond its end": (packed(b"\x0a\x05\x0a"), "byte 2: a field of 5 bytes where its message has 1 left"),
    "a nested field beyond its end": (packed(b"\x0a\x02\x0a\x7f" + b"\0" * 200), "field of 127 bytes where .* 0 left"),
    "a tag and nothing": (packed(b"\x0a"), "byte 1: the message ends in the middle of a field"),
    "half a number": (packed(b"\x50\x80"), "ends in the middle"),
    "half a double": (packed(field(1, field(2, b"\x09\0\0"))), "ends in the middle"),
    "an unknown field cut": (packed(b"\x59\0"), "ends in the middle"),
    "a number of 65 bits": (packed(b"\x50" + b"\xff" * 9 + b"\x02"), "more than 64 bits"),
    "a number without end": (packed(b"\x50" + b"\xff" * 11), "more than 64 bits"),
    "a group": (packed(b"\x53\x54"), "field 10 of WriteRequest has the wrong wire type 3"),
    "a series as a number": (packed(b"\x08\x01"), "field 1 of WriteRequest has the wrong wire type 0"),
    "a timestamp as a string": (packed(field(1, field(2, field(2, b"1")))), "field 2 of Sample has the wrong wire"),
    "field 0": (packed(b"\x02\x00"), "a field with the number 0"),
    "no UTF-8": (packed(field(1, field(1, field(1, b"a\xff")))), "byte 7: a label name that is not UTF-8"),
    "a label without a name": (packed(field(1, field(1, field(2, b"v")))), "a label without a name"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_body_is_named(case: str) -> None:
    body, words = BAD[case]
    with pytest.raises(MalformedRequest, match=words) as caught:
        decode(body)
    assert not isinstance(caught.value, TooLarge)


NARROW = WriteLimits(
    max_body_bytes=1000,
    max_decoded_bytes=2000,
    max_series=2,
    max_samples=3,
    max_metadata=1,
    max_labels=2,
    max_name_bytes=8,
    max_value_bytes=4,
)
LARGE = {
    "body": (b"\x01" * 1001, "the body has 1001 bytes, more than the 1000 allowed"),
    "bomb": (packed(b"\0" * 2001), "inflates to 2001 bytes, more than the 2000 allowed"),
    "bomb that lies": (b"\xff\xff\xff\xff\x0f", "inflates to 4294967295 bytes"),
    "series": (packed(field(1, b"") * 3), "more than the 2 series allowed"),
    "samples": (packed(field(1, field(2, b"") * 2) * 2), "more than the 3 samples allowed"),
    "histograms": (packed(field(1, field(4, b"") * 4)), "more than the 3 samples allowed"),
    "metadata": (packed(field(3, b"") * 2), "more than the 1 metadata entries allowed"),
    "labels": (packed(field(1, label("a", "1") * 3)), "more than the 2 labels allowed"),
    "name": (packed(field(1, label("a" * 9, "1"))), "a label name of 9 bytes, more than the 8 allowed"),
    "value": (packed(field(1, label("a", "12345"))), "a label value of 5 bytes, more than the 4 allowed"),
    "help": (packed(field(3, field(4, b"12345"))), "a metric's help of 5 bytes"),
    "family": (packed(field(3, field(2, b"123456789"))), "a metric family's name of 9 bytes"),
}


@pytest.mark.parametrize("case", LARGE)
def test_every_limit_is_named(case: str) -> None:
    body, words = LARGE[case]
    with pytest.raises(TooLarge, match=words):
        decode(body, NARROW)


def test_a_time_beyond_64_bits_is_not_written() -> None:
    with pytest.raises(OverflowError):
        encode(WriteRequest((TimeSeries(UP.labels, ((2**63, 1.0),)),)))


@given(st.binary(max_size=300))
@example(b"\x00")
def test_random_bodies_raise_nothing_else(body: bytes) -> None:
    for candidate in (body, packed(body)):
        with contextlib.suppress(MalformedRequest):
            decode(candidate, NARROW)


@given(st.data())
def test_damaged_requests_raise_nothing_else(data: st.DataObject) -> None:
    whole = bytes(snappy.decompress_raw(encode(WriteRequest((UP, UP), (("up", Metadata("gauge", "h")),)))))
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + data.draw(st.integers(0, 2)) :]
    with contextlib.suppress(MalformedRequest):
        decode(packed(damaged))


names = st.text(min_size=1, max_size=10).filter(lambda text: text.isprintable())
samples = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)), max_size=3)
requests = st.lists(st.tuples(st.dictionaries(names, names, max_size=3), samples), max_size=3)
about = st.lists(st.tuples(names, st.sampled_from(METADATA_TYPES), names), max_size=3)


@given(requests, about)
def test_any_request_survives(
    series: list[tuple[dict[str, str], list[tuple[int, float]]]], told: list[tuple[str, str, str]]
) -> None:
    request = WriteRequest(
        tuple(TimeSeries(tuple(sorted(labels.items())), tuple(values)) for labels, values in series),
        tuple((name, Metadata(kind, text)) for name, kind, text in told),
    )
    assert decode(encode(request)) == request
