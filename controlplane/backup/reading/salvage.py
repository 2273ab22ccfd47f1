"""Rest of a snapshot's list of files when some of its chunks are damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controlplane.backup.errors import Damaged
from controlplane.backup.format.snapshot import Entry, EntryType, Snapshot, read_tree
from controlplane.backup.repository import Repository

_LINE: bytes = b'{"path":'
"""Beginning of every line of a tree. The rest of a line that began in a lost chunk never begins so."""


@dataclass(frozen=True)
class Salvage:
    """The entries that can still be read, and what cannot."""

    entries: tuple[Entry, ...]
    faults: tuple[str, ...]
    """Sentences about gaps of the list, and about hard links whose file is in a gap."""


def salvage(repository: Repository, snapshot: Snapshot) -> Salvage:
    """Return what is left of a snapshot's tree. Raises Damaged when nothing is, and StoreUnreachable."""
    entries: list[Entry] = []
    faults: list[str] = []
    for part, fault in _parts(repository, snapshot):
        if fault:
            after = entries[-1].path if entries else "its beginning"
            faults.append(f"the list of files has a gap after {after}: {fault}")
        entries += read_tree(f"snapshot {snapshot.id}", part)
    if not entries:
        raise Damaged(f"the list of files of snapshot {snapshot.id}", "; ".join(faults) or "it is empty")
    named = sum(entry.type is EntryType.FILE for entry in entries)
    if named < snapshot.files:
        faults.append(
            f"{snapshot.files - named} of {snapshot.files} files are in the gaps, so their names are not known"
        )
    kept, lost = _with_their_files(entries)
    return Salvage(kept, (*faults, *lost))


def _parts(repository: Repository, snapshot: Snapshot) -> Iterator[tuple[bytes, str]]:
    """Yield each run of whole lines, and why the lines before it are lost."""
    body, fault, torn = b"", "", False
    for identity in snapshot.tree:
        try:
            chunk = repository.chunk(identity)
        except Damaged as error:
            yield body[: body.rfind(b"\n") + 1], fault
            body, fault, torn = b"", str(error), True
            continue
        if torn and not body and not chunk.startswith(_LINE):
            chunk = chunk.partition(b"\n")[2]
        body, torn = body + chunk, torn and not body + chunk
    yield body, fault


def _with_their_files(entries: Sequence[Entry]) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Leave hard links out whose first file is not in the list. Return the others, and a sentence for each of those."""
    files = {entry.path for entry in entries if entry.type is EntryType.FILE}
    lost = [entry for entry in entries if entry.type is EntryType.SAME and entry.target not in files]
    sentences = tuple(f"{entry.path}: it is the same file as {entry.target}, which is in a gap" for entry in lost)
    gone = {entry.path for entry in lost}
    return tuple(entry for entry in entries if entry.path not in gone), sentences
