"""Intents: who reads or writes the repository now. A prune deletes nothing that they may use.

An intent is put before its owner reads the index. Its age counts by the store's clock, which a probe object shows:
clocks of machines differ, and an owner that was killed leaves its intent behind.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import orjson

from controlplane.backup.errors import StoreUnreachable
from controlplane.backup.storage.store import Store

ABANDONED_AFTER_S: Final = 24 * 3600.0
"""Seconds after which an intent no longer counts. Its owner then sees that it is gone, and checks its packs."""


@contextmanager
def announced(store: Store, host: str, work: str) -> Iterator[str]:
    """Put an intent for the duration of the block, and yield its name."""
    name = f"intents/{uuid.uuid4().hex}"
    try:  # before the put: a Ctrl-C may come right after it
        store.put(name, orjson.dumps({"host": host, "work": work}))
        yield name
    finally:
        store.delete(name)


def is_announced(store: Store, intent: str) -> bool:
    """Return whether the intent is still there."""
    return any(item.name == intent for item in store.list("intents/"))


def store_now(store: Store) -> float:
    """Return the time by the store's clock, Unix seconds, as a new object shows it.

    Raises StoreUnreachable for a store that does not list the object that it just took.
    """
    probe = f"probes/{uuid.uuid4().hex}"
    try:
        store.put(probe, b"now")
        for item in store.list("probes/"):
            if item.name == probe:
                return item.modified_at
        raise StoreUnreachable(
            f"the store took the object {probe} and does not list it: its lists are late, or another program deletes "
            "there; use a store whose lists show an object at once"
        )
    finally:
        store.delete(probe)


def intents(store: Store) -> dict[str, float]:
    """Return the age of every intent, in seconds of the store's clock, by name."""
    now = store_now(store)
    return {item.name: now - item.modified_at for item in store.list("intents/")}
