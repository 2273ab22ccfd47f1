"""Backups of and in a bucket of a real S3 server, SeaweedFS."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from controlplane.backup.errors import StoreUnreachable
from controlplane.backup.format.envelope import Sealing
from controlplane.backup.initial import init_repository
from controlplane.backup.pruning.prune import prune
from controlplane.backup.reading.verify import verify
from controlplane.backup.repository import Repository
from controlplane.backup.sources.bucket import BucketSource
from controlplane.backup.storage.addresses import cloud_store, open_store
from controlplane.backup.storage.store import Store
from controlplane.backup.writing.create import About, Created, Options, create_snapshot
from tests.contract.real_servers import seaweedfs
from tests.unit.controlplane.backup.world import KEY, Clock, content, restore

MODEL = random.Random(1).randbytes(20 << 20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as variables:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def store(server: None, tmp_path: Path) -> Store:
    store = open_store(f"s3://models/repository-{tmp_path.name}")
    init_repository(store, KEY, key_name="test", now=1.0, sealing=Sealing.AES_256_GCM)
    return store


def back_up(store: Store, prefix: str) -> Created:
    clock = Clock()
    options = Options(lanes=2, now=clock, pause=clock.pause)
    source = BucketSource(f"s3://models/{prefix}")
    return create_snapshot(Repository.open(store, [KEY]), source, About("chat"), options=options)


def files(folder: Path) -> dict[str, object]:
    return {name: value[0] for name, value in content(folder).items()}


def test_a_model_repository_in_a_bucket_comes_back_and_is_read_once(store: Store, tmp_path: Path) -> None:
    bucket = cloud_store("s3://models/triton")
    obstore.put(bucket, "chat/1/model.bin", MODEL, use_multipart=True, chunk_size=8 << 20)
    obstore.put(bucket, "chat/config.pbtxt", b"name: chat", use_multipart=False)
    obstore.put(bucket, "chat/empty", b"", use_multipart=False)
    first = back_up(store, "triton")
    restore(store, first.snapshot, tmp_path / "out")
    assert files(tmp_path / "out") == {
        "chat": "folder",
        "chat/1": "folder",
        "chat/1/model.bin": MODEL,
        "chat/config.pbtxt": b"name: chat",
        "chat/empty": b"",
    }
    second = back_up(store, "triton")
    assert (second.snapshot.new_bytes, second.snapshot.digest) == (0, first.snapshot.digest)
    obstore.put(bucket, "chat/1/model.bin", MODEL[::-1], use_multipart=True, chunk_size=8 << 20)
    third = back_up(store, "triton")
    assert third.snapshot.new_bytes > 20 << 20
    store.delete(f"snapshots/{third.snapshot.id}")
    pruned = prune(Repository.open(store, [KEY]), host="here")
    assert pruned.deleted > 0 and verify(Repository.open(store, [KEY])).good


def test_a_condition_is_heeded(server: None) -> None:
    bucket = cloud_store("s3://models/conditions")
    obstore.put(bucket, "a", b"one", use_multipart=False)
    etag = obstore.head(bucket, "a")["e_tag"]
    obstore.put(bucket, "a", b"two", use_multipart=False)
    with pytest.raises(obstore.exceptions.PreconditionError):
        obstore.get(bucket, "a", options={"if_match": etag, "range": (0, 1)})


def test_a_bucket_that_is_not_there_is_named(store: Store) -> None:
    clock = Clock()
    source = BucketSource("s3://no-such-bucket/triton")
    with pytest.raises(StoreUnreachable, match="s3://no-such-bucket/triton"):
        create_snapshot(Repository.open(store, [KEY]), source, About("chat"), options=Options(lanes=1, now=clock))
