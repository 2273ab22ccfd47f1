"""Backups of a bucket over the real wire: objects that are exchanged, stores that lie, and requests in flight."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.backup.errors import BackupError, SourceIncomplete, SourceMoving, StoreUnreachable
from controlplane.backup.repository import Repository
from controlplane.backup.sources import bucket as bucket_module
from controlplane.backup.sources.bucket import BucketSource
from controlplane.backup.storage.addresses import cloud_store
from controlplane.backup.tally import Tally
from controlplane.backup.writing.create import About, Created, Options, create_snapshot
from tests.fakes.backup_store import MemoryStore
from tests.fakes.s3.faults import Fault, Kind, Operation
from tests.fakes.s3.server import S3Server, s3_server
from tests.unit.controlplane.backup.world import KEY, Clock, content, new_store, restore, snapshots

NOISE = random.Random(1).randbytes(9 << 20)


class World:
    """A bucket on the server, and a repository in memory."""

    def __init__(self, server: S3Server) -> None:
        self.server, self.store, self.host = server, new_store(), "node-1"
        self.tally = Tally()

    def create(self, address: str = "s3://models/t", **source: tuple[str, ...]) -> Created:
        self.server.asked.clear()
        self.server.ranges.clear()
        self.store.now += 60.0
        clock = Clock()
        options = Options(lanes=2, now=clock, pause=clock.pause)
        repository = Repository.open(self.store, [KEY])
        return create_snapshot(
            repository,
            BucketSource(address, **source),
            About("chat", host=self.host),
            options=options,
            tally=self.tally,
        )

    def files(self, made: Created, folder: Path) -> dict[str, bytes]:
        restore(self.store, made.snapshot, folder)
        return {name: value[0] for name, value in content(folder).items() if isinstance(value[0], bytes)}

    @property
    def read(self) -> list[str]:
        """Keys that were read, each once."""
        return sorted({key for key, _ in self.server.ranges})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with s3_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)

        def impatient(address: str) -> object:
            return cloud_store(address, timeout=timedelta(seconds=10), retry_within=timedelta(seconds=0.3))

        monkeypatch.setattr(bucket_module, "cloud_store", impatient)
        server.put("t/chat/1/model.bin", NOISE)
        server.put("t/chat/config.pbtxt", b"name: chat")
        server.put("t/ensemble/1/", b"")
        server.put("t/ensemble/empty", b"")
        server.put("t2/other", b"of another prefix")
        yield World(server)


EXPECTED = {"chat/1/model.bin": NOISE, "chat/config.pbtxt": b"name: chat", "ensemble/empty": b""}


def test_a_restore_equals_the_bucket_with_its_empty_folders(world: World, tmp_path: Path) -> None:
    world.server.page = 2
    made = world.create()
    assert world.files(made, tmp_path / "out") == EXPECTED
    assert (tmp_path / "out" / "ensemble" / "1").is_dir()
    assert (tmp_path / "out" / "chat" / "1" / "model.bin").stat().st_mtime == world.server.objects[
        "t/chat/1/model.bin"
    ].modified_at
    assert (made.snapshot.source, made.snapshot.files) == ("s3://models/t", 3)
    assert (world.tally.done, world.tally.bytes) == (len(NOISE) + 10, len(NOISE) + 10)


def test_unchanged_objects_are_not_read_again_by_any_machine(world: World, tmp_path: Path) -> None:
    first = world.create()
    world.host = "node-2"
    second = world.create("s3://models/t/")
    assert world.read == [] and second.snapshot.digest == first.snapshot.digest and second.snapshot.new_bytes == 0
    world.server.put("t/chat/config.pbtxt", b"name: CHAT")
    third = world.create()
    assert world.read == ["t/chat/config.pbtxt"]
    assert world.files(third, tmp_path / "out") == {**EXPECTED, "chat/config.pbtxt": b"name: CHAT"}


def test_a_store_without_etags_is_read_each_time(world: World, tmp_path: Path) -> None:
    world.server.etags = False
    world.create()
    made = world.create()
    assert world.read == ["t/chat/1/model.bin", "t/chat/config.pbtxt"]
    assert world.files(made, tmp_path / "out") == EXPECTED


def exchange(world: World, times: int, key: str = "t/chat/1/model.bin") -> None:
    """Let the object be exchanged before its second range is read, so many times."""
    left, reads = [times], [0]

    def before(operation: Operation, asked: str) -> None:
        if operation is Operation.GET and asked == key:
            reads[0] += 1
            if left[0] and reads[0] % 3 == 2:
                left[0] -= 1
                world.server.put(key, random.Random(left[0]).randbytes(len(NOISE)))

    world.server.before = before


@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize("etags", [False, True])
def test_an_object_that_is_exchanged_while_it_is_read_is_read_again(
    world: World, tmp_path: Path, ignores: bool, etags: bool
) -> None:
    world.server.ignores_conditions, world.server.etags = ignores, etags
    exchange(world, 2)
    made = world.create()
    assert world.files(made, tmp_path / "out") == {
        **EXPECTED,
        "chat/1/model.bin": random.Random(0).randbytes(len(NOISE)),
    }


def test_an_object_that_goes_on_changing_is_named_and_makes_no_snapshot(world: World) -> None:
    exchange(world, 100)
    with pytest.raises(
        SourceMoving, match=r"1 files below s3://models/t changed each of the 4 times.*chat/1/model\.bin"
    ):
        world.create()
    assert snapshots(world.store) == []


def test_weak_etags_are_compared_and_not_sent(world: World, tmp_path: Path) -> None:
    world.server.weak = True
    for key, one in list(world.server.objects.items()):
        world.server.put(key, one.data)
    assert world.files(world.create(), tmp_path / "out") == EXPECTED


def test_a_listing_that_stays_stale_makes_no_snapshot(world: World) -> None:
    world.server.stale = dict(world.server.objects)
    world.server.put("t/chat/1/model.bin", NOISE[1:])
    with pytest.raises(SourceMoving, match=r"chat/1/model\.bin"):
        world.create()
    del world.server.objects["t/chat/config.pbtxt"]
    with pytest.raises(SourceMoving, match=r"2 files .*chat/1/model\.bin, chat/config\.pbtxt"):
        world.create()


def test_an_object_that_became_shorter_is_read_again(world: World, tmp_path: Path) -> None:
    world.server.ignores_conditions = True
    done: list[str] = []

    def before(operation: Operation, key: str) -> None:
        if operation is Operation.GET and key == "t/chat/1/model.bin" and not done:
            done.append(key)
            world.server.put(key, b"short")

    world.server.before = before
    assert world.files(world.create(), tmp_path / "out") == {**EXPECTED, "chat/1/model.bin": b"short"}


def safetensors(*seeds: str) -> bytes:
    """Return a file of tensors of 1 MiB each."""
    size = 1 << 20
    rows = {
        f"t{n}": {"dtype": "U8", "shape": [size], "data_offsets": [n * size, n * size + size]}
        for n in range(len(seeds))
    }
    header = json.dumps(rows).encode()
    return len(header).to_bytes(8, "little") + header + b"".join(random.Random(s).randbytes(size) for s in seeds)


def test_tensors_are_chunks_and_the_header_is_read_once(world: World) -> None:
    world.server.put("s/model.safetensors", safetensors("a", "b", "c"))
    world.create("s3://models/s")
    lengths = [length for _, length in world.server.ranges]
    assert lengths[0] == 512 << 10 and sorted(lengths[1:])[1:] == [1 << 20, 1 << 20, 1 << 20]
    world.server.put("s/model.safetensors", safetensors("a", "other", "c"))
    again = world.create("s3://models/s")
    assert again.snapshot.new_bytes < 1_200_000, "a tensor that did not change was stored again"


def test_requests_are_in_flight_together_and_no_more_than_the_bound(world: World, tmp_path: Path) -> None:
    for number in range(40):
        world.server.put(f"many/{number}", bytes([number]))
    world.server.latency_s = 0.05
    made = world.create("s3://models/many")
    assert made.snapshot.files == 40
    assert 8 <= world.server.most_in_flight <= 16


def test_a_shard_that_is_missing_refuses_the_snapshot(world: World) -> None:
    world.server.put("t/hf/model.safetensors.index.json", json.dumps({"weight_map": {"a": "1.safetensors"}}).encode())
    with pytest.raises(
        SourceIncomplete, match=r"s3://models/t/hf/model\.safetensors\.index\.json names 1 files.*hf/1\.saf"
    ):
        world.create()
    world.server.put("t/hf/1.safetensors", b"no header")
    assert world.create().snapshot.files == 5


@pytest.mark.parametrize("key", ["t/chat//double", "t/../up", "t/./here", "t/a\x7fb", "t//lead"])
def test_keys_that_are_no_paths_are_named(world: World, key: str) -> None:
    world.server.put(key, b"x")
    with pytest.raises(
        StoreUnreachable, match=r"s3://models/t holds a key that is no path of a file.*Delete or"
    ) as error:
        world.create()
    assert repr(key.split("/")[1])[1:-1].strip("'") in str(error.value) or key.split("/")[-1] in str(error.value)
    assert "Debug" not in str(error.value)


def test_a_prefix_that_is_not_there_is_named(world: World) -> None:
    with pytest.raises(BackupError, match="s3://models/none cannot be backed up: no object is below it"):
        world.create("s3://models/none")


@pytest.mark.parametrize("operation", [Operation.LIST, Operation.GET, Operation.HEAD])
@pytest.mark.parametrize(
    "kind", [Kind.RESET, Kind.ERROR, Kind.SLOW_DOWN, Kind.TRUNCATED, Kind.GARBAGE, Kind.RESET_AFTER]
)
def test_a_fault_that_passes_is_survived(world: World, tmp_path: Path, operation: Operation, kind: Kind) -> None:
    for skip in (0, 1):
        world.store = new_store()
        fault = Fault(kind, operation, times=1, skip=skip)
        world.server.faults = [fault]
        assert world.files(world.create(), tmp_path / f"out-{skip}") == EXPECTED
        assert fault.met == 1


@pytest.mark.parametrize("operation", [Operation.LIST, Operation.GET, Operation.HEAD])
@pytest.mark.parametrize("kind", [Kind.RESET, Kind.ERROR, Kind.REFUSED, Kind.TRUNCATED, Kind.GARBAGE])
def test_a_fault_that_stays_is_named_and_makes_no_snapshot(world: World, operation: Operation, kind: Kind) -> None:
    world.server.faults = [Fault(kind, operation)]
    if (operation, kind) == (Operation.HEAD, Kind.TRUNCATED):
        return  # it has no body
    with pytest.raises(StoreUnreachable, match="s3://models/t: "):
        world.create()
    assert snapshots(MemoryStore(world.store.objects)) == []


def test_a_store_that_sends_the_whole_object_for_a_range_is_refused(world: World) -> None:
    world.server.faults = [Fault(Kind.WHOLE, Operation.GET)]
    with pytest.raises(StoreUnreachable, match="Received non-partial response when range requested"):
        world.create()


def test_a_store_that_hangs_ends_by_the_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    patience: dict[str, Any] = {"timeout": timedelta(seconds=0.5), "retry_within": timedelta(seconds=0.1)}
    monkeypatch.setattr(bucket_module, "cloud_store", lambda address: cloud_store(address, **patience))
    for kind in (Kind.HANG, Kind.HANG_AFTER_HEAD):
        world.server.faults = [Fault(kind, Operation.GET, key="model.bin")]
        with pytest.raises(StoreUnreachable, match=r"s3://models/t: chat/1/model\.bin: "):
            world.create()


def test_the_scheme_of_a_source_is_read_in_any_case() -> None:
    """A later run finds the snapshots of the source by this address."""
    assert BucketSource("S3://Models/T/").uri == "s3://Models/T"
