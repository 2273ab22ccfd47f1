"""A second reader, which shares no code with the product, reads what the product wrote."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from controlplane.backup.format.envelope import Sealing
from controlplane.backup.keys.keyfile import write_key
from controlplane.backup.repository import Repository, init_repository
from controlplane.backup.sources.walk import Source
from controlplane.backup.storage.folder import FolderStore
from controlplane.backup.writing.create import About, Options, create_snapshot
from tests.unit.controlplane.backup.plain_reader import PlainReader
from tests.unit.controlplane.backup.world import KEY, Clock, write_files


@pytest.mark.parametrize("sealing", Sealing)
@pytest.mark.parametrize("compress", [False, True])
def test_the_plain_reader_finds_every_byte(tmp_path: Path, sealing: Sealing, compress: bool) -> None:
    root = tmp_path / "models"
    gaussian = np.random.default_rng(7).normal(0, 0.02, 2_600_001).astype("<f4").tobytes()
    bf16 = b"".join(gaussian[at + 2 : at + 4] for at in range(0, len(gaussian), 4))
    files = {
        "chat/config.pbtxt": b'name: "chat"\n',
        "chat/1/model.bin": bf16 + b"!",
        "chat/1/empty": b"",
        "chat/2/words.txt": b"the same words again\n" * 500_000,
        "chat/2/noise.onnx": os.urandom(9 << 20),
        "100%/größe.json": b"{}",
    }
    write_files(root, files)
    (root / "ensemble" / "1").mkdir(parents=True)
    (root / "chat" / "latest").symlink_to("2")
    key_file = tmp_path / "key"
    write_key(key_file, KEY)
    store = FolderStore(tmp_path / "repository")
    init_repository(store, KEY, key_name="test", now=1.0, sealing=sealing)
    options = Options(lanes=2, compress=compress, now=Clock())
    made = create_snapshot(Repository.open(store, [KEY]), Source(root), About("all"), options=options).snapshot

    reader = PlainReader(tmp_path / "repository", key_file)

    (head,) = reader.snapshots()
    entries = {entry["path"]: entry for entry in reader.entries(head)}
    read = {
        path.replace("%25", "%"): reader.content(entry) for path, entry in entries.items() if entry["type"] == "file"
    }
    assert read == files
    assert entries["ensemble/1"]["type"] == "folder"
    assert entries["chat/latest"]["target"] == "2"
    assert (head["id"], head["digest"], head["subject"]) == (made.id, made.digest, "all")
    smaller = sum(path.stat().st_size for path in (tmp_path / "repository" / "packs").glob("*/*"))
    assert (smaller < sum(map(len, files.values()))) == compress
