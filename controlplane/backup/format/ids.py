"""Digests and ids: which bytes are equal.

A chunk's **digest** is BLAKE3 of its bytes. It does not depend on the repository, so that the digest of a version can
be compared between a disk and any repository. A chunk's **id** is BLAKE3 of the digest, keyed by the repository's
secret: somebody without it cannot ask whether known bytes are in the repository. Both take one pass over the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from blake3 import blake3

from controlplane.backup.format.buffers import Buffer

DIGEST_BYTES = 32
_FILE = "llm-controlplane backup 1 file"
_TREE = "llm-controlplane backup 1 tree"


def digest_of(chunk: Buffer) -> bytes:
    """Return the digest of a chunk's bytes: 32 bytes."""
    return blake3(chunk).digest()


def chunk_id(digest: bytes, secret: bytes) -> bytes:
    """Return the id of a chunk with this digest in the repository with this secret: 32 bytes."""
    return blake3(digest, key=secret).digest()


def file_digest(size: int, chunks: Iterable[bytes]) -> bytes:
    """Return the digest of a file: 32 bytes, from its size and the digests of its chunks in order."""
    hasher = blake3(size.to_bytes(8, "little"), derive_key_context=_FILE)
    for digest in chunks:
        hasher.update(digest)
    return hasher.digest()


def tree_digest(files: Mapping[str, bytes]) -> bytes:
    """Return the digest of a set of files: 32 bytes, from their paths and digests. Times and modes do not count."""
    hasher = blake3(derive_key_context=_TREE)
    for path in sorted(files):
        name = path.encode(errors="surrogateescape")
        hasher.update(len(name).to_bytes(8, "little"))
        hasher.update(name)
        hasher.update(files[path])
    return hasher.digest()
