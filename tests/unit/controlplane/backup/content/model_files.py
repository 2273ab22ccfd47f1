"""Small real model files, and a Hugging Face cache that holds them."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import orjson

from tests.unit.controlplane.backup.world import write_files

MIB = 1 << 20
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def safetensors(kind: str = "BF16", rows: int = 2, columns: int = 300_000, seed: int = 1) -> bytes:
    """Return a file of `rows` tensors of `columns` numbers of two bytes each."""
    size = 2 * columns
    header = {
        f"t{number}": {"dtype": kind, "shape": [columns], "data_offsets": [number * size, (number + 1) * size]}
        for number in range(rows)
    }
    text = orjson.dumps(header)
    noise = np.random.default_rng(seed).integers(0, 256, rows * size, np.uint8).tobytes()
    return struct.pack("<Q", len(text)) + text + noise


def model(seed: int = 1) -> dict[str, bytes]:
    """Return a model in the layout of transformers: weights, configuration, tokenizer, chat template, generation."""
    return {
        "config.json": orjson.dumps({"architectures": ["LlamaForCausalLM"]}),
        "model.safetensors": safetensors(seed=seed),
        "tokenizer.json": b'{"version": "1.0"}',
        "chat_template.jinja": b"{{ messages }}",
        "generation_config.json": b'{"temperature": 0.6}',
    }


def cached(cache: Path, files: dict[str, bytes], repository: str = "org/chat", commit: str = COMMIT) -> Path:
    """Put files into a Hugging Face cache as huggingface_hub lays them out, and return the snapshot's folder."""
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    for name, data in files.items():
        blob = hashlib.sha256(data).hexdigest()
        write_files(home / "blobs", {blob: data})
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (2 + name.count("/"))
        link.symlink_to(f"{up}blobs/{blob}")
    write_files(home / "refs", {"main": commit.encode()})
    return snapshot
