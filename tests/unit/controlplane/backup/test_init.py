"""Two `backup init` at once: a whole run of one between any two calls of the other."""

from __future__ import annotations

import pytest

from controlplane.backup.errors import RepositoryExists, WrongKey
from controlplane.backup.format.envelope import Sealing
from controlplane.backup.initial import init_repository
from controlplane.backup.keys.keyfile import UserKey
from controlplane.backup.repository import Repository
from tests.fakes.backup_store import MemoryStore

OURS, THEIRS = UserKey(bytes(range(32))), UserKey(bytes(range(1, 33)))


def init(store: MemoryStore, key: UserKey) -> bool:
    """Return whether it succeeded."""
    try:
        init_repository(store, key, key_name="test", now=1.0, sealing=Sealing.AES_256_GCM)
    except RepositoryExists:
        return False
    return True


def operations() -> int:
    store = MemoryStore()
    init(store, OURS)
    return store.operations


def beside(at: int, key: UserKey, *, conditions: bool = True) -> tuple[MemoryStore, list[bool]]:
    """Run one init with `key` before operation `at` of another. Return the store, and who of both succeeded."""
    store = MemoryStore()
    inside = MemoryStore(store.objects)
    store.conditions = inside.conditions = conditions
    inner: list[bool] = []

    def before(number: int, what: str) -> None:
        if number == at:
            inner.append(init(inside, key))

    store.before = before
    outer = init(store, OURS)
    return inside, [outer, *inner]


@pytest.mark.parametrize("key", [OURS, THEIRS], ids=["the same key file", "another key file"])
@pytest.mark.parametrize("at", range(operations()))
def test_exactly_one_succeeds_and_its_key_opens_the_repository(at: int, key: UserKey) -> None:
    store, succeeded = beside(at, key)
    assert sorted(succeeded) == [False, True]
    winner = [OURS, key][succeeded.index(True)]
    Repository.open(store, [winner])
    assert [name for name in store.objects if name.startswith("keys/")] == [f"keys/{winner.id}"]


@pytest.mark.parametrize("at", range(operations()))
def test_a_store_that_ignores_conditions_never_has_two_keys(at: int) -> None:
    store, succeeded = beside(at, THEIRS, conditions=False)
    assert succeeded != [True, True]
    keys = [name for name in store.objects if name.startswith("keys/")]
    assert len(keys) == sum(succeeded)
    for key, won in zip((OURS, THEIRS), succeeded, strict=True):
        if won:
            Repository.open(store, [key])


def test_an_init_that_was_killed_is_named_with_its_cure() -> None:
    store = MemoryStore()
    store.kill_at = operations() - 2
    with pytest.raises(BaseException, match="create keys/"):
        init(store, OURS)
    with pytest.raises(WrongKey, match=r"has no key.*delete repository\.json there and run `backup init` again"):
        Repository.open(MemoryStore(store.objects), [OURS])
