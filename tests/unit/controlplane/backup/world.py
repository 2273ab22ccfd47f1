"""A repository in memory, a tree on disk, and short names for what tests do with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.backup.format.envelope import Sealing
from controlplane.backup.format.snapshot import Snapshot, read_tree
from controlplane.backup.initial import init_repository
from controlplane.backup.keys.keyfile import UserKey
from controlplane.backup.reading.restore import write_tree
from controlplane.backup.repository import Repository
from controlplane.backup.sources.walk import Source
from controlplane.backup.storage.store import Store
from controlplane.backup.tally import Tally
from controlplane.backup.writing.create import About, Options, create_snapshot
from tests.fakes.backup_store import MemoryStore

KEY = UserKey(bytes(range(32)))


class Clock:
    """Time that moves by one second each time it is read.

    It begins years after every file on disk changed: no file changes in the tick in which a run looks at it.
    """

    def __init__(self, now: float = 4_000_000_000.0) -> None:
        self.now = now
        self.paused: list[float] = []

    def __call__(self) -> float:
        self.now += 1.0
        return self.now

    def pause(self, seconds: float) -> None:
        self.paused.append(seconds)


def new_store(sealing: Sealing = Sealing.AES_256_GCM) -> MemoryStore:
    store = MemoryStore()
    init_repository(store, KEY, key_name="test", now=1.0, sealing=sealing)
    return store


def same_bucket(store: MemoryStore) -> MemoryStore:
    """Return another process's handle on the same objects."""
    return MemoryStore(store.objects)


def create(store: Store, root: Path, subject: str = "chat", *, clock: Clock | None = None, **about: Any) -> Snapshot:
    clock = clock or Clock()
    options = Options(lanes=1, now=clock, pause=clock.pause)
    repository = Repository.open(store, [KEY])
    return create_snapshot(repository, Source(root), About(subject, **about), options=options).snapshot


def snapshots(store: Store) -> list[Snapshot]:
    faults: list[Exception] = []
    found = Repository.open(store, [KEY]).snapshots(faults.append)
    assert faults == []
    return found


def restore(store: Store, snapshot: Snapshot, folder: Path) -> None:
    repository = Repository.open(store, [KEY])
    entries = list(read_tree("tree", repository.tree(snapshot)))
    write_tree(repository, entries, folder, lanes=1, tally=Tally())


def write_files(root: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def content(root: Path) -> dict[str, tuple[object, ...]]:
    """Return all that a restore must bring back, by path."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            found[str(path.relative_to(root))] = ("link", str(path.readlink()), status.st_mtime_ns)
        elif path.is_dir():
            found[str(path.relative_to(root))] = ("folder", status.st_mode, status.st_mtime_ns)
        else:
            found[str(path.relative_to(root))] = (
                path.read_bytes(),
                status.st_mode,
                status.st_mtime_ns,
                status.st_nlink,
            )
    return found
