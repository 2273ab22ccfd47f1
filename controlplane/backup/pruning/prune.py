"""Deletes packs that nothing needs, beside writers, readers and other prunes, and without a lock.

1. **Mark.** Copy the needed chunks of half-empty packs to new packs. Write a list of the packs that will go. Then write
   down which intents are there. A writer that is not among them began after the list, and does not use its packs.
2. **Sweep**, now or at the next prune: once all those intents have ended or are abandoned, read the snapshots again. A
   pack is deleted only if every chunk of it that they refer to has a copy in a pack that is on no list at all. Two
   prunes that relied on each other's packs thus delete neither.

The index is derived: a crash anywhere leaves rows of packs that are gone, which every reader leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from mmap import mmap

import orjson

from controlplane.backup.errors import BackupError, Damaged, NewerFormat
from controlplane.backup.format.compress import Codec
from controlplane.backup.format.envelope import Kind
from controlplane.backup.format.pack import PackBuilder
from controlplane.backup.format.snapshot import read_tree
from controlplane.backup.garbage import doomed_packs, garbage_lists
from controlplane.backup.intents import ABANDONED_AFTER_S, announced, intents
from controlplane.backup.keys.epochs import check_current
from controlplane.backup.pruning.plan import Plan, plan
from controlplane.backup.repository import Repository, pack_path

PACKS_TOGETHER = 512
"""Packs whose tables share a segment when the index is written again, 32 GiB."""


@dataclass
class Pruned:
    """Result of a prune."""

    deleted: int = 0
    """Packs that were deleted."""
    bytes: int = 0
    waiting: int = 0
    """Packs that go once running backups and restores have ended."""
    waits_for: tuple[str, ...] = ()
    """Intents that they wait for."""
    repacked: int = 0
    rescued: list[str] = field(default_factory=list)
    """Packs that a snapshot turned out to need."""
    faults: list[str] = field(default_factory=list)
    """Sentences about parts of the index that could not be read. Their packs stay."""


def live_chunks(repository: Repository, without: Set[str] = frozenset()) -> frozenset[bytes]:
    """Return the ids of all chunks that snapshots refer to, but for the snapshots with the ids of `without`.

    Raises BackupError when a snapshot cannot be read: nothing may be deleted then, since it may need anything.
    """

    def refuse(error: BackupError) -> None:
        check_current(repository.store, repository.secrets)  # nobody shall delete a snapshot that another key reads
        raise BackupError(f"nothing is pruned while a snapshot cannot be read: {error}. Delete it, or repair it first.")

    live: set[bytes] = set()
    seen: set[tuple[bytes, ...]] = set()
    for snapshot in repository.snapshots(refuse):
        if snapshot.tree in seen or snapshot.id in without:
            continue
        seen.add(snapshot.tree)
        live.update(snapshot.tree)
        try:
            body = repository.tree(snapshot)
        except (Damaged, NewerFormat) as error:
            refuse(error)
        for entry in read_tree(f"snapshot {snapshot.id}", body):
            live.update(entry.chunks)
    return frozenset(live)


def plan_prune(repository: Repository, without: Set[str] = frozenset()) -> Plan:
    """Return what a prune would do now, without some snapshots. Nothing is changed. Raises BackupError."""
    return plan(repository.index, live_chunks(repository, without), doomed_packs(repository))


def prune(repository: Repository, *, host: str) -> Pruned:
    """Delete what nothing needs, and end earlier prunes. Raises BackupError when it cannot be done safely."""
    result = Pruned()
    repository.store.tidy(ABANDONED_AFTER_S)
    _sweep(repository, result)
    _refresh(repository, result)
    with announced(repository.store, host, "prune"):
        todo = plan_prune(repository)
        result.repacked = len(todo.repacked)
        _repack(repository, todo.moved, result)
        listed = [*todo.unneeded, *todo.repacked]
        if listed:
            _mark(repository, listed)
    _sweep(repository, result)
    return result


def _refresh(repository: Repository, result: Pruned) -> None:
    """Load the index again, and note what of it cannot be read."""
    result.faults += [text for text in map(str, repository.refresh()) if text not in result.faults]


def _mark(repository: Repository, packs: Iterable[str]) -> None:
    name = repository.write_list("garbage", Kind.GARBAGE, orjson.dumps(list(packs)))
    _write_waits(repository, name)


def _write_waits(repository: Repository, name: str) -> tuple[str, ...]:
    names = tuple(intents(repository.store))
    repository.store.put(name.replace("garbage/", "waits/"), orjson.dumps(names))
    return names


def _waits(repository: Repository, name: str) -> tuple[str, ...]:
    """Return the intents that a list waits for. A crash between list and waits makes it wait for those of now.

    So does an object that cannot be read.
    """
    try:
        found = orjson.loads(repository.store.get(name.replace("garbage/", "waits/"), 1 << 20))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return _write_waits(repository, name)
    return tuple(map(str, found)) if isinstance(found, list) else _write_waits(repository, name)


def _sweep(repository: Repository, result: Pruned) -> None:
    result.waiting, result.waits_for = 0, ()
    lists = garbage_lists(repository)
    ready = []
    for name, packs in lists.items():
        waits = _waits(repository, name)
        ages = intents(repository.store)
        running = tuple(one for one in waits if ages.get(one, ABANDONED_AFTER_S) < ABANDONED_AFTER_S)
        if running:
            result.waiting += len(packs)
            result.waits_for = tuple(sorted({*result.waits_for, *running}))
            continue
        for one in waits:
            # An abandoned intent goes before any pack: its owner, if it wakes up, sees that it must look again.
            if one in ages:
                repository.store.delete(one)
        ready.append(name)
    if ready:
        _delete(repository, ready, result)


def _delete(repository: Repository, ready: Iterable[str], result: Pruned) -> None:
    _refresh(repository, result)
    live = live_chunks(repository)
    lists = garbage_lists(repository)
    doomed: Set[str] = frozenset().union(*lists.values())
    sizes = repository.packs()
    for name in ready:
        for pack in sorted(lists.get(name, frozenset()) & sizes.keys()):
            if _needed(repository, pack, live, doomed):
                result.rescued.append(pack)
                continue
            repository.store.delete(pack_path(pack))
            result.deleted += 1
            result.bytes += sizes[pack]
    _rewrite_index(repository, result)
    for name in ready:
        repository.store.delete(name)
        repository.store.delete(name.replace("garbage/", "waits/"))


def _needed(repository: Repository, pack: str, live: Set[bytes], doomed: Set[str]) -> bool:
    """Return whether a snapshot needs a chunk of the pack that no pack outside the lists holds."""
    for row in repository.index.of_pack(pack):
        identity = row["id"].tobytes()
        if identity in live and all(one.pack in doomed for one in repository.index.copies(identity)):
            return True
    return False


def _rewrite_index(repository: Repository, result: Pruned) -> None:
    """Write segments of all packs that are there, then delete the segments that were there before."""
    old = [item.name for item in repository.store.list("index/")]
    _refresh(repository, result)
    tables = [(name, repository.index.of_pack(name)) for name in sorted(repository.index.packs)]
    fresh = {repository.write_segment(tables[at : at + PACKS_TOGETHER]) for at in range(0, len(tables), PACKS_TOGETHER)}
    for name in old:
        if name not in fresh:
            repository.store.delete(name)


def _repack(repository: Repository, moved: Iterable[bytes], result: Pruned) -> None:
    """Copy chunks to new packs, checked."""
    builder = PackBuilder(memoryview(mmap(-1, PackBuilder.buffer_bytes())), repository.secrets)
    tables = []

    def flush() -> None:
        name, data, rows = builder.finish()
        repository.store.put(pack_path(name), data)
        tables.append((name, rows))

    for identity in moved:
        data = repository.chunk(identity)
        builder.add(identity, data, len(data), Codec.RAW)
        if builder.full:
            flush()
    if builder.count:
        flush()
    if tables:
        repository.write_segment(tables)
        _refresh(repository, result)
