"""A file is restored by several runs at once, which share the blocks at their edges."""

from __future__ import annotations

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane.backup.reading import file
from tests.unit.controlplane.backup.world import create, new_store, restore


def safetensors(sizes: list[int], noise: random.Random) -> bytes:
    """Return a file whose tensors have these sizes, so that chunks begin anywhere."""
    header, at = {}, 0
    for number, size in enumerate(sizes):
        header[f"t{number}"] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + noise.randbytes(at)


@pytest.mark.parametrize("run_bytes", [1, 300_000, 64 << 20])
@given(sizes=st.lists(st.integers(1, 700_000), min_size=1, max_size=8), seed=st.integers(0, 9))
@example(sizes=[262_145, 4096, 262_145, 8191, 700_000], seed=0)
@settings(max_examples=15, deadline=None)
def test_runs_of_any_length_write_every_byte(run_bytes: int, sizes: list[int], seed: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        patch.setattr(file, "RUN_BYTES", run_bytes)
        patch.setattr(file, "STAGED", 4 << 20)
        data = safetensors(sizes, random.Random(seed))
        (root / "model").mkdir()
        (root / "model" / "model.safetensors").write_bytes(data)
        store = new_store()
        restore(store, create(store, root / "model"), root / "out")
        assert (root / "out" / "model.safetensors").read_bytes() == data


def test_a_hole_stays_a_hole(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    sparse = tmp_path / "model" / "sparse.bin"
    with sparse.open("wb") as handle:
        handle.truncate(40 << 20)
        handle.seek(20 << 20)
        handle.write(b"weights")
    store = new_store()
    restore(store, create(store, tmp_path / "model"), tmp_path / "out")
    restored = tmp_path / "out" / "sparse.bin"
    assert restored.read_bytes() == sparse.read_bytes()
    assert restored.stat().st_blocks * 512 <= 17 << 20
