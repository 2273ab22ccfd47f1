"""The repository's secrets, wrapped for each user key: one small JSON object under `keys/` for each.

These objects hold the chunk secret and the first data key, and are written once. Data keys of later epochs are objects
of their own (`epochs.py`). **Adding or removing a user key** wraps the same secrets again: cheap, and of no use once a
secret leaked, since who had a key may have kept the secrets. **A new epoch** adds a data key: objects written from then
on need it, older ones keep theirs until prune packs them again.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass

import orjson
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from controlplane.backup.errors import Damaged, NewerFormat, WrongKey
from controlplane.backup.format.envelope import KEY_BYTES, Sealing, Secrets
from controlplane.backup.keys.epochs import STEP
from controlplane.backup.keys.keyfile import UserKey

FORMAT = 1


@dataclass(frozen=True)
class KeyDocument:
    """A wrapped copy of the secrets, as stored. Nothing in it is secret."""

    key_id: str
    name: str
    """Name that people gave to the key: its owner or its place."""
    made_at: float
    """Unix seconds."""
    wrapped: tuple[bytes, ...]
    """The settings, the chunk secret, then the data key of epoch 0, wrapped with AES-KW (RFC 3394)."""


def new_secrets(sealing: Sealing = Sealing.AES_256_GCM) -> Secrets:
    """Return the secrets of a new repository."""
    return Secrets(os.urandom(KEY_BYTES), {0: os.urandom(KEY_BYTES)}, sealing)


def wrap(secrets: Secrets, key: UserKey, *, name: str, now: float) -> KeyDocument:
    """Return the secrets wrapped for a user key, without the data keys of later epochs."""
    first = (secrets.data_keys[epoch] for epoch in sorted(secrets.data_keys) if epoch < STEP)
    parts = (_settings(secrets.sealing), secrets.chunk_secret, *first)
    wrapped = tuple(aes_key_wrap(key.secret, part) for part in parts)
    return KeyDocument(key.id, name, now, wrapped)


def _settings(sealing: Sealing) -> bytes:
    """Return the settings as they are wrapped: who may write `repository.json` must not be able to end encryption."""
    return bytes([sealing]).ljust(KEY_BYTES, b"\0")


def unwrap(document: KeyDocument, key: UserKey, sealing: Sealing) -> Secrets:
    """Return the secrets, without later epochs.

    Raises WrongKey when the document was not wrapped for this key, and Damaged.
    """
    try:
        settings, chunk_secret, *data_keys = (aes_key_unwrap(key.secret, wrapped) for wrapped in document.wrapped)
    except (InvalidUnwrap, ValueError):
        raise WrongKey(f"key {key.id} does not open the repository") from None
    if settings != _settings(sealing):
        raise Damaged("repository.json", "it names another sealing than the one that the repository was made with")
    return Secrets(chunk_secret, dict(enumerate(data_keys)), sealing, len(data_keys) - 1)


def key_bytes(document: KeyDocument) -> bytes:
    """Return the stored object of a document: JSON."""
    wrapped = [base64.b64encode(secret).decode() for secret in document.wrapped]
    stored = {"format": FORMAT, "key": document.key_id, "name": document.name, "made_at": document.made_at}
    return orjson.dumps({**stored, "wrapped": wrapped}, option=orjson.OPT_INDENT_2)


def read_key_document(place: str, data: bytes) -> KeyDocument:
    """Return the document of a stored object. Raises Damaged and NewerFormat."""
    try:
        stored = orjson.loads(data)
        if stored["format"] != FORMAT:
            raise NewerFormat(f"{place} has format {stored['format']}; this release reads format {FORMAT}")
        wrapped = tuple(base64.b64decode(secret, validate=True) for secret in stored["wrapped"])
        document = KeyDocument(str(stored["key"]), str(stored["name"]), float(stored["made_at"]), wrapped)
    except (orjson.JSONDecodeError, binascii.Error, KeyError, TypeError, ValueError):
        raise Damaged(place, "it is not a key object") from None
    if len(document.wrapped) < 3:
        raise Damaged(place, "it holds no data key")
    return document
