"""Packed rows read back bit for bit, and damaged bytes never read back."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.exposition.parser import parse
from collectors.samples import FloatArray
from controlplane.metrics.arrays import STALE_BITS, BoolArray, IntArray
from controlplane.metrics.storage import packing
from controlplane.metrics.storage.errors import CorruptData
from controlplane.metrics.storage.packing import Packed, pack

SPECIAL = [
    0x0000000000000000,  # 0
    0x8000000000000000,  # -0
    0x7FF0000000000000,  # inf
    0xFFF0000000000000,  # -inf
    0x7FF8000000000000,  # quiet NaN
    0x7FF0000000000001,  # signalling NaN
    0xFFFFFFFFFFFFFFFF,  # NaN with every bit
    STALE_BITS,
    0x0000000000000001,  # smallest subnormal
    0x000FFFFFFFFFFFFF,  # largest subnormal
    0x7FEFFFFFFFFFFFFF,  # largest finite
    0x4340000000000000,  # 2**53
    0x433FFFFFFFFFFFFF,  # 2**53 - 1
    0xC33FFFFFFFFFFFFF,  # 1 - 2**53
    0x3FF0000000000000,  # 1
]


def bits(values: FloatArray) -> list[list[int]]:
    found: list[list[int]] = values.view(np.uint64).tolist()
    return found


def read(packed: Packed) -> tuple[list[int], FloatArray, list[bool]]:
    times, ends = packed.times_and_ends()
    return times.tolist(), packed.values(np.arange(packed.columns), ends), ends.tolist()


def sample(rows: int = 9, columns: int = 70, seed: int = 1) -> tuple[IntArray, FloatArray, BoolArray]:
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, columns))
    values[:, ::3] = np.cumsum(random.integers(0, 1000, values[:, ::3].shape), axis=0)
    values[:, ::5] = 7.5
    ends = np.zeros(rows, dtype=np.bool_)
    return 1_700_000_000_000 + np.arange(rows) * 15_000, values, ends


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_rows_read_back_bit_for_bit(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 20), label="rows")
    columns = data.draw(st.integers(0, 40), label="columns")
    word = st.one_of(
        st.sampled_from(SPECIAL),
        st.integers(0, 2**64 - 1),
        st.integers(-(2**54), 2**54).map(lambda n: struct.unpack("<Q", struct.pack("<d", float(n)))[0]),
    )
    few = data.draw(st.lists(word, min_size=1, max_size=60), label="words")
    at = data.draw(st.integers(0, 2**32), label="seed")
    picked = np.random.default_rng(at).integers(0, len(few), (rows, columns))
    values = np.array(few, dtype=np.uint64)[picked].view(np.float64)
    steps = data.draw(st.lists(st.integers(1, 10**12), min_size=rows - 1, max_size=rows - 1), label="steps")
    start = data.draw(st.integers(-(2**40), 2**50), label="start")
    times = np.cumsum(np.array([start, *steps], dtype=np.int64))
    ends = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows), label="ends"), dtype=np.bool_)

    packed = Packed(pack(times, values, ends), "here")
    assert (packed.rows, packed.columns) == (rows, columns)
    assert (packed.first_ms, packed.last_ms) == (times[0], times[-1])
    got_times, got, got_ends = read(packed)
    assert (got_times, got_ends) == (times.tolist(), ends.tolist())
    expected = values.T.copy().view(np.uint64)
    expected[:, ends] = STALE_BITS
    assert bits(got) == expected.tolist()


@pytest.mark.parametrize(
    "column",
    [
        [1e15, 1e15 + 1, 1e15 - 7],
        [2.0**53 - 1, 1 - 2.0**53, 2.0**53 - 1],
        [2.0**53, 2.0**53 + 2, 0.0],
        [0.0, -0.0, 0.0],
        [255.0, 0.0, 127.0],
        [65_535.0, 0.0, -32_768.0],
        [2.0**32, 0.0, -(2.0**31)],
        [np.inf, -np.inf, 1e308],
        [5e-324, 0.0, 5e-324],
        [3.0, 3.0, 3.0],
    ],
)
def test_every_kind_of_column_at_its_limits(column: list[float]) -> None:
    values = np.array([column], dtype=np.float64).T
    packed = Packed(pack(np.array([1, 2, 3]), values, np.zeros(3, dtype=np.bool_)), "here")
    assert bits(read(packed)[1]) == bits(np.ascontiguousarray(values.T))


def test_some_columns_are_read_without_the_others_in_the_order_asked_for() -> None:
    times, values, ends = sample()
    ends[4] = True
    packed = Packed(pack(times, values, ends), "here")
    wanted = np.array([69, 0, 33, 32, 31, 0])
    expected = np.ascontiguousarray(values.T[wanted])
    expected.view(np.int64)[:, 4] = STALE_BITS
    assert bits(packed.values(wanted, ends)) == bits(expected)
    assert packed.values(np.empty(0, dtype=np.int64), ends).shape == (0, 9)


def test_a_buffer_may_go_on_behind_what_is_packed() -> None:
    times, values, ends = sample()
    data = pack(times, values, ends)
    packed = Packed(data + b"something else", "here")
    assert packed.size == len(data)
    assert bytes(packed.data) == data
    assert read(packed)[0] == times.tolist()


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_damaged_byte_is_found_wherever_it_is(flip: int) -> None:
    times, values, ends = sample(rows=5, columns=40)
    data = pack(times, values, ends)
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= flip
        with pytest.raises(CorruptData, match="chunk 7"):
            packed = Packed(bytes(broken), "/somewhere/00000001.raw, chunk 7")
            packed.check()
            read(packed)
        # A reader of one column finds damage in what it reads, without the check of all frames.
        try:
            packed = Packed(bytes(broken), "here")
            got_times, got_ends = packed.times_and_ends()
            got = packed.values(np.array([3]), got_ends)
        except CorruptData:
            continue
        assert (got_times.tolist(), bits(got)) == (times.tolist(), bits(np.ascontiguousarray(values.T[3:4])))


def test_whatever_is_cut_off_is_found() -> None:
    data = pack(*sample(rows=5, columns=40))
    for size in range(len(data)):
        with pytest.raises(CorruptData):
            Packed(data[:size], "here").check()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_bytes_that_are_not_ours_are_refused(data: bytes) -> None:
    for whole in (data, b"CPK1" + data):
        with pytest.raises(CorruptData):
            read(Packed(whole, "here"))


def test_a_false_frame_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that inflates to far more than its rows can take is refused while it inflates."""
    bomb = packing._compress(bytes(50_000_000))
    monkeypatch.setattr(packing, "_compress", lambda data: bomb)
    packed = Packed(pack(*sample(rows=5, columns=3)), "here")
    with pytest.raises(CorruptData, match="does not unpack"):
        packed.times_and_ends()
    with pytest.raises(CorruptData, match="does not unpack"):
        packed.values(np.array([0]), np.zeros(5, dtype=np.bool_))


def moving(fixtures: Path, rows: int, seed: int = 7) -> FloatArray:
    """Return the vLLM capture as it would go on: counters and buckets grow, gauges wander, the rest stays."""
    parsed = parse((fixtures / "vllm-0.32-llm.prom").read_bytes())
    random = np.random.default_rng(seed)
    start = np.array(parsed.values, dtype=np.float64)
    names = [series.name for series in parsed.series]
    busy = np.array([not name.startswith("python_") and not name.endswith("_created") for name in names])
    counts = np.array([name.endswith(("_total", "_count", "_bucket")) for name in names]) & busy
    sums = np.array([name.endswith("_sum") for name in names]) & busy
    grows = random.poisson(3.0, (rows, len(start))) * counts + random.exponential(0.4, (rows, len(start))) * sums
    table = start + np.cumsum(grows, axis=0)
    wanders = busy & ~counts & ~sums & (start != 0)
    table[:, wanders] = start[wanders] * random.uniform(0.5, 1.5, (rows, int(wanders.sum())))
    return np.ascontiguousarray(table)


def test_the_vllm_capture_with_its_values_moving_takes_less_than_a_byte_and_a_half_a_sample(fixtures: Path) -> None:
    rows = 128
    values = moving(fixtures, rows)
    times = 1_700_000_000_000 + np.arange(rows) * 15_000 + np.random.default_rng(3).integers(-4, 4, rows)
    data = pack(times, values, np.zeros(rows, dtype=np.bool_))
    moved = (values[0] != values[-1]).mean()
    assert moved > 0.5, "most series of the capture move"
    assert len(data) / values.size < 1.5
    assert bits(read(Packed(data, "here"))[1]) == bits(np.ascontiguousarray(values.T))
