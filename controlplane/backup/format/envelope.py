"""The envelope of every object but `repository.json` and `keys/`: a clear header, then sealed records.

The header says nothing about the content: magic, format version, kind of object, kind of sealing, epoch of the data
key, and a random salt. HKDF-SHA256 (RFC 5869) derives a subkey from the data key and the salt. No two objects share a
subkey, so nonces are plain counters. The header and the record's own context are authenticated with each record.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controlplane.backup.errors import Damaged, NewerFormat, UnknownEpoch, WrongKey
from controlplane.backup.format.buffers import Buffer

FORMAT = 1
MAGIC = b"LCPB"
HEADER_BYTES = 64
TAG_BYTES = 16
KEY_BYTES = 32
_HEADER = struct.Struct("<4sBBBxI20x32s")
_INFO = b"llm-controlplane backup 1 object"


class Kind(IntEnum):
    """Kind of an object. An object of one kind never opens as another."""

    PACK = 1
    INDEX = 2
    SNAPSHOT = 3
    GARBAGE = 4
    DAMAGE = 5
    READS = 6


class Sealing(IntEnum):
    """Way in which records are sealed."""

    PLAIN = 0
    """Readable by everybody. The tag is a keyed BLAKE3: it shows damage and no more."""
    AES_256_GCM = 1


class Sealer(Protocol):
    """Seals and opens the records of one object."""

    def seal_into(self, counter: int, data: Buffer, context: bytes, out: memoryview) -> None:
        """Write the sealed record, `len(data) + TAG_BYTES` bytes, into `out`, which has that length."""
        ...

    def open_into(self, counter: int, sealed: Buffer, context: bytes, out: memoryview) -> bool:
        """Write the record's bytes into `out`, of length `len(sealed) - TAG_BYTES`. Return False for a wrong tag."""
        ...


class _Gcm:
    def __init__(self, subkey: bytes, header: bytes) -> None:
        self._cipher, self._header = AESGCM(subkey), header

    def seal_into(self, counter: int, data: Buffer, context: bytes, out: memoryview) -> None:
        self._cipher.encrypt_into(counter.to_bytes(12, "big"), data, self._header + context, out)

    def open_into(self, counter: int, sealed: Buffer, context: bytes, out: memoryview) -> bool:
        try:
            self._cipher.decrypt_into(counter.to_bytes(12, "big"), sealed, self._header + context, out)
        except InvalidTag:
            return False
        return True


class _Plain:
    def __init__(self, subkey: bytes, header: bytes) -> None:
        self._key, self._header = subkey, header

    def _tag(self, counter: int, data: Buffer, context: bytes) -> bytes:
        hasher = blake3(counter.to_bytes(12, "big") + self._header + context, key=self._key)
        return hasher.update(data).digest(TAG_BYTES)

    def seal_into(self, counter: int, data: Buffer, context: bytes, out: memoryview) -> None:
        out[: len(data)] = data
        out[len(data) :] = self._tag(counter, data, context)

    def open_into(self, counter: int, sealed: Buffer, context: bytes, out: memoryview) -> bool:
        body = memoryview(sealed)[:-TAG_BYTES]
        if bytes(memoryview(sealed)[-TAG_BYTES:]) != self._tag(counter, body, context):
            return False
        out[:] = body
        return True


_SEALERS: dict[Sealing, Callable[[bytes, bytes], Sealer]] = {Sealing.PLAIN: _Plain, Sealing.AES_256_GCM: _Gcm}


@dataclass(frozen=True)
class Secrets:
    """The opened secrets of a repository."""

    chunk_secret: bytes = field(repr=False)
    """Key of chunk ids, 32 bytes. It never changes, so that all epochs share chunks."""
    data_keys: Mapping[int, bytes] = field(repr=False)
    """Data key of each epoch that is known, 32 bytes each."""
    sealing: Sealing = Sealing.AES_256_GCM
    epoch: int = 0
    """Epoch of new objects."""

    @property
    def known(self) -> str:
        """The known epochs, for a sentence."""
        return ", ".join(f"{epoch:08x}" for epoch in sorted(self.data_keys))


def new_envelope(kind: Kind, secrets: Secrets) -> tuple[bytes, Sealer]:
    """Return the header of a new object, 64 bytes, and the sealer of its records.

    Raises WrongKey without the data key of the newest epoch: an older one may be known to others, so none replaces it.
    """
    if secrets.epoch not in secrets.data_keys:
        raise WrongKey(
            f"the key file lacks the newest data key (epoch {secrets.epoch:08x}; it has {secrets.known}), so nothing"
            " can be written with it. `controlplane backup key add FILE`, run with another key file, gives it to FILE."
        )
    header = _HEADER.pack(MAGIC, FORMAT, kind, secrets.sealing, secrets.epoch, os.urandom(32))
    return header, _sealer(header, secrets.data_keys[secrets.epoch], secrets.sealing)


def open_envelope(place: str, header: Buffer, kind: Kind, secrets: Secrets) -> Sealer:
    """Return the sealer of the records of an existing object.

    `place` names the object in errors. Raises Damaged when the header is not one of this kind, UnknownEpoch and
    NewerFormat.
    """
    head = bytes(header[:HEADER_BYTES])
    if len(head) < HEADER_BYTES:
        raise Damaged(place, f"it has {len(head)} bytes and its header needs {HEADER_BYTES}")
    magic, version, found, sealing, epoch, _ = _HEADER.unpack(head)
    if magic != MAGIC:
        raise Damaged(place, "it does not begin as an object of a repository")
    if version != FORMAT:
        raise NewerFormat(f"{place} has format {version}; this release reads format {FORMAT}. Use a newer release.")
    if found != kind or sealing not in list(Sealing):
        raise Damaged(place, f"its header says kind {found}, sealing {sealing}; kind {int(kind)} was expected")
    if epoch not in secrets.data_keys:
        raise UnknownEpoch(
            place,
            f"it needs the data key of epoch {epoch:08x}, and this key file has {secrets.known}. If the keys were just"
            " rotated, run this again; `controlplane backup key list` shows what each key has",
        )
    return _sealer(head, secrets.data_keys[epoch], Sealing(sealing))


def seal_whole(kind: Kind, body: bytes, secrets: Secrets) -> bytes:
    """Return an object with one record."""
    header, sealer = new_envelope(kind, secrets)
    out = bytearray(HEADER_BYTES + len(body) + TAG_BYTES)
    out[:HEADER_BYTES] = header
    sealer.seal_into(0, body, b"", memoryview(out)[HEADER_BYTES:])
    return bytes(out)


def open_whole(place: str, data: Buffer, kind: Kind, secrets: Secrets) -> bytes:
    """Return the only record of an object. Raises Damaged and NewerFormat."""
    sealer = open_envelope(place, data, kind, secrets)
    sealed = memoryview(data)[HEADER_BYTES:]
    if len(sealed) < TAG_BYTES:
        raise Damaged(place, f"it has {len(data)} bytes, which is too few for a record")
    out = bytearray(len(sealed) - TAG_BYTES)
    if not sealer.open_into(0, sealed, b"", memoryview(out)):
        raise Damaged(place, "its bytes do not match their seal")
    return bytes(out)


def _sealer(header: bytes, data_key: bytes, sealing: Sealing) -> Sealer:
    subkey = HKDF(SHA256(), KEY_BYTES, salt=header[-32:], info=_INFO).derive(data_key)
    return _SEALERS[sealing](subkey, header)
