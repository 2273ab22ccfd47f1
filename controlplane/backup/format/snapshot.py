"""A snapshot: a small head, and the tree of files in chunks of its own.

The head is one object under `snapshots/`, written last: a snapshot exists when its head does. The tree is lines of
JSON, one for each entry in the order of paths; its bytes are chunks in packs, so that an unchanged tree is stored once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

import orjson
import zstandard

from controlplane.backup.errors import Damaged, NewerFormat
from controlplane.backup.format.envelope import Kind, Secrets, open_whole, seal_whole

FORMAT = 1
HEAD_LIMIT = 64 << 20
"""Largest head after decompression, in bytes."""


class EntryType(StrEnum):
    """Type of an entry of the tree."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    SAME = "same"
    """A hard link to an earlier file of the tree."""


@dataclass(frozen=True)
class Entry:
    """One file, folder or link of a tree."""

    path: str
    """Path below the tree's root, with `/`. The root itself is `.`.

    Bytes that are not UTF-8 are surrogates, as os.fsdecode makes them.
    """
    type: EntryType
    mode: int = 0
    """Permission bits."""
    mtime_ns: int = 0
    uid: int = 0
    gid: int = 0
    ctime_ns: int = 0
    """With `inode` and `device`, of a file: what the next run compares to see that it did not change."""
    inode: int = 0
    device: int = 0
    etag: str = ""
    """Of a file that was an object of a bucket: its ETag. The next run compares it."""
    size: int = 0
    target: str = ""
    """Target of a link. Of a hard link: the path of the earlier file."""
    digest: str = ""
    """Digest of a file, in hex."""
    chunks: tuple[bytes, ...] = ()
    """Ids of a file's chunks, in order."""


@dataclass(frozen=True)
class Snapshot:
    """The head of a snapshot. All times are Unix seconds."""

    id: str
    made_at: float
    """Time by the clock of the writer. Nothing is ordered by it: `at` is."""
    subject: str
    """Name of the model, or `control-plane`."""
    source: str
    """Address that was backed up."""
    tree: tuple[bytes, ...]
    """Ids of the chunks of the tree, in order."""
    digest: str
    """Digest of all files, in hex. It does not depend on the repository."""
    files: int = 0
    bytes: int = 0
    """Bytes of all files."""
    new_bytes: int = 0
    """Bytes that this snapshot added to the repository."""
    seconds: float = 0.0
    began_at: float = 0.0
    """Time by the writer's clock before it looked at any file. The next run reads files that changed since."""
    version: str = ""
    host: str = ""
    by: str = ""
    """Person or job that asked for it."""
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    """Observed facts about the content: format, quantisation, base."""
    stored_at: float | None = None
    """Time by the store's clock just before the head was written. None: it was not written down, or not read yet."""

    @property
    def at(self) -> float:
        """Time that orders snapshots: the store's, which is one clock for all writers, else the writer's."""
        return self.made_at if self.stored_at is None else self.stored_at

    @property
    def order(self) -> tuple[float, float, str]:
        """Key that sorts snapshots from the oldest to the newest."""
        return self.at, self.made_at, self.id

    def dated(self, modified_at: float) -> Snapshot:
        """Return the snapshot with the store's time of it, from the time at which the store says its head changed.

        A copy of a repository may give every head a later time, so the time that the head itself names counts where it
        is earlier. Heads of releases that named none count by the earlier one of both clocks: one that was ahead then
        hides no newer snapshot.
        """
        return replace(self, stored_at=min(self.at, modified_at))


def is_id(text: str) -> bool:
    """Return whether a text has the form of a snapshot's whole id."""
    return re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", text, re.ASCII) is not None


def snapshot_bytes(snapshot: Snapshot, secrets: Secrets) -> bytes:
    """Return the sealed object of a head."""
    document = {"format": FORMAT, **asdict(snapshot), "tree": [chunk.hex() for chunk in snapshot.tree]}
    return seal_whole(Kind.SNAPSHOT, zstandard.compress(orjson.dumps(document), 3), secrets)


def read_snapshot(place: str, data: bytes, secrets: Secrets) -> Snapshot:
    """Return the head of a sealed object. Raises Damaged and NewerFormat. Fields of newer releases are ignored."""
    body = open_whole(place, data, Kind.SNAPSHOT, secrets)
    try:
        document = orjson.loads(zstandard.decompress(body, max_output_size=HEAD_LIMIT))
        if document["format"] != FORMAT:
            raise NewerFormat(f"{place} has format {document['format']}; this release reads format {FORMAT}")
        known = {name: document[name] for name in Snapshot.__dataclass_fields__ if name in document}
        return Snapshot(**{**known, "tree": tuple(bytes.fromhex(chunk) for chunk in document["tree"])})
    except (orjson.JSONDecodeError, zstandard.ZstdError, KeyError, TypeError, ValueError) as error:
        raise Damaged(place, f"it cannot be read ({type(error).__name__})") from None


def tree_lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the tree's bytes, line by line."""
    for entry in entries:
        row: dict[str, object] = {"path": _escaped(entry.path), "type": entry.type, "mode": entry.mode}
        row["mtime_ns"], row["uid"], row["gid"] = entry.mtime_ns, entry.uid, entry.gid
        if entry.type is EntryType.FILE:
            row["size"], row["digest"] = entry.size, entry.digest
            row["ctime_ns"], row["inode"] = entry.ctime_ns, entry.inode
            row["device"] = entry.device
            if entry.etag:
                row["etag"] = entry.etag
            row["chunks"] = b"".join(entry.chunks).hex()
        elif entry.type is not EntryType.FOLDER:
            row["target"] = _escaped(entry.target)
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def read_tree(place: str, body: bytes) -> Iterator[Entry]:
    """Yield the entries of a tree from its bytes. Raises Damaged."""
    for line in body.splitlines():
        try:
            row = orjson.loads(line)
            joined = bytes.fromhex(row.get("chunks", ""))
            yield Entry(
                path=_plain(row["path"]),
                type=EntryType(row["type"]),
                mode=row["mode"],
                mtime_ns=row["mtime_ns"],
                uid=row["uid"],
                gid=row["gid"],
                ctime_ns=row.get("ctime_ns", 0),
                inode=row.get("inode", 0),
                device=row.get("device", 0),
                etag=row.get("etag", ""),
                size=row.get("size", 0),
                target=_plain(row.get("target", "")),
                digest=row.get("digest", ""),
                chunks=tuple(joined[at : at + 32] for at in range(0, len(joined), 32)),
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise Damaged(place, f"a line of its tree cannot be read ({type(error).__name__})") from None


def _escaped(path: str) -> str:
    """Return the path as JSON can carry it: bytes that are not UTF-8, and `%`, as `%` and two hex digits."""
    raw = path.encode(errors="surrogateescape").replace(b"%", b"%25")
    return "".join(
        c if not "\udc80" <= c <= "\udcff" else f"%{ord(c) - 0xDC00:02x}" for c in raw.decode(errors="surrogateescape")
    )


def _plain(text: str) -> str:
    head, *rest = text.split("%")
    raw = head.encode()
    for part in rest:
        raw += bytes.fromhex(part[:2]) + part[2:].encode()
    return raw.decode(errors="surrogateescape")
