"""Every verb over a store that fails at each operation, in each way: over the real wire, with a server of our own.

The result is always one of two: the verb succeeds, or it raises an error of backups that names the store. Either way
every snapshot that is listed afterwards restores to what its source was.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.backup.errors import BackupError
from controlplane.backup.format.envelope import Sealing
from controlplane.backup.initial import init_repository
from controlplane.backup.pruning.prune import prune
from controlplane.backup.reading.verify import verify
from controlplane.backup.repository import Repository
from controlplane.backup.storage import objects
from controlplane.backup.storage.addresses import cloud_store
from controlplane.backup.storage.objects import ObjectsStore
from tests.fakes.s3.faults import Fault, Kind, Operation
from tests.fakes.s3.server import S3Server, s3_server
from tests.unit.controlplane.backup.world import KEY, content, create, restore, snapshots, write_files

ADDRESS = "s3://models/repository"
PASSING = (Kind.RESET, Kind.RESET_AFTER, Kind.SLOW_DOWN, Kind.TRUNCATED, Kind.GARBAGE)
"""Faults that a verb must survive when they strike once."""
STAYING = (Kind.ERROR, Kind.REFUSED, Kind.TRUNCATED, Kind.LIE, Kind.GARBAGE)
SIZES, SMALL = {"create": 9 << 20}, 100_000
"""Bytes of a model by verb: packs from 8 MiB on are sent in parts. The other verbs take small ones."""
PATIENCE: Mapping[str, Any] = {
    "timeout": timedelta(seconds=2),
    "retry_within": timedelta(seconds=0.2),
    "backoff": timedelta(milliseconds=1),
}
"""A passing fault is met again at once, instead of a tenth of a second later: nothing here needs the time."""
Verb = Callable[["World"], object]


class World:
    """A repository on the server, with a snapshot that stays, and one that is deleted."""

    def __init__(self, server: S3Server, tmp_path: Path, size: int) -> None:
        self.server, self.home = server, tmp_path
        self.store = ObjectsStore(cloud_store(ADDRESS, **PATIENCE), ADDRESS)
        init_repository(self.store, KEY, key_name="test", now=1.0, sealing=Sealing.AES_256_GCM)
        self.models = tmp_path / "models"
        write_files(self.models, {"1/model.bin": random.Random(1).randbytes(size), "config.pbtxt": b"x"})
        gone = create(self.store, self.models, "gone")
        write_files(self.models, {"1/model.bin": random.Random(2).randbytes(size)})
        create(self.store, self.models, "kept")
        self.store.delete(f"snapshots/{gone.id}")
        self.expected = {"kept": content(self.models)}
        write_files(self.models, {"1/model.bin": random.Random(3).randbytes(size)})
        self.expected["fresh"] = content(self.models)
        self.start = dict(server.objects)
        self.restored = 0

    def again(self) -> None:
        """Begin anew from the same objects."""
        self.server.objects, self.server.faults = dict(self.start), []
        self.server.asked.clear()

    def whole(self) -> set[str]:
        """Check that each snapshot restores to what its source was, and return their subjects."""
        self.server.faults = []
        found = snapshots(self.store)
        for snapshot in found:
            self.restored += 1
            folder = self.home / f"out-{self.restored}"
            restore(self.store, snapshot, folder)
            assert content(folder) == self.expected[snapshot.subject]
        return {snapshot.subject for snapshot in found}


@contextmanager
def new_world(folder: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Yield a world with a server of its own. The environment names it only while the world is made."""
    folder.mkdir(exist_ok=True)
    with s3_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield World(server, folder, size)


@pytest.fixture
def world(tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(objects, "PAUSE_S", 0.0)
    with new_world(tmp_path, SIZES.get(verb, SMALL), monkeypatch) as made:
        yield made


def backed_up(world: World) -> None:
    create(world.store, world.models, "fresh")


def restored(world: World) -> None:
    world.restored += 1
    folder = world.home / f"restored-{world.restored}"
    faults: list[BackupError] = []
    found = Repository.open(world.store, [KEY]).snapshots(faults.append)
    if faults:
        raise faults[0]
    restore(world.store, found[0], folder)
    assert content(folder) == world.expected["kept"]


def verified(world: World) -> None:
    verdict = verify(Repository.open(world.store, [KEY]))
    if not verdict.good:
        raise BackupError("; ".join(verdict.faults))


def pruned(world: World) -> None:
    result = prune(Repository.open(world.store, [KEY]), host="here")
    if result.faults:
        raise BackupError("; ".join(result.faults))


VERBS: dict[str, Verb] = {"create": backed_up, "restore": restored, "verify": verified, "prune": pruned}


def operations(world: World, verb: Verb) -> list[tuple[Operation, str]]:
    """Return the operations of a verb with the folder of the repository that each was on."""
    world.again()
    verb(world)
    return sorted({(one, key.removeprefix("repository/").split("/")[0]) for one, key in world.server.asked})


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("verb", VERBS)
def test_a_fault_that_passes_is_survived_at_every_operation(world: World, verb: str, kind: Kind) -> None:
    met = 0
    for operation, folder in operations(world, VERBS[verb]):
        world.again()
        fault = Fault(kind, operation, key=folder, times=1)
        world.server.faults = [fault]
        VERBS[verb](world)
        met += fault.met
        assert world.whole() >= ({"kept", "fresh"} if verb == "create" else {"kept"}), (operation, folder)
    assert met > 3


@pytest.mark.parametrize("kind", STAYING)
@pytest.mark.parametrize("verb", VERBS)
def test_a_fault_that_stays_ends_the_verb_with_words_and_loses_nothing(world: World, verb: str, kind: Kind) -> None:
    refused = 0
    for operation, folder in operations(world, VERBS[verb]):
        world.again()
        world.server.faults = [Fault(kind, operation, key=folder, skip=operation is Operation.PUT)]
        try:
            VERBS[verb](world)
        except BackupError as error:
            refused += 1
            assert "Debug source" not in str(error) and len(str(error)) < 2000, str(error)
        world.server.faults = []
        for item in list(world.store.list("damage/")):
            # To a verification, what a store that always lies sends is damage. It writes that down for all machines.
            assert (kind, verb) == (Kind.LIE, "verify")
            world.store.delete(item.name)
        assert "kept" in world.whole(), (operation, folder)
        assert verify(Repository.open(world.store, [KEY])).good or kind is Kind.LIE, (operation, folder)
    assert refused or kind is Kind.LIE, "no operation of the verb met the fault"


def test_a_store_that_hangs_ends_the_verb_by_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb and way to hang has a store of its own, so that they wait for their deadlines at the same time."""
    monkeypatch.setattr(objects, "PAUSE_S", 0.0)
    cases = list(itertools.product(("restore", "prune"), (Kind.HANG, Kind.HANG_AFTER_HEAD)))
    with ExitStack() as open_until, ThreadPoolExecutor(len(cases)) as threads:
        worlds = [
            open_until.enter_context(new_world(tmp_path / f"{verb}-{kind}", SMALL, monkeypatch)) for verb, kind in cases
        ]
        list(threads.map(lambda world, case: hangs(world, *case), worlds, cases))


def hangs(world: World, verb: str, kind: Kind) -> None:
    # Once, it is survived; for ever, it is named.
    world.server.faults = [Fault(kind, Operation.GET, key="snapshots", times=1)]
    VERBS[verb](world)
    world.again()
    world.server.faults = [Fault(kind, Operation.GET, key="snapshots")]
    with pytest.raises(BackupError, match=r"s3://models/repository: snapshots/"):
        VERBS[verb](world)
    assert world.whole() == {"kept"}, (verb, kind)


@pytest.mark.parametrize("verb", ["verify"])
@pytest.mark.parametrize("skip", range(4))
def test_bytes_that_changed_on_the_way_once_are_no_damage(world: World, verb: str, skip: int) -> None:
    world.server.faults = [Fault(Kind.LIE, Operation.GET, key="packs", times=1, skip=skip)]
    assert verify(Repository.open(world.store, [KEY])).good
    assert not list(world.store.list("damage/"))


@pytest.mark.parametrize("verb", ["create"])
def test_a_store_that_ignores_conditions_or_lists_what_was_is_survived(world: World, verb: str) -> None:
    world.server.ignores_conditions = True
    backed_up(world)
    assert world.whole() == {"kept", "fresh"}
    world.again()
    world.server.stale = dict(world.start)
    with pytest.raises((BackupError, StopIteration)):
        backed_up(world)
    world.server.stale = None
    assert world.whole() == {"kept"}
