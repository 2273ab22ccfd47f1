"""Objects below a prefix of a bucket, read as the files of a folder. Each is read as the one that was listed.

Every read asks for the ETag that the listing showed (`If-Match`), and compares what the answer says: stores ignore
conditions. An object that was exchanged meanwhile is read again after the next listing.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import obstore
from obstore.exceptions import BaseError, NotFoundError, PreconditionError

from controlplane.backup.errors import BackupError
from controlplane.backup.sources.ahead import Ahead
from controlplane.backup.sources.cut import Span
from controlplane.backup.sources.keys import Key, sane_tree
from controlplane.backup.sources.origin import Moved
from controlplane.backup.sources.walk import UNFINISHED, Found, Mark, Walk
from controlplane.backup.storage.addresses import cloud_store
from controlplane.backup.storage.objects import ObjectStore, again, list_all, told
from controlplane.config.backup.buckets import lower_scheme

HEADER_WINDOW: Final = 512 << 10
"""Bytes that are read at once of a file's header: those of most models fit."""


@dataclass(frozen=True)
class BucketSource:
    """Prefix of a bucket, and the part of it, that one snapshot is made of."""

    address: str
    """Such as `s3://models/triton`, without credentials."""
    folders: tuple[str, ...] = ()
    """Folders below the prefix. Empty: all of it."""
    include: tuple[str, ...] = ()
    """Globs of paths below the prefix. Empty: every object."""
    exclude: tuple[str, ...] = UNFINISHED
    """Globs of paths, or of names, that are left out."""

    @property
    def across_machines(self) -> bool:
        """Whether marks of one machine mean the same on another: a bucket shows all of them the same."""
        return True

    @property
    def uri(self) -> str:
        """Address that the snapshot names, and by which a later run finds it."""
        return lower_scheme(self.address.rstrip("/"))


class Bucket:
    """The objects below the prefix of a source."""

    def __init__(self, source: BucketSource, store: ObjectStore | None = None) -> None:
        """Raises NotARepository for an address with credentials, and StoreUnreachable for one that is refused."""
        self._source, self.place = source, source.uri
        self._store: ObjectStore = store or cloud_store(self.place)
        self._ahead = Ahead()
        self._markers: dict[Key, bool] = {}
        """Whether objects without a byte are markers of folders."""
        self._last: dict[str, Found] = {}

    def walk(self) -> Walk:
        """Return what is below the prefix, with the folders that its keys imply. Raises BackupError."""
        keys = []
        for meta in list_all(self._store, self.place):
            path, etag = meta["path"], meta["e_tag"] or ""
            if path:  # the marker of the prefix itself
                keys.append(Key(path, meta["size"], int(meta["last_modified"].timestamp() * 1e9), etag))
        walked = sane_tree(
            self._source.folders, self._source.include, self._source.exclude, self.place, self._told(keys)
        )
        self._last = {one.path: one for one in walked.found}
        return walked

    def _told(self, keys: list[Key]) -> list[Key]:
        """Return the keys, markers of folders told from empty files.

        A key `a/1/` is listed as `a/1`. No object of that name is there then, and only one of a size of 0 can be one.
        """
        asked = {key: self._ahead.begin(partial(self._is_marker, key)) for key in keys if self._unknown(key)}
        for key, future in asked.items():
            self._markers[key] = future.result()
        return [key.as_marker() if self._markers.get(key) else key for key in keys]

    def _unknown(self, key: Key) -> bool:
        return not key.size and key not in self._markers

    def _is_marker(self, key: Key) -> bool:
        try:
            with told(self.place, key.path):
                again(lambda: obstore.head(self._store, key.path))
        except FileNotFoundError:
            return True
        return False

    def open(self, found: Found) -> BucketFile:
        """Return a handle on an object. Nothing is read yet."""
        return BucketFile(self, found, self._ahead)

    def content(self, path: str, limit: int) -> bytes:
        """Return at most `limit` bytes of an object. Raises BackupError, also when it was exchanged."""
        found = self._last[path]
        if found.type != "file" or not found.mark.size:
            return b""
        try:
            return bytes(self.fetch(found, 0, min(limit, found.mark.size)))
        except Moved:
            raise BackupError(f"{self.place}/{path} changed while it was read; run the backup again") from None

    def fetch(self, found: Found, offset: int, length: int) -> memoryview:
        """Return bytes of an object. Raises Moved when it is not the one that was listed, and StoreUnreachable."""
        mark = found.mark
        strong = mark.etag and not mark.etag.startswith("W/")
        options: obstore.GetOptions = {"range": (offset, offset + length)}
        if strong:
            options["if_match"] = mark.etag

        def get() -> memoryview:
            result = obstore.get(self._store, found.path, options=options)
            meta = result.meta
            if not _same(mark, meta["size"], meta["e_tag"] or "", meta["last_modified"].timestamp()):
                raise Moved
            data = memoryview(result.bytes())
            if len(data) != length:
                raise Moved
            return data

        try:
            with told(self.place, found.path):
                try:
                    return again(get)
                except (NotFoundError, FileNotFoundError, PreconditionError):
                    raise Moved from None
                except BaseError:
                    # Stores refuse a range behind the end: the object may have become shorter.
                    head = obstore.head(self._store, found.path)
                    if not _same(mark, head["size"], head["e_tag"] or "", head["last_modified"].timestamp()):
                        raise Moved from None
                    raise
        except FileNotFoundError:
            raise Moved from None

    def close(self) -> None:
        """End the threads."""
        self._ahead.close()


def _same(mark: Mark, size: int, etag: str, modified_at: float) -> bool:
    """Return whether an answer is about the object of the mark. Its header counts seconds, a listing may count less."""
    if mark.size != size:
        return False
    if mark.etag and etag:
        return mark.etag == etag
    return int(modified_at) == mark.mtime_ns // 1_000_000_000


class BucketFile:
    """One object that is being read."""

    def __init__(self, bucket: Bucket, found: Found, ahead: Ahead) -> None:
        self._bucket, self._found, self._ahead = bucket, found, ahead
        self.mark = found.mark
        self._begun: dict[Span, Future[memoryview]] = {}
        self._window = (0, memoryview(b""))

    def read_at(self, offset: int, length: int) -> bytes:
        """Return bytes of the object, fewer at its end. Raises Moved and StoreUnreachable."""
        length = min(length, self.mark.size - offset)
        if length <= 0:
            return b""
        begin, data = self._window
        if not begin <= offset <= offset + length <= begin + len(data):
            begin = offset
            data = self._bucket.fetch(self._found, offset, min(max(length, HEADER_WINDOW), self.mark.size - offset))
            self._window = begin, data
        return bytes(data[offset - begin :][:length])

    def ahead(self, span: Span) -> None:
        """Begin to read a span. It blocks while enough spans are being read."""
        self._window = (0, memoryview(b""))  # the header was read
        self._ahead.enter()
        self._begun[span] = self._ahead.begin(lambda: self._bucket.fetch(self._found, span.offset, span.length))

    @contextmanager
    def filled(self, span: Span, buffer: memoryview) -> Iterator[memoryview]:
        """Yield the bytes of a span. Raises Moved and StoreUnreachable."""
        try:
            data = self._ahead.answer(self._begun.pop(span))
            if data is None:
                raise Moved
            yield data
        finally:
            self._ahead.leave()

    def drop(self, span: Span) -> None:
        """Give a span up that `ahead` began to read."""
        self._begun.pop(span).cancel()
        self._ahead.leave()

    def mark_now(self) -> Mark:
        """Return the mark: every read proved it."""
        return self.mark

    def close(self) -> None:
        """Do nothing: each read is closed by itself."""
