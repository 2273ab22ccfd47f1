"""Rows become requests that the codec reads back, bit for bit."""

from __future__ import annotations

import math
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collectors.samples import Series, labels_of
from controlplane.metrics.arrays import STALE_BITS
from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, decode, encode
from controlplane.metrics.write.shipping.wire import (
    RowTemplate,
    compressed,
    encoded_labels,
    stale_values,
)

NAMES = st.text(min_size=1, max_size=200)
SERIES = st.builds(
    lambda name, labels: Series(name, labels_of(labels)),
    NAMES,
    st.dictionaries(NAMES.filter(lambda n: n != "__name__"), st.text(min_size=1, max_size=300), max_size=4),
)
TIMES = st.integers(-(2**63), 2**63 - 1)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@given(st.lists(SERIES, min_size=1, max_size=5, unique=True), st.lists(TIMES, min_size=1, max_size=3), st.data())
def test_rows_are_read_back_as_they_were(series: list[Series], times: list[int], data: st.DataObject) -> None:
    template = RowTemplate([encoded_labels(one) for one in series])
    rows = [data.draw(st.lists(st.floats(), min_size=len(series), max_size=len(series))) for _ in times]
    parts = [template.write(at, np.array(row))[0] for at, row in zip(times, rows, strict=True)]
    found = decode(compressed(parts)).series
    expected = [
        (s, at, value) for at, row in zip(times, rows, strict=True) for s, value in zip(series, row, strict=True)
    ]
    assert len(found) == len(expected)
    for (labels, samples), (one, at, value) in zip(found, expected, strict=True):
        assert labels == tuple(sorted((("__name__", one.name), *one.labels)))
        assert [(t, bits(v)) for t, v in samples] == [(at, bits(value))]


def test_the_bytes_are_those_that_the_codec_writes() -> None:
    up, down = Series("up", labels_of({"job": "a", "Z": "é"})), Series("down", ())
    template = RowTemplate([encoded_labels(up), encoded_labels(down)])
    row, starts = template.write(1_700_000_000_123, np.array([1.0, math.inf]))
    whole = WriteRequest(
        (
            TimeSeries((("Z", "é"), ("__name__", "up"), ("job", "a")), ((1_700_000_000_123, 1.0),)),
            TimeSeries((("__name__", "down"),), ((1_700_000_000_123, math.inf),)),
        )
    )
    assert compressed([row]) == encode(whole)
    assert compressed([row[starts[1] : starts[2]]]) == encode(WriteRequest(whole.series[1:]))
    assert len(template) == 2


def test_staleness_markers_keep_their_bits() -> None:
    template = RowTemplate([encoded_labels(Series("up", ()))])
    row, _ = template.write(1000, stale_values(1))
    ((_, ((_, value),)),) = decode(compressed([row])).series
    assert struct.unpack("<Q", bits(value)) == (STALE_BITS,)
