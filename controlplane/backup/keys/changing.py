"""Changes of the keys of a repository: another key file opens it, one does not any more, new data gets a new data key.

One change at a time: each puts a note and then looks for the notes of others. Of two at once at least one sees the
other and refuses, in any store whose listing shows what was written. A change that was killed leaves its note, which
counts for a quarter of an hour. Should two changes run at once nevertheless, nothing is lost: they add objects, and
take away only those of the key that is removed.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import orjson

from controlplane.backup.errors import BackupError, Damaged, KeysBusy, NewerFormat, StoreUnreachable, WrongKey
from controlplane.backup.format.envelope import KEY_BYTES, Secrets
from controlplane.backup.intents import announced, intents
from controlplane.backup.keys.epochs import (
    READY,
    STEP,
    Epochs,
    check_current,
    epoch_path,
    next_epoch,
    read_epochs,
    unwrapped_epoch,
    wrapped_epoch,
)
from controlplane.backup.keys.keyfile import UserKey
from controlplane.backup.keys.ring import key_bytes, read_key_document, wrap
from controlplane.backup.repository import SMALL, Header, open_secrets
from controlplane.backup.storage.store import Store

WORK: Final = "change of keys"
LEFT_AFTER_S: Final = 900.0
"""Seconds after which the note of another change no longer counts, by the store's clock. A change takes seconds."""


@dataclass(frozen=True)
class KnownKey:
    """A key that opens the repository, as its object shows it. Nothing of it is authenticated."""

    id: str
    name: str
    made_at: float | None
    """Unix seconds; None: its object cannot be read."""
    lacks: int
    """Data keys that it does not have."""
    fault: str = ""


def known_keys(store: Store) -> tuple[list[KnownKey], Epochs]:
    """Return the keys of the repository, the oldest first, and its epochs. No key file is needed."""
    epochs = read_epochs(store)
    found = []
    for item in store.list("keys/"):
        identity = item.name.removeprefix("keys/")
        lacks = len(epochs.lacking(identity))
        try:
            document = read_key_document(item.name, store.get(item.name, SMALL))
            found.append(KnownKey(identity, document.name, document.made_at, lacks))
        except FileNotFoundError:
            continue
        except (Damaged, NewerFormat, StoreUnreachable) as error:
            found.append(KnownKey(identity, "", None, lacks, str(error)))
    return sorted(found, key=lambda key: (key.made_at or 0.0, key.id)), epochs


def add_key(store: Store, header: Header, own: UserKey, new: UserKey, *, name: str, now: float, host: str) -> bool:
    """Let the key `new` open the repository, with all data keys that `own` has. Return whether it could not before.

    What is there already stays; what is missing or damaged of it is written. Raises WrongKey, KeysBusy, and
    StoreUnreachable also when the store does not hold what was written.
    """
    with _changing(store, host):
        secrets = _opened(store, header, own)
        before = _opens(store, header, new, secrets)
        for epoch, data_key in secrets.data_keys.items():
            if epoch >= STEP:
                _put_epoch(store, epoch, data_key, new)
        if not before:
            # Last: a key that is listed has everything.
            store.put(f"keys/{new.id}", key_bytes(wrap(secrets, new, name=name, now=now)))
        if not _opens(store, header, new, secrets):
            raise StoreUnreachable(f"{store.address}: keys/{new.id} was written and reads differently; run this again")
    return not before


def remove_key(store: Store, header: Header, own: UserKey, identity: str, *, host: str) -> None:
    """Delete the objects of a key, or what an earlier removal left of them.

    `own` opens the repository and stays, so the last key cannot be removed. Raises BackupError for `own` and for a key
    that is not there, and WrongKey when `own` opens nothing, or is removed at this moment.
    """
    with _changing(store, host):
        secrets = _opened(store, header, own)
        if identity == own.id:
            raise BackupError(
                f"key {identity} is in the key file that you use, and the repository must keep one that opens it. To"
                " remove it, use another key file with --key-file."
            )
        try:
            document = store.get(f"keys/{own.id}", SMALL)
        except FileNotFoundError:
            raise WrongKey(f"key {own.id} was just removed from {store.address}. Nothing was changed.") from None
        places = [f"keys/{identity}", *(epoch_path(epoch, identity) for epoch in _held(store, identity))]
        if len(places) == 1 and all(item.name != places[0] for item in store.list("keys/")):
            raise BackupError(f"{store.address} has no key {identity}; `controlplane backup key list` lists them")
        for place in places:
            store.delete(place)
        # A change at the same time may have removed this key: it goes back, so one is left that opens all.
        if not _opens(store, header, own, secrets):
            for epoch, data_key in secrets.data_keys.items():
                if epoch >= STEP:
                    _put_epoch(store, epoch, data_key, own)
            store.put(f"keys/{own.id}", document)


def rotate(store: Store, header: Header, own: UserKey, others: Mapping[str, UserKey], *, now: float, host: str) -> int:
    """Add a data key, for all keys of the repository, and return its epoch. New objects are sealed with it.

    `others` are the keys beside `own`, by the names of their files: a data key can be wrapped only for a key that is at
    hand. Raises BackupError when one is missing, and WrongKey when one does not open the repository.
    """
    with _changing(store, host):
        secrets = _opened(store, header, own)
        for file, key in others.items():
            if not _opens(store, header, key, secrets):
                raise WrongKey(f"{file} does not open {store.address} with all its data keys: add it first")
        keys = {key.id: key for key in (own, *others.values())}
        _check_all(store, keys)
        epoch = next_epoch([*secrets.data_keys, *read_epochs(store).holders])
        data_key = random.token_bytes(KEY_BYTES)
        for key in keys.values():
            _put_epoch(store, epoch, data_key, key)
        _check_all(store, keys)
        store.put(epoch_path(epoch, READY), orjson.dumps({"format": 1, "made_at": now}))
    return epoch


def _check_all(store: Store, keys: Mapping[str, UserKey]) -> None:
    """Raise BackupError when the repository has a key that is not among these."""
    missing = [key for key in known_keys(store)[0] if key.id not in keys]
    if missing:
        named = ", ".join(f"{key.id} ({key.name})" if key.name else key.id for key in missing)
        raise BackupError(
            f"a new data key must be given to every key, and the files of these are missing: {named}. Name them with"
            " --other, or remove the keys first. Nothing was changed."
        )


@contextmanager
def _changing(store: Store, host: str) -> Iterator[None]:
    """Announce a change for the duration of the block. Raises KeysBusy while another one is announced."""
    with announced(store, host, WORK) as own:
        for name, age in intents(store).items():
            if name != own and age < LEFT_AFTER_S and (other := _change_on(store, name)) is not None:
                raise KeysBusy(
                    f"another `backup key` changes the keys of {store.address}, on {other}. Nothing was changed: run"
                    f" this again when it has ended. If it was killed, wait {LEFT_AFTER_S / 60:g} minutes."
                )
        yield


def _change_on(store: Store, intent: str) -> str | None:
    """Return the machine of another change of keys; None: the note is of other work, or gone."""
    try:
        row = orjson.loads(store.get(intent, SMALL))
        return str(row["host"]) if row["work"] == WORK else None
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _opened(store: Store, header: Header, own: UserKey) -> Secrets:
    """Return the secrets of a key that has all data keys. Raises WrongKey, and BackupError when it lacks one."""
    secrets = open_secrets(store, header, [own])
    check_current(store, secrets)
    return secrets


def _opens(store: Store, header: Header, key: UserKey, secrets: Secrets) -> bool:
    """Return whether a key opens the repository with all these secrets. Epochs that are not ready were never used."""
    try:
        found = open_secrets(store, header, [key])
    except (WrongKey, Damaged, NewerFormat):
        return False
    unused = read_epochs(store).unused
    used = {epoch: data_key for epoch, data_key in secrets.data_keys.items() if epoch not in unused}
    return found.chunk_secret == secrets.chunk_secret and used.items() <= found.data_keys.items()


def _held(store: Store, identity: str) -> Sequence[int]:
    return sorted(epoch for epoch, holders in read_epochs(store).holders.items() if identity in holders)


def _put_epoch(store: Store, epoch: int, data_key: bytes, key: UserKey) -> None:
    """Write a data key for a user key, unless it is there and whole, and read it again."""
    place = epoch_path(epoch, key.id)
    if _has(store, place, epoch, data_key, key):
        return
    store.put(place, wrapped_epoch(epoch, data_key, key))
    if not _has(store, place, epoch, data_key, key):
        raise StoreUnreachable(f"{store.address}: {place} was written and reads differently; run this again")


def _has(store: Store, place: str, epoch: int, data_key: bytes, key: UserKey) -> bool:
    try:
        return unwrapped_epoch(place, store.get(place, SMALL), epoch, key) == data_key
    except (FileNotFoundError, WrongKey, Damaged, NewerFormat):
        return False
