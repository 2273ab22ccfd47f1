"""Makes a snapshot: announce the run, read until two walks agree, store the tree, write the head last."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from controlplane.backup.clocks import clock_warnings
from controlplane.backup.errors import Damaged, PacksGone, SourceMoving
from controlplane.backup.format.ids import tree_digest
from controlplane.backup.format.snapshot import Entry, EntryType, Snapshot, read_tree, tree_lines
from controlplane.backup.garbage import doomed_packs
from controlplane.backup.intents import announced, is_announced, store_now
from controlplane.backup.repository import Repository
from controlplane.backup.sources.bucket import Bucket, BucketSource
from controlplane.backup.sources.complete import check_complete
from controlplane.backup.sources.cut import cutting_kind
from controlplane.backup.sources.local import Folder
from controlplane.backup.sources.origin import Origin
from controlplane.backup.sources.walk import Found, Mark, Named, Source, Walk, link_names
from controlplane.backup.tally import Tally, usual_lanes
from controlplane.backup.writing.files import FileReader, Read
from controlplane.backup.writing.shelf import Shelf

ROUNDS: Final = 4
"""Times that changed files are read before the run gives up."""
PAUSE_S: Final = 2.0
"""Seconds between two rounds: a copy that is under way gets time to end."""
TREE_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class About:
    """Facts about a snapshot that the caller supplies."""

    subject: str
    version: str = ""
    host: str = ""
    by: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """Options of a run."""

    lanes: int = field(default_factory=usual_lanes)
    compress: bool = False
    """Whether chunks are compressed where a sample says that it pays."""
    read_all: bool = False
    """Whether files are read that have not changed since the newest snapshot."""
    now: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Created:
    """A snapshot that was made, and what the operator should know."""

    snapshot: Snapshot
    notes: tuple[str, ...]


def create_snapshot(
    repository: Repository,
    source: Source | BucketSource,
    about: About,
    *,
    options: Options | None = None,
    tally: Tally | None = None,
) -> Created:
    """Back a source up as one snapshot.

    Raises SourceMoving when files go on changing, SourceIncomplete, PacksGone when another process deleted packs that
    this run used, BackupError when a file cannot be read, NoSpace and StoreUnreachable.
    """
    options, tally = options or Options(), tally or Tally()
    # The intent comes first: a prune that does not see it has written its list before the lists are read here.
    with announced(repository.store, about.host, f"backup of {about.subject}") as intent:
        # The lists come before the index: a prune deletes packs before their list, so a pack whose list is gone when
        # the lists are read is gone when the packs are listed.
        doomed = doomed_packs(repository)
        notes = [str(fault) for fault in repository.refresh()]
        with closing(_origin(source)) as origin:
            run = _Run(repository, source, origin, options, tally, doomed)
            return run.make(about, intent, notes)


def _origin(source: Source | BucketSource) -> Origin:
    return Bucket(source) if isinstance(source, BucketSource) else Folder(source)


class _Run:
    """One run."""

    def __init__(
        self,
        repository: Repository,
        source: Source | BucketSource,
        origin: Origin,
        options: Options,
        tally: Tally,
        doomed: frozenset[str],
    ) -> None:
        self._repository, self._source, self._options, self._tally = repository, source, options, tally
        self._origin, self._doomed = origin, doomed
        self._shelf = Shelf(repository, doomed)
        self._seen: set[str] = set()

    def make(self, about: About, intent: str, notes: list[str]) -> Created:
        began = self._options.now()
        parent = {} if self._options.read_all else self._parent(about)
        reader = FileReader(
            self._shelf,
            self._repository.secrets,
            lanes=self._options.lanes,
            tally=self._tally,
            compress=self._options.compress,
        )
        try:
            found, reads = self._read(reader, parent)
            entries = [_entry(one, reads) for one in found.found]
            tree = [reader.take(part) for part in _cut_tree(tree_lines(entries))]
            reader.finish()
        except BaseException:
            self._origin.close()  # lanes wait for a store that hangs no longer
            raise
        finally:
            reader.close()
        self._shelf.close()
        snapshot = self._head(about, entries, tree, began)
        self._commit(snapshot, intent)
        return Created(snapshot, (*notes, *found.skipped, *self._lost(found), *clock_warnings([snapshot])))

    def _parent(self, about: About) -> Mapping[str, Read]:
        """Return the files of the newest snapshot of the same subject and source, of a folder also machine, by path.

        Files that changed when that snapshot was made are left out: their marks prove nothing.
        """
        snapshots = self._repository.snapshots(lambda _: None)
        wanted = (about.subject, self._source.uri)
        same = [
            one
            for one in snapshots
            if (one.subject, one.source) == wanted and (self._source.across_machines or one.host == about.host)
        ]
        if not same:
            return {}
        try:
            entries = list(read_tree("the newest snapshot", self._repository.tree(same[-1])))
        except Damaged:
            return {}
        names = link_names(entries)
        return {
            entry.path: Read(mark, bytes.fromhex(entry.digest), entry.chunks, _cut(entry, names))
            for entry in entries
            if entry.type is EntryType.FILE and (mark := _mark(entry)).settled(same[-1].began_at)
        }

    def _read(self, reader: FileReader, parent: Mapping[str, Read]) -> tuple[Walk, Mapping[str, Read]]:
        known: dict[str, Read] = {}
        walked = self._walk()
        changed: list[str] = []
        for attempt in range(ROUNDS):
            if attempt:
                self._options.pause(PAUSE_S)
            files = [one for one in walked.found if one.type is EntryType.FILE]
            self._count(files)
            names = link_names(walked.found)
            todo = [one for one in files if not self._unchanged(one, _cut(one, names), known, parent)]
            known.update(reader.read(self._origin, todo, names))
            before, walked = walked, self._walk()
            changed = _changed(walked, before, known)
            if not changed:
                check_complete(self._origin.place, (one.path for one in walked.found), self._origin.content)
                return walked, known
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise SourceMoving(
            f"{len(changed)} files below {self._origin.place} changed each of the {ROUNDS} times that they were read:"
            f" {shown}. No snapshot was made. Run the backup when the copy has ended."
        )

    def _walk(self) -> Walk:
        walked = self._origin.walk()
        self._seen.update(one.path for one in walked.found)
        self._seen.update(walked.vanished)
        return walked

    def _lost(self, walked: Walk) -> Iterator[str]:
        """Yield a sentence about entries that were there during the run, and are not in its last walk."""
        lost = sorted(self._seen.difference(one.path for one in walked.found))
        if lost:
            shown = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            yield f"deleted while the backup ran, so the snapshot is without them: {shown}"

    def _count(self, files: Sequence[Found]) -> None:
        self._tally.files, self._tally.bytes = len(files), sum(one.mark.size for one in files)
        self._tally.done = 0

    def _unchanged(self, one: Found, cut: str, known: dict[str, Read], parent: Mapping[str, Read]) -> bool:
        """Return whether the file needs no reading: this run, or the newest snapshot, has it with the same mark.

        A file that is cut in another way now is read again: a link may have given it the name of a file of tensors.
        """
        read = known.get(one.path) or parent.get(one.path)
        if read is None or (read.mark, read.cut) != (one.mark, cut):
            return False
        if one.path not in known and not all(map(self._shelf.has, read.chunks)):
            return False
        known[one.path] = read
        self._tally.add(one.mark.size)
        return True

    def _head(self, about: About, entries: Sequence[Entry], tree: Sequence[bytes], began: float) -> Snapshot:
        files = [entry for entry in entries if entry.type is EntryType.FILE]
        now = self._options.now()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        return Snapshot(
            id=f"{stamp}-{uuid.uuid4().hex[:8]}",
            made_at=now,
            subject=about.subject,
            version=about.version,
            source=self._source.uri,
            tree=tuple(tree),
            digest=tree_digest({entry.path: bytes.fromhex(entry.digest) for entry in files}).hex(),
            files=len(files),
            bytes=sum(entry.size for entry in files),
            new_bytes=self._shelf.new_bytes,
            seconds=max(0.0, now - began),
            began_at=min(began, now),  # The clock may have been set back meanwhile.
            host=about.host,
            by=about.by,
            tags=about.tags,
            facts=about.facts,
            stored_at=store_now(self._repository.store),
        )

    def _commit(self, snapshot: Snapshot, intent: str) -> None:
        """Write the head, when no prune deletes the packs that it needs."""
        self._check_lists()
        self._check_packs(intent)
        self._repository.write_snapshot(snapshot)
        try:
            self._check_packs(intent)
        except PacksGone:
            self._repository.store.delete(f"snapshots/{snapshot.id}")
            raise

    def _check_lists(self) -> None:
        """Raise PacksGone when a list that is newer than the run names an earlier pack that the run refers to.

        So does a pack that is missing: the order of reading rules that out, but a person may have deleted it.
        """
        fresh = doomed_packs(self._repository) - self._doomed
        if fresh & self._shelf.reused:
            raise PacksGone("a prune began during the backup and will delete packs that it used; run the backup again")
        if missing := self._shelf.reused - self._repository.packs().keys():
            raise PacksGone(f"{len(missing)} packs that the backup used were deleted meanwhile; run the backup again")

    def _check_packs(self, intent: str) -> None:
        """Raise PacksGone when the intent is gone, and a prune deletes packs that the run refers to or wrote.

        A prune lists also packs that this run has just written, since no snapshot refers to them yet. While the intent
        is there the prune waits, and then reads this run's head. Once the intent is gone it may have read the heads
        already: a list that names such a pack, or a pack that is missing, ends the run. Lists are looked at first,
        since a prune deletes packs before their list.
        """
        if is_announced(self._repository.store, intent):
            return
        listed = doomed_packs(self._repository) - self._doomed
        needed = self._shelf.reused | self._shelf.own
        if listed & needed or needed - self._repository.packs().keys():
            raise PacksGone("the backup took so long that a prune deletes packs of it; run the backup again")


def _mark(entry: Entry) -> Mark:
    return Mark(entry.size, entry.mtime_ns, entry.ctime_ns, entry.inode, entry.device, entry.etag)


def _entry(one: Found, reads: Mapping[str, Read]) -> Entry:
    mark = one.mark
    if one.type is not EntryType.FILE:
        return Entry(one.path, one.type, one.mode, mark.mtime_ns, *one.owner, target=one.target)
    read = reads[one.path]
    return Entry(
        path=one.path,
        type=one.type,
        mode=one.mode,
        mtime_ns=mark.mtime_ns,
        uid=one.owner[0],
        gid=one.owner[1],
        ctime_ns=mark.ctime_ns,
        inode=mark.inode,
        device=mark.device,
        etag=mark.etag,
        size=mark.size,
        digest=read.digest.hex(),
        chunks=read.chunks,
    )


def _changed(now: Walk, before: Walk, known: Mapping[str, Read]) -> list[str]:
    """Return the paths that are not as they were, or were not read as they are."""
    old = {one.path: one for one in before.found}
    new = {one.path: one for one in now.found}
    different = {path for path in old.keys() | new.keys() if not _same(old.get(path), new.get(path))}
    unread = {
        one.path
        for one in now.found
        if one.type is EntryType.FILE and (one.path not in known or known[one.path].mark != one.mark)
    }
    return sorted(different | unread)


def _cut(one: Named, names: Mapping[str, Sequence[str]]) -> str:
    return cutting_kind((one.path, *names.get(one.path, ())))


def _same(old: Found | None, new: Found | None) -> bool:
    if old is None or new is None or old.type is not new.type:
        return False
    # A folder's own times change with what it contains, which is compared itself.
    return old.type is EntryType.FOLDER or old == new


def _cut_tree(lines: Iterable[bytes]) -> Iterable[bytes]:
    part = bytearray()
    for line in lines:
        part += line
        while len(part) >= TREE_CHUNK:
            yield bytes(part[:TREE_CHUNK])
            del part[:TREE_CHUNK]
    if part:
        yield bytes(part)
