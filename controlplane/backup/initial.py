"""Makes an empty repository: of several calls at once, on any machines, at most one succeeds."""

from __future__ import annotations

import uuid
from contextlib import suppress

import orjson

from controlplane.backup.errors import RepositoryExists
from controlplane.backup.format.envelope import FORMAT, Sealing
from controlplane.backup.keys.keyfile import UserKey
from controlplane.backup.keys.ring import key_bytes, new_secrets, wrap
from controlplane.backup.repository import HEADER, SMALL, Header
from controlplane.backup.storage.store import Store


def init_repository(store: Store, key: UserKey, *, key_name: str, now: float, sealing: Sealing) -> Header:
    """Make an empty repository that `key` opens, and return its header.

    Of several calls at once, on any machines, one succeeds, and one key opens the repository: who creates the header
    writes the key. Where a store ignores that condition, who sees another key beside its own takes its own back; then
    it may be that none succeeds. Raises RepositoryExists in the other calls.
    """
    if name := present(store):
        raise RepositoryExists(f"{store.address} holds a repository already ({name} is there)")
    header = Header(uuid.uuid4().hex, now, sealing)
    stored = {"format": FORMAT, "id": header.id, "made_at": now, "sealing": sealing.name.lower()}
    if not store.create(HEADER, orjson.dumps(stored, option=orjson.OPT_INDENT_2)):
        raise RepositoryExists(f"{store.address} holds a repository: another `backup init` made it at this moment")
    own = f"keys/{key.id}"
    document = wrap(new_secrets(sealing), key, name=key_name, now=now)
    if store.create(own, key_bytes(document)) and {item.name for item in store.list("keys/")} <= {own}:
        return header
    with suppress(FileNotFoundError):
        if key_bytes(document) == store.get(own, SMALL):
            store.delete(own)
    raise RepositoryExists(
        f"{store.address}: another `backup init` ran at this moment, and its key opens the repository if it succeeded."
        f" If it failed too, delete {HEADER} there and run `backup init` again."
    )


def present(store: Store) -> str:
    """Return the name of something of a repository that is at the store, or ""."""
    return next((name for name in (HEADER, "keys/", "snapshots/", "packs/") if _exists(store, name)), "")


def _exists(store: Store, name: str) -> bool:
    if name.endswith("/"):
        return next(iter(store.list(name)), None) is not None
    try:
        store.get(name, SMALL)
    except FileNotFoundError:
        return False
    return True
