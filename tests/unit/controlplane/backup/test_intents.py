"""Intents: their age by the store's clock, and their end in every case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controlplane.backup.errors import StoreUnreachable
from controlplane.backup.intents import announced, intents, is_announced
from controlplane.backup.storage.store import Stored
from tests.fakes.backup_store import MemoryStore


def test_an_intent_is_there_for_the_block_also_when_it_fails() -> None:
    store = MemoryStore()
    with announced(store, "gpu-1", "backup of chat") as intent:
        assert is_announced(store, intent)
        assert store.objects[intent][0] == b'{"host":"gpu-1","work":"backup of chat"}'
    assert not is_announced(store, intent)
    with pytest.raises(KeyboardInterrupt), announced(store, "gpu-1", "verify"):
        raise KeyboardInterrupt
    assert store.objects == {}


def test_the_age_of_an_intent_counts_by_the_clock_of_the_store() -> None:
    store = MemoryStore()
    with announced(store, "gpu-1", "backup") as first:
        store.now += 100.0
        with announced(store, "gpu-2", "backup") as second:
            store.now += 20.0
            assert intents(store) == {first: 120.0, second: 20.0}
    assert intents(store) == {}
    assert store.objects == {}, "the probe stays behind"


def test_a_store_whose_lists_are_late_is_told() -> None:
    class Late(MemoryStore):
        def list(self, prefix: str) -> Iterator[Stored]:
            yield from ()

    store = Late()
    told = r"the store took the object probes/\w+ and does not list it: its lists are late"
    with pytest.raises(StoreUnreachable, match=told):
        intents(store)
    assert store.objects == {}, "the probe stays behind"


def test_an_intent_that_another_process_deleted_is_gone_and_no_error() -> None:
    store = MemoryStore()
    with announced(store, "gpu-1", "backup") as intent:
        store.delete(intent)
        assert not is_announced(store, intent)
