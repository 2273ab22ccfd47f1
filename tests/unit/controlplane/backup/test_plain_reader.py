"""A second reader, which shares no code with the product, reads what the product wrote."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from controlplane.backup.format.envelope import Sealing
from controlplane.backup.initial import init_repository
from controlplane.backup.keys.changing import add_key, remove_key, rotate
from controlplane.backup.keys.keyfile import new_key, write_key
from controlplane.backup.repository import Repository
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


@pytest.mark.parametrize("sealing", Sealing)
def test_the_plain_reader_reads_a_rotated_repository_with_a_second_key(tmp_path: Path, sealing: Sealing) -> None:
    store, root, second = FolderStore(tmp_path / "repository"), tmp_path / "models", new_key()
    header = init_repository(store, KEY, key_name="test", now=1.0, sealing=sealing)
    clock = Clock()
    files: dict[str, bytes] = {}
    for turn in range(3):  # packs of three epochs: each snapshot needs chunks of all earlier ones
        files[f"{turn}.bin"] = os.urandom(5 << 20)
        write_files(root, {f"{turn}.bin": files[f"{turn}.bin"]})
        options = Options(lanes=1, now=clock)
        create_snapshot(Repository.open(store, [KEY]), Source(root), About(f"turn {turn}"), options=options)
        rotate(store, header, KEY, {}, now=1.0, host="a")
    add_key(store, header, KEY, second, name="second", now=2.0, host="a")
    remove_key(store, header, second, KEY.id, host="a")
    write_key(tmp_path / "key", second)

    reader = PlainReader(tmp_path / "repository", tmp_path / "key")

    assert len(reader.data_keys) == 4
    last = next(head for head in reader.snapshots() if head["subject"] == "turn 2")
    found = {entry["path"]: reader.content(entry) for entry in reader.entries(last) if entry["type"] == "file"}
    assert found == files
    epochs = {path.read_bytes()[8:12] for path in (tmp_path / "repository" / "packs").glob("*/*")}
    assert len(epochs) == 3
