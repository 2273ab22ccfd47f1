"""A repository: its header, secrets, index and snapshots, over one store.

    repository.json      format, id, sealing; in the clear
    keys/ID              the secrets, wrapped for one user key
    epochs/EPOCH/ID      the data key of a later epoch, wrapped for one user key
    packs/NN/NAME        packs; NN are the first two digits of the name
    index/NAME           segments of the index; derived from the packs
    snapshots/ID         heads of snapshots
    intents/ID           a writer that is at work
    garbage/ID           packs that will be deleted
    damage/ID            copies of chunks that were found damaged
    reads/ID             when each pack was last verified

A snapshot's head is written after all that it refers to, so whatever is listed can be restored.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from mmap import mmap
from typing import Final

import orjson
from blake3 import blake3

from controlplane.backup.errors import (
    BackupError,
    Damaged,
    NewerFormat,
    NotARepository,
    UnknownEpoch,
    WrongKey,
)
from controlplane.backup.format.compress import Codec, decompressed
from controlplane.backup.format.envelope import (
    FORMAT,
    HEADER_BYTES,
    TAG_BYTES,
    Kind,
    Sealing,
    Secrets,
    open_whole,
    seal_whole,
)
from controlplane.backup.format.ids import chunk_id, digest_of
from controlplane.backup.format.index import Index, Place, Segment, read_segment, segment_bytes, segment_of
from controlplane.backup.format.pack import CHUNK_LIMIT, PackReader, Rows, table_place
from controlplane.backup.format.snapshot import Snapshot, read_snapshot, snapshot_bytes
from controlplane.backup.keys.epochs import later_keys, read_epochs
from controlplane.backup.keys.keyfile import UserKey
from controlplane.backup.keys.ring import read_key_document, unwrap
from controlplane.backup.storage.store import Store, Stored

HEADER: Final = "repository.json"
SMALL: Final = 1 << 20
"""Largest header or key object, in bytes."""
LARGE: Final = 1 << 30
"""Largest index segment, head or list, in bytes."""


class Scratch:
    """Buffers of one thread that reads chunks, 8 MB. Fresh memory for each chunk would cost more than decryption."""

    def __init__(self) -> None:
        self.sealed = memoryview(mmap(-1, CHUNK_LIMIT + TAG_BYTES))
        self.plain = memoryview(mmap(-1, CHUNK_LIMIT))


@dataclass(frozen=True)
class Header:
    """The content of `repository.json`."""

    id: str
    made_at: float
    """Unix seconds."""
    sealing: Sealing


def pack_path(name: str) -> str:
    """Return the object's name of a pack."""
    return f"packs/{name[:2]}/{name}"


def read_header(store: Store) -> Header:
    """Return the repository's header. Raises NotARepository and NewerFormat."""
    try:
        stored = orjson.loads(store.get(HEADER, SMALL))
        if stored["format"] != FORMAT:
            raise NewerFormat(f"{store.address} has format {stored['format']}; this release reads format {FORMAT}")
        return Header(str(stored["id"]), float(stored["made_at"]), Sealing[str(stored["sealing"]).upper()])
    except FileNotFoundError:
        cure = f"`controlplane backup init --repository {store.address}` makes one"
        raise NotARepository(f"{store.address} holds no repository: {HEADER} is missing. {cure}.") from None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise NotARepository(f"{store.address}: {HEADER} cannot be read") from None


def open_secrets(store: Store, header: Header, keys: Iterable[UserKey]) -> Secrets:
    """Return the repository's secrets, by the first key that opens them. Raises WrongKey."""
    tried = []
    for key in keys:
        tried.append(key.id)
        try:
            document = read_key_document(f"keys/{key.id}", store.get(f"keys/{key.id}", SMALL))
        except FileNotFoundError:
            continue
        first, epochs = unwrap(document, key, header.sealing), read_epochs(store)
        data_keys = {**first.data_keys, **later_keys(store, epochs, key)}
        return replace(first, data_keys=data_keys, epoch=max(first.epoch, epochs.newest))
    known = ", ".join(sorted(item.name.removeprefix("keys/") for item in store.list("keys/")))
    if not known:
        raise WrongKey(
            f"{store.address} has no key: its `backup init` did not end. If none runs now and it has no snapshots,"
            f" delete {HEADER} there and run `backup init` again."
        )
    shown = ", ".join(tried) or "none"
    raise WrongKey(f"no key opens {store.address}: it knows the keys {known}, and the key files hold {shown}")


def _shown_at(item: Stored) -> tuple[float, float]:
    """Return about when a snapshot was made, from the listing alone, Unix seconds.

    It is the earlier one of two times: a machine's clock may be ahead, and a copy of a repository has later times. An
    id counts whole seconds, so the store's time decides between two of one second.
    """
    try:
        begun = datetime.strptime(item.name.removeprefix("snapshots/")[:16], "%Y%m%dT%H%M%S%z").timestamp()
    except ValueError:
        begun = item.modified_at
    return min(begun, item.modified_at), item.modified_at


def _logged(fault: BackupError) -> None:
    logging.getLogger(__name__).warning("%s", fault)


class Repository:
    """An opened repository. Reading is safe for several threads; `refresh` is not."""

    def __init__(
        self,
        store: Store,
        header: Header,
        keys: Sequence[UserKey],
        told: Callable[[BackupError], None] = _logged,
    ) -> None:
        """`told` gets the faults of the index when its first use loads it: chunks may be missing in it then.

        Raises WrongKey, Damaged, NewerFormat and StoreUnreachable.
        """
        self.store, self.header, self._keys, self._told = store, header, tuple(keys), told
        self.secrets: Final = open_secrets(store, header, keys)
        """The secrets of the time when the repository was opened. A run writes with the same data key to its end."""
        self._later: Secrets | None = None
        """The secrets after a rotation. Lists alone are read with them: see `read_list`."""
        self.zeros_digest: Final = digest_of(bytes(CHUNK_LIMIT))
        self.zeros: Final = chunk_id(self.zeros_digest, self.secrets.chunk_secret)
        """Id of a whole chunk of zeros: a hole, when it is restored."""
        self._index: Index | None = None
        self._readers: dict[str, PackReader] = {}

    @classmethod
    def open(cls, store: Store, keys: Sequence[UserKey], told: Callable[[BackupError], None] = _logged) -> Repository:
        """Return the repository at a store. `told` gets faults of its index.

        Raises NotARepository, NewerFormat, WrongKey, Damaged, StoreUnreachable.
        """
        header = read_header(store)
        return cls(store, header, keys, told)

    @property
    def index(self) -> Index:
        """The index, which the first use loads: after the intent of whoever needs one. Not for two threads at once."""
        if self._index is None:
            for fault in self.refresh():
                self._told(fault)
        assert self._index is not None
        return self._index

    def packs(self) -> dict[str, int]:
        """Return the size in bytes of every pack that the store lists, by its name."""
        return {item.name.rpartition("/")[2]: item.size for item in self.store.list("packs/")}

    def refresh(self) -> tuple[BackupError, ...]:
        """Load the index again: the segments, and the tables of packs that no segment names.

        Rows of packs that the store does not list are left out. Returns the faults of segments and tables that could
        not be read; packs of such a segment are read from their own tables. Raises StoreUnreachable: without an answer
        nobody knows which chunks are there.
        """
        packs = self.packs()
        faults: list[BackupError] = []
        segments = [self._listed(segment, packs) for segment in self._segments(faults)]
        known = set(chain.from_iterable(segment.packs for segment in segments))
        fresh = []
        for name in packs.keys() - known:
            try:
                fresh.append((name, self.table(name, packs[name])))
            except (Damaged, NewerFormat) as error:
                faults.append(error)
            except FileNotFoundError:
                faults.append(Damaged(f"pack {name}", "it is gone"))
        self._index = Index([*segments, segment_of(fresh)], self._damaged(faults))
        return tuple(faults)

    def _segments(self, faults: list[BackupError]) -> Iterator[Segment]:
        for item in self.store.list("index/"):
            try:
                yield read_segment(item.name, self.store.get(item.name, LARGE), self.secrets)
            except FileNotFoundError:
                continue
            except (Damaged, NewerFormat) as error:
                faults.append(error)

    @staticmethod
    def _listed(segment: Segment, packs: dict[str, int]) -> Segment:
        if all(name in packs for name in segment.packs):
            return segment
        return segment_of(
            [
                (name, segment.rows[segment.rows["pack"] == number])
                for number, name in enumerate(segment.packs)
                if name in packs
            ]
        )

    def _damaged(self, faults: list[BackupError]) -> frozenset[tuple[str, bytes]]:
        found: set[tuple[str, bytes]] = set()
        for item in self.store.list("damage/"):
            try:
                rows = orjson.loads(self.read_list(item.name, Kind.DAMAGE))
            except FileNotFoundError:
                continue
            except (Damaged, NewerFormat) as error:
                faults.append(error)
                continue
            found.update((str(pack), bytes.fromhex(chunk)) for pack, chunk in rows)
        return frozenset(found)

    def read_list(self, name: str, kind: Kind) -> bytes:
        """Return the content of a small sealed object. Raises Damaged, FileNotFoundError and WrongKey.

        One that was written after the keys were rotated is read, too: a backup has to know what a prune deletes. The
        keys that this needs are used for lists alone: who read other objects without them finds out by `check_current`.
        """
        data = self.store.get(name, LARGE)
        try:
            return open_whole(name, data, kind, self._later or self.secrets)
        except UnknownEpoch:
            self._later = open_secrets(self.store, self.header, self._keys)
            return open_whole(name, data, kind, self._later)

    def write_list(self, folder: str, kind: Kind, body: bytes) -> str:
        """Write a small sealed object and return its name."""
        name = f"{folder}/{uuid.uuid4().hex}"
        self.store.put(name, seal_whole(kind, body, self.secrets))
        return name

    def table(self, name: str, size: int, *, afresh: bool = False) -> Rows:
        """Return the table of a pack of `size` bytes, from the pack itself. Raises Damaged and FileNotFoundError.

        With `afresh` the pack's header is read again, too.
        """
        if afresh:
            self._readers.pop(name, None)
        tail = self.read(name, max(0, size - (64 << 10)), min(size, 64 << 10))
        offset, length = table_place(name, size, tail)
        begin = size - len(tail)
        inside = offset >= begin
        sealed = tail[offset - begin :][:length] if inside else self.read(name, offset, length)
        return self.reader(name).table(sealed)

    def reader(self, name: str) -> PackReader:
        """Return the reader of a pack. Raises Damaged and FileNotFoundError."""
        if name not in self._readers:
            self._readers[name] = PackReader(name, self.read(name, 0, HEADER_BYTES), self.secrets)
        return self._readers[name]

    def read(self, name: str, offset: int, length: int) -> bytearray:
        """Return bytes of a pack, as many as there are. Raises FileNotFoundError."""
        out = bytearray(length)
        got = self.store.read_into(pack_path(name), offset, memoryview(out))
        return out[:got]

    def write_segment(self, tables: Sequence[tuple[str, Rows]]) -> str:
        """Write a segment of the index and return its name."""
        data = segment_bytes(segment_of(tables), self.secrets)
        name = f"index/{blake3(data).hexdigest()}"
        self.store.put(name, data)
        return name

    def chunk(self, identity: bytes) -> bytes:
        """Return the bytes of a chunk, from the first copy that is whole. Raises Damaged, naming each copy."""
        place = self.index.find(identity)
        out = bytearray(place.size if place else 0)
        self.read_chunk(identity, Scratch(), memoryview(out))
        return bytes(out)

    def read_chunk(self, identity: bytes, scratch: Scratch, out: memoryview) -> bytes:
        """Write a chunk into `out`, from the first copy that is whole, and return its digest.

        `out` has the chunk's size. Raises Damaged, naming each copy.
        """
        faults = []
        for place in self.index.copies(identity):
            try:
                return self.read_copy(identity, place, scratch, out)
            except Damaged as error:
                faults.append(str(error))
            except FileNotFoundError:
                faults.append(f"pack {place.pack} is missing")
        raise Damaged(f"chunk {identity.hex()}", "; ".join(faults) or "no pack holds it")

    def read_copy(self, identity: bytes, place: Place, scratch: Scratch, out: memoryview) -> bytes:
        """Write one copy of a chunk into `out`, and return its digest. Raises Damaged and FileNotFoundError."""
        name = f"chunk {identity.hex()} in pack {place.pack}"
        if not TAG_BYTES <= place.stored <= len(scratch.sealed) or place.size != len(out):
            raise Damaged(name, f"its table says {place.stored} bytes for a chunk of {place.size}")
        sealed = scratch.sealed[: place.stored]
        got = self.store.read_into(pack_path(place.pack), place.offset, sealed)
        if got != place.stored:
            raise Damaged(name, f"the pack ends after {got} of its {place.stored} bytes")
        raw = place.codec == Codec.RAW
        if raw and place.stored - TAG_BYTES != place.size:
            raise Damaged(name, f"its table says {place.stored} bytes for a chunk of {place.size}")
        plain = out if raw else scratch.plain[: place.stored - TAG_BYTES]
        self.reader(place.pack).open_into(identity, place.number, sealed, plain)
        if not raw:
            out[:] = decompressed(name, place.codec, plain, place.size)
        digest = digest_of(out)
        if chunk_id(digest, self.secrets.chunk_secret) != identity:
            raise Damaged(name, "its bytes have another id")
        return digest

    def snapshots(
        self, told: Callable[[BackupError], None], newest: int | None = None, only: str | None = None
    ) -> list[Snapshot]:
        """Return all snapshots, the oldest first by the store's clock. Heads that cannot be read go to `told`.

        With `newest` only so many heads are read, those that the listing and their ids show as the newest. With `only`
        no head is read but that of the snapshot with this id.
        """
        items = [item for item in self.store.list("snapshots/") if only is None or item.name == f"snapshots/{only}"]
        if newest is not None:
            items = sorted(items, key=_shown_at)[-newest:]
        found = []
        for item in items:
            try:
                snapshot = read_snapshot(item.name, self.store.get(item.name, LARGE), self.secrets)
                if f"snapshots/{snapshot.id}" != item.name:
                    raise Damaged(item.name, f"it is a copy of the snapshot {snapshot.id}")
                found.append(snapshot.dated(item.modified_at))
            except FileNotFoundError:
                continue
            except (Damaged, NewerFormat) as error:
                told(error)
        return sorted(found, key=lambda snapshot: snapshot.order)

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot's head. From then on the snapshot exists."""
        self.store.put(f"snapshots/{snapshot.id}", snapshot_bytes(snapshot, self.secrets))

    def tree(self, snapshot: Snapshot) -> bytes:
        """Return the bytes of a snapshot's tree. Raises Damaged."""
        if any(self.index.find(identity) is None for identity in snapshot.tree):
            self.refresh()  # It was made after the index was read.
        return b"".join(self.chunk(identity) for identity in snapshot.tree)
