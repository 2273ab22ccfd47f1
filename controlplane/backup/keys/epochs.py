"""Data keys after the first one: each is an object of its own for each user key, and none is ever written again.

    epochs/EPOCH/KEY-ID    the data key of an epoch, wrapped for one user key
    epochs/EPOCH/ready     every user key has it: new objects are sealed with the newest epoch that is ready

Nothing that holds a secret is changed or replaced. A crash, or two rotations at once, therefore loses no data key: what
was not made ready was never used, and two epochs that became ready can both be read.
"""

from __future__ import annotations

import base64
import binascii
import secrets as random
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import orjson
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from controlplane.backup.errors import BackupError, Damaged, NewerFormat, WrongKey
from controlplane.backup.format.envelope import KEY_BYTES, Secrets
from controlplane.backup.keys.keyfile import UserKey
from controlplane.backup.storage.store import Store

FORMAT: Final = 1
FOLDER: Final = "epochs/"
READY: Final = "ready"
STEP: Final = 1 << 16
"""An epoch is a generation times this, plus a random number: two rotations at once choose different epochs. Epochs
below it are in the objects under `keys/`."""
LAST_GENERATION: Final = STEP - 1
SMALL: Final = 1 << 16
"""Largest object under `epochs/`, in bytes."""
_PLAIN = struct.Struct(f"<I4x{KEY_BYTES}s")
"""Bytes that are wrapped: the epoch, so that no data key passes for that of another epoch, then the data key."""


@dataclass(frozen=True)
class Epochs:
    """The epochs of a store."""

    holders: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """Ids of the user keys that each epoch is wrapped for."""
    ready: frozenset[int] = frozenset()

    @property
    def newest(self) -> int:
        """Epoch of new objects; 0: that of the objects under `keys/`."""
        return max(self.ready, default=0)

    @property
    def unused(self) -> frozenset[int]:
        """Epochs whose rotation did not end: nothing is sealed with them."""
        return frozenset(self.holders) - self.ready

    def lacking(self, key_id: str) -> frozenset[int]:
        """Return the epochs that are ready and that a user key lacks."""
        return frozenset(epoch for epoch in self.ready if key_id not in self.holders.get(epoch, ()))


def epoch_path(epoch: int, name: str) -> str:
    """Return the object's name of an epoch, for the id of a user key or READY."""
    return f"{FOLDER}{epoch:08x}/{name}"


def read_epochs(store: Store) -> Epochs:
    """Return the epochs that the store lists. Other names are left out."""
    holders: dict[int, set[str]] = {}
    ready = set()
    for item in store.list(FOLDER):
        digits, _, name = item.name.removeprefix(FOLDER).partition("/")
        try:
            epoch = int(digits, 16)
        except ValueError:
            continue
        if not STEP <= epoch < STEP * STEP or epoch_path(epoch, name) != item.name:
            continue
        if name == READY:
            ready.add(epoch)
        else:
            holders.setdefault(epoch, set()).add(name)
    return Epochs({epoch: frozenset(ids) for epoch, ids in holders.items()}, frozenset(ready))


def next_epoch(known: Collection[int]) -> int:
    """Return a new epoch, above all that are known. Raises BackupError after 65,535 rotations."""
    generation = max(known, default=0) // STEP + 1
    if generation > LAST_GENERATION:
        raise BackupError("the repository has had 65,535 epochs, which is the most: make a new repository")
    return generation * STEP + random.randbelow(STEP)


def wrapped_epoch(epoch: int, data_key: bytes, key: UserKey) -> bytes:
    """Return the stored object of a data key for a user key: JSON."""
    wrapped = aes_key_wrap(key.secret, _PLAIN.pack(epoch, data_key))
    stored = {"format": FORMAT, "epoch": epoch, "key": key.id, "wrapped": base64.b64encode(wrapped).decode()}
    return orjson.dumps(stored, option=orjson.OPT_INDENT_2)


def unwrapped_epoch(place: str, data: bytes, epoch: int, key: UserKey) -> bytes:
    """Return the data key of a stored object. Raises Damaged, NewerFormat and WrongKey."""
    try:
        stored = orjson.loads(data)
        if stored["format"] != FORMAT:
            raise NewerFormat(f"{place} has format {stored['format']}; this release reads format {FORMAT}")
        plain = aes_key_unwrap(key.secret, base64.b64decode(stored["wrapped"], validate=True))
        found, data_key = _PLAIN.unpack(plain)
    except InvalidUnwrap:
        raise WrongKey(f"key {key.id} does not open {place}") from None
    except (orjson.JSONDecodeError, binascii.Error, KeyError, TypeError, ValueError, struct.error):
        raise Damaged(place, "it is no data key of an epoch") from None
    if found != epoch:
        raise Damaged(place, f"it holds the data key of epoch {found:08x}")
    return bytes(data_key)


def later_keys(store: Store, epochs: Epochs, key: UserKey) -> dict[int, bytes]:
    """Return the data keys that a user key has beside those under `keys/`, by epoch.

    One that cannot be read is left out: the objects of other epochs can be read all the same.
    """
    return dict(_later(store, epochs, key))


def _later(store: Store, epochs: Epochs, key: UserKey) -> Iterator[tuple[int, bytes]]:
    for epoch, holders in sorted(epochs.holders.items()):
        if key.id in holders:
            place = epoch_path(epoch, key.id)
            with suppress(FileNotFoundError, Damaged, NewerFormat, WrongKey):
                yield epoch, unwrapped_epoch(place, store.get(place, SMALL), epoch, key)


def check_current(store: Store, secrets: Secrets) -> None:
    """Raise BackupError when the keys were rotated after the secrets were read: newer objects then look damaged."""
    if read_epochs(store).ready - secrets.data_keys.keys():
        raise BackupError(
            f"{store.address}: its data keys were rotated while this ran, or this key file lacks one of them. Run this"
            " again. If that does not help, `controlplane backup key list` shows what each key has."
        )
