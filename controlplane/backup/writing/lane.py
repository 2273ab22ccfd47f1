"""A lane: one thread's buffers, through which chunks go from a file into packs.

Fresh memory costs more than encryption: measured, AES-256-GCM writes 1.5 GB into new bytes in a CPU second, and 8 to 11
into a buffer that is used again. So a lane reads into one aligned buffer and seals into one pack, and allocates nothing
of a chunk's size unless it compresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from mmap import mmap

from controlplane.backup.format.buffers import Buffer
from controlplane.backup.format.compress import Codec, compressed
from controlplane.backup.format.envelope import Secrets
from controlplane.backup.format.ids import chunk_id, digest_of
from controlplane.backup.format.pack import PackBuilder
from controlplane.backup.sources.cut import Span
from controlplane.backup.sources.origin import Handle
from controlplane.backup.sources.spans import span_buffer
from controlplane.backup.writing.shelf import Shelf


@dataclass(frozen=True)
class Sealed:
    """One chunk of a file after it was read."""

    digest: bytes
    id: bytes


class Lane:
    """Buffers of one thread, 73 MB."""

    def __init__(self, shelf: Shelf, secrets: Secrets) -> None:
        self._shelf, self._secrets = shelf, secrets
        self._chunk = span_buffer()
        self._builder = PackBuilder(memoryview(mmap(-1, PackBuilder.buffer_bytes())), secrets)

    def read(self, handle: Handle, span: Span, codec: Codec) -> Sealed:
        """Read a span of an open file, and store it when the repository lacks it.

        Raises Moved when the file changed, OSError and BackupError when it cannot be read, and the store's errors.
        """
        with handle.filled(span, self._chunk) as data:
            return self.take(data, codec)

    def take(self, data: Buffer, codec: Codec) -> Sealed:
        """Store a chunk when the repository lacks it. Raises the store's errors."""
        digest = digest_of(data)
        identity = chunk_id(digest, self._secrets.chunk_secret)
        if self._shelf.claim(identity):
            self._add(identity, data, codec)
        return Sealed(digest, identity)

    def _add(self, identity: bytes, data: Buffer, codec: Codec) -> None:
        stored: Buffer = data
        if codec is not Codec.RAW:
            small = compressed(codec, data)
            # A chunk that grew is stored as it is: the sample of its file promised otherwise.
            codec, stored = (codec, small) if len(small) < len(data) else (Codec.RAW, data)
        self._builder.add(identity, stored, len(data), codec)
        if self._builder.full:
            self.flush()

    def flush(self) -> None:
        """Store the pack that was begun."""
        if self._builder.count:
            self._shelf.put(*self._builder.finish())
