"""Codecs of chunks: what goes in comes out, and a codec is chosen only where it pays."""

from __future__ import annotations

import os

import numpy as np
import pytest

from controlplane.backup.errors import Damaged
from controlplane.backup.format.compress import Codec, best_codec, compressed, decompressed


def bf16(count: int) -> bytes:
    """Return Gaussian weights as BF16: the upper halves of float32."""
    values = np.random.default_rng(5).normal(0, 0.02, count).astype("<f4")
    return values.view("<u2")[1::2].tobytes()


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4095, 100_001])
def test_every_codec_gives_the_bytes_back(codec: Codec, size: int) -> None:
    data = (bf16(60_000) + b"!")[:size]
    assert decompressed("chunk", codec, compressed(codec, memoryview(data)), size) == data


def test_splitting_makes_bf16_smaller_than_zstd_alone() -> None:
    data = bf16(500_000)
    assert len(compressed(Codec.SPLIT16_ZSTD, data)) < len(compressed(Codec.ZSTD, data)) < 0.8 * len(data)


@pytest.mark.parametrize(
    ("sample", "floats16", "codec"),
    [
        (bf16(200_000), True, Codec.SPLIT16_ZSTD),
        (bf16(200_000), False, Codec.ZSTD),
        (os.urandom(300_000), True, Codec.RAW),
        (b"words " * 10_000, False, Codec.ZSTD),
        (b"words " * 80, False, Codec.RAW),
        (b"", True, Codec.RAW),
    ],
    ids=["bf16", "bf16 as bytes", "noise", "words", "short", "empty"],
)
def test_a_codec_is_chosen_where_a_sample_shrinks(sample: bytes, floats16: bool, codec: Codec) -> None:
    assert best_codec(sample, floats16=floats16) is codec


@pytest.mark.parametrize(
    ("codec", "stored", "size"),
    [
        (9, b"x", 1),
        (Codec.ZSTD, b"no zstd", 7),
        (Codec.ZSTD, compressed(Codec.ZSTD, b"seven b"), 6),
        (Codec.ZSTD, compressed(Codec.ZSTD, b"seven b"), 8),
        (Codec.SPLIT16_ZSTD, compressed(Codec.ZSTD, bytes(1 << 20))[:-3], 1 << 20),
    ],
    ids=["unknown codec", "no zstd", "too long", "too short", "cut off"],
)
def test_bytes_that_are_not_what_was_stored_are_damaged(codec: int, stored: bytes, size: int) -> None:
    with pytest.raises(Damaged, match=r"^chunk 7 is damaged"):
        decompressed("chunk 7", codec, stored, size)
