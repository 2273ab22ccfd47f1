"""Verifies a repository: every snapshot's chunks are there, and every pack that is read opens, chunk by chunk.

What is damaged is named with each file and snapshot that it touches, and written down: from then on no backup relies on
the damaged copy, so the next backup of a source that still has the bytes stores them again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson

from controlplane.backup.errors import BackupError, Damaged, NoSpace, StoreUnreachable
from controlplane.backup.format.envelope import Kind
from controlplane.backup.format.index import Place
from controlplane.backup.format.pack import CHUNK_LIMIT
from controlplane.backup.format.snapshot import EntryType, Snapshot, read_tree
from controlplane.backup.keys.epochs import check_current
from controlplane.backup.repository import Repository, Scratch, pack_path
from controlplane.backup.tally import Tally


@dataclass(frozen=True)
class Touched:
    """A file of a snapshot that cannot be restored."""

    snapshot: str
    path: str
    """Path of the file; "" when the snapshot's own tree is damaged."""
    chunk: str
    """Id in hex."""


@dataclass(frozen=True)
class Verdict:
    """The result of a verification."""

    packs: int
    """Packs that were read."""
    of: int
    """Packs in the repository."""
    bytes: int
    snapshots: int
    faults: tuple[str, ...]
    """Sentences about objects that cannot be read."""
    touched: tuple[Touched, ...]
    notes: tuple[str, ...] = ()
    """Sentences about the verification itself: its result could not be written down."""

    @property
    def good(self) -> bool:
        """Whether nothing wrong was found."""
        return not self.faults and not self.touched


def verify(
    repository: Repository,
    *,
    share: float = 1.0,
    lanes: int = 2,
    tally: Tally | None = None,
    now: Callable[[], float] = time.time,
) -> Verdict:
    """Read `share` of the packs, 0 to 1, those first that were not read for the longest time.

    Raises StoreUnreachable: a store that does not answer says nothing about the bytes. Raises BackupError when the data
    keys were rotated meanwhile.
    """
    faults = [str(error) for error in repository.refresh()]
    sizes = repository.packs()
    read_at = _reads(repository)
    oldest = sorted(sizes, key=lambda name: (read_at.get(name, 0.0), name))
    chosen = oldest[: math.ceil(share * len(oldest))]
    tally = tally or Tally()
    tally.files, tally.bytes = len(chosen), sum(sizes[name] for name in chosen)
    damaged: list[tuple[str, bytes]] = []
    with ThreadPoolExecutor(lanes, thread_name_prefix="verify") as pool:
        for name, bad, fault in pool.map(lambda name: _pack(repository, name, sizes[name], tally), chosen):
            faults += [fault] if fault else []
            damaged += [(name, identity) for identity in bad]
    notes = []
    check_current(repository.store, repository.secrets)  # before objects that cannot be read are taken for damaged
    try:
        _note(repository, damaged, {**read_at, **dict.fromkeys(chosen, now())}, sizes)
    except (StoreUnreachable, NoSpace) as error:
        notes.append(f"the result could not be written to the repository, and backups go on using its packs: {error}")
    faults += [text for text in map(str, repository.refresh()) if text not in faults]
    snapshots = repository.snapshots(lambda error: faults.append(str(error)))
    touched = _touched(repository, snapshots)
    check_current(repository.store, repository.secrets)
    return Verdict(len(chosen), len(sizes), tally.bytes, len(snapshots), tuple(faults), touched, tuple(notes))


def _pack(repository: Repository, name: str, size: int, tally: Tally) -> tuple[str, list[bytes], str]:
    """Return the pack's name, the ids of its damaged chunks, and a sentence when something is damaged."""
    try:
        try:
            rows = repository.table(name, size)
        except Damaged:
            rows = repository.table(name, size, afresh=True)
    except (Damaged, FileNotFoundError) as error:
        known = repository.index.of_pack(name)
        tally.add(size)
        return name, [row["id"].tobytes() for row in known], f"{pack_path(name)}: {error}"
    except BackupError as error:
        return name, [], str(error)
    bad, fault, scratch = [], "", Scratch()
    out = memoryview(bytearray(CHUNK_LIMIT))
    for row in rows:
        identity = row["id"].tobytes()
        place = next((one for one in repository.index.copies(identity) if one.pack == name), None)
        if place is None:
            continue  # The copy is known to be damaged.
        if told := _fault_of(repository, identity, place, scratch, out[: place.size]):
            bad.append(identity)
            fault = told
        tally.add(place.stored)
    return name, bad, fault


def _fault_of(repository: Repository, identity: bytes, place: Place, scratch: Scratch, out: memoryview) -> str:
    """Return why a copy is damaged, or "" when it is whole.

    It is read twice before it counts as damaged: that is written down for all machines, and bytes may change on the
    way from the store.
    """
    fault = ""
    for _ in range(2):
        try:
            repository.read_copy(identity, place, scratch, out)
            return ""
        except (Damaged, FileNotFoundError) as error:
            fault = str(error)
    return fault


def _touched(repository: Repository, snapshots: Sequence[Snapshot]) -> tuple[Touched, ...]:
    """Return the files whose chunks no pack holds whole."""
    found = []
    for snapshot in snapshots:
        parts = [(identity, _chunk(repository, identity)) for identity in snapshot.tree]
        lost = [Touched(snapshot.id, "", identity.hex()) for identity, part in parts if part is None]
        found += lost
        if lost:
            continue
        present: dict[bytes, bool] = {}
        for entry in read_tree(f"snapshot {snapshot.id}", b"".join(part for _, part in parts if part is not None)):
            if entry.type is not EntryType.FILE:
                continue
            for identity in entry.chunks:
                if identity not in present:
                    present[identity] = repository.index.find(identity) is not None
                if not present[identity]:
                    found.append(Touched(snapshot.id, entry.path, identity.hex()))
    return tuple(found)


def _chunk(repository: Repository, identity: bytes) -> bytes | None:
    try:
        return repository.chunk(identity)
    except Damaged:
        return None


def _reads(repository: Repository) -> Mapping[str, float]:
    """Return when each pack was last read by a verification, Unix seconds."""
    found: dict[str, float] = {}
    for item in repository.store.list("reads/"):
        try:
            body = orjson.loads(repository.read_list(item.name, Kind.READS))
        except (FileNotFoundError, Damaged):
            continue
        for name, at in body.items():
            found[name] = max(at, found.get(name, 0.0))
    return found


def _note(
    repository: Repository, damaged: Iterable[tuple[str, bytes]], read_at: Mapping[str, float], packs: Mapping[str, int]
) -> None:
    """Write down what is damaged, and when each pack was read. Older lists of readings go after the new one."""
    rows = [[pack, identity.hex()] for pack, identity in damaged]
    if rows:
        repository.write_list("damage", Kind.DAMAGE, orjson.dumps(rows))
    old = [item.name for item in repository.store.list("reads/")]
    kept = {name: at for name, at in read_at.items() if name in packs}
    repository.write_list("reads", Kind.READS, orjson.dumps(kept))
    for name in old:
        repository.store.delete(name)
