"""Rule 1: where files are cut, on real safetensors and GGUF bytes and on headers that lie."""

from __future__ import annotations

import struct
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pytest

from controlplane.backup.sources.cut import spans
from controlplane.backup.sources.gguf import gguf_tensors
from controlplane.backup.sources.safetensors import safetensors_tensors
from tests.fakes import tiny_gguf

MIB = 1 << 20


def safetensors(*sizes: int, header: object = None) -> bytes:
    """Return a file with one tensor for each size, in bytes."""
    ends = np.cumsum(sizes).tolist()
    rows = {
        f"t{number}": {"dtype": "U8", "shape": [size], "data_offsets": [end - size, end]}
        for number, (size, end) in enumerate(zip(sizes, ends, strict=True))
    }
    text = orjson.dumps({"__metadata__": {"format": "pt"}, **rows} if header is None else header)
    return struct.pack("<Q", len(text)) + text + bytes(sum(sizes))


def cut(name: str, data: bytes) -> list[tuple[int, int]]:
    found = [(span.offset, span.length) for span in spans(name, len(data), lambda at, count: data[at : at + count])]
    assert [offset for offset, _ in found] == [0, *(offset + length for offset, length in found)][:-1] or not found
    assert sum(length for _, length in found) == len(data)
    return found


def test_other_files_are_cut_every_four_mebibytes() -> None:
    assert cut("model.bin", b"") == []
    assert cut("model.bin", bytes(1)) == [(0, 1)]
    assert cut("model.bin", bytes(9 * MIB)) == [(0, 4 * MIB), (4 * MIB, 4 * MIB), (8 * MIB, MIB)]


def test_safetensors_are_cut_where_large_tensors_begin_and_again_every_four_mebibytes() -> None:
    data = safetensors(1000, 5 * MIB, 300 << 10, 10, 20)
    head = len(data) - (1000 + 5 * MIB + (300 << 10) + 30)
    assert cut("a.safetensors", data) == [
        (0, head + 1000),
        (head + 1000, 4 * MIB),
        (head + 1000 + 4 * MIB, MIB),
        (head + 1000 + 5 * MIB, 300 << 10),
        (head + 1000 + 5 * MIB + (300 << 10), 30),
    ]


def test_small_neighbours_stay_together() -> None:
    data = safetensors(*[1000] * 300)
    assert all(length <= 256 << 10 for _, length in cut("a.SAFETENSORS", data))
    assert len(cut("a.safetensors", data)) == 2


def test_a_tensor_that_moved_is_the_same_chunk() -> None:
    noise = np.random.default_rng(1).bytes(2 * MIB)
    before, after = safetensors(2 * MIB, 300 << 10), safetensors(600 << 10, 2 * MIB)
    before = before[: -(2 * MIB + (300 << 10))] + noise + bytes(300 << 10)
    after = after[: -2 * MIB] + noise
    pieces = [{data[at : at + n] for at, n in cut("a.safetensors", data)} for data in (before, after)]
    assert noise in pieces[0] & pieces[1]


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        {"t": {}},
        {"t": {"data_offsets": [0]}},
        {"t": {"data_offsets": [0, "x"]}},
        {"t": {"data_offsets": [9, 3]}},
        {"t": {"data_offsets": [-1, 3]}},
        {"t": {"data_offsets": [0, 1 << 40]}},
        {"t": {"data_offsets": [0, 9]}, "u": {"data_offsets": [8, 10]}},
        "text",
    ],
    ids=str,
)
def test_a_safetensors_header_that_lies_falls_back(header: object) -> None:
    data = safetensors(5 * MIB, header=header)
    assert safetensors_tensors(len(data), lambda at, count: data[at : at + count]) is None
    assert cut("a.safetensors", data) == cut("a.bin", data)


@pytest.mark.parametrize("data", [b"", b"1234567", struct.pack("<Q", 1 << 60) + bytes(100), bytes(5000), b"{" * 5000])
def test_bytes_that_are_no_safetensors_file_fall_back(data: bytes) -> None:
    assert cut("a.safetensors", data) == cut("a.bin", data)


def test_a_deep_header_falls_back() -> None:
    text = b"[" * 100_000
    data = struct.pack("<Q", len(text)) + text
    assert cut("a.safetensors", data) == cut("a.bin", data)


def test_gguf_files_are_cut_where_tensors_begin(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "a.gguf")
    data = (tmp_path / "a.gguf").read_bytes()
    offsets = gguf_tensors(len(data), lambda at, count: data[at : at + count])
    assert offsets is not None
    assert len(offsets) == 21
    assert all(offset % 32 == 0 for offset in offsets)
    # The first tensor is the embedding, and the last one ends the file: 64 x 128 float32.
    assert len(data) - offsets[-1] == 64 * 128 * 4
    begins = {offset for offset, _ in cut("a.gguf", data)[1:]}
    assert begins and begins <= set(offsets)


def test_every_gguf_file_that_is_cut_off_or_changed_falls_back_or_is_covered(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "a.gguf")
    data = (tmp_path / "a.gguf").read_bytes()
    for length in [*range(0, 3000, 7), 20_000]:
        assert gguf_tensors(length, partial(lambda end, at, count: data[at : min(at + count, end)], length)) is None
    for at in range(0, 2000, 3):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        cut("a.gguf", bytes(changed))


def test_a_gguf_header_of_nested_arrays_falls_back() -> None:
    nested = struct.pack("<IQ", 9, 1) * 5000
    data = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + nested
    assert cut("a.gguf", data) == cut("a.bin", data)


def test_spans_have_no_gaps(tmp_path: Path) -> None:
    data = safetensors(*np.random.default_rng(3).integers(0, MIB, 40).tolist())
    found = cut("a.safetensors", data)
    assert all(one[0] + one[1] == other[0] for one, other in pairwise(found))
    assert all(0 < length <= 4 * MIB for _, length in found)
