"""A whole run of one process between any two calls of another: backups, prunes and restores beside each other."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from controlplane.backup.errors import PacksGone
from controlplane.backup.format.envelope import Kind
from controlplane.backup.intents import announced
from controlplane.backup.pruning.prune import prune
from controlplane.backup.reading.verify import verify
from controlplane.backup.repository import Repository
from tests.fakes.backup_store import MemoryStore
from tests.unit.controlplane.backup.world import (
    KEY,
    Clock,
    content,
    create,
    new_store,
    restore,
    same_bucket,
    snapshots,
    write_files,
)

pytestmark = pytest.mark.usefixtures("small_packs")
Act = Callable[[MemoryStore], object]


class Beside:
    """Starts from the same objects each time, and runs `inner` before one operation of `outer`."""

    def __init__(self, start: MemoryStore) -> None:
        self.start = start

    def operations(self, act: Act) -> int:
        store = MemoryStore(dict(self.start.objects))
        act(store)
        return store.operations

    def run(self, outer: Act, inner: Act, at: int) -> MemoryStore:
        store = MemoryStore(dict(self.start.objects))
        inside = same_bucket(store)

        def before(number: int, what: str) -> None:
            if number == at:
                inner(inside)

        store.before = before
        outer(store)
        return same_bucket(store)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_files(tmp_path / "models", {"1/model.bin": random.Random(1).randbytes(9 << 20), "config.pbtxt": b"x"})
    return tmp_path / "models"


def pruned(store: MemoryStore) -> None:
    prune(Repository.open(store, [KEY]), host="here")


def forgotten_and_pruned(store: MemoryStore) -> None:
    """Delete every snapshot of `gone`, as retention does, and prune."""
    for snapshot in snapshots(store):
        if snapshot.subject == "gone":
            store.delete(f"snapshots/{snapshot.id}")
    pruned(store)


def check(store: MemoryStore, tmp_path: Path, expected: dict[str, tuple[object, ...]], subjects: set[str]) -> None:
    found = snapshots(store)
    assert {snapshot.subject for snapshot in found} >= subjects
    for number, snapshot in enumerate(found):
        folder = tmp_path / f"out-{store.operations}-{number}"
        restore(store, snapshot, folder)
        assert content(folder) == expected
    assert verify(Repository.open(store, [KEY])).good


def test_a_prune_between_any_two_calls_of_a_backup_that_reuses_what_the_prune_deletes(
    models: Path, tmp_path: Path
) -> None:
    start = new_store()
    create(start, models, "gone")
    beside = Beside(start)
    expected = content(models)
    refused = 0
    for at in range(beside.operations(lambda store: create(store, models, "kept"))):
        made = True

        def backup(store: MemoryStore) -> None:
            nonlocal made, refused
            try:
                create(store, models, "kept")
            except PacksGone:
                made, refused = False, refused + 1

        store = beside.run(backup, forgotten_and_pruned, at)
        pruned(store)
        check(store, tmp_path / f"{at}", expected, {"kept"} if made else set())
    assert refused > 0, "no backup met a list that was newer than itself: the test does not reach the race"


def test_a_backup_between_any_two_calls_of_a_prune(models: Path, tmp_path: Path) -> None:
    start = new_store()
    create(start, models, "gone")
    beside = Beside(start)
    expected = content(models)
    for at in range(beside.operations(forgotten_and_pruned)):
        store = beside.run(forgotten_and_pruned, lambda inside: create(inside, models, "kept"), at)
        check(store, tmp_path / f"{at}", expected, {"kept"})
        pruned(store)
        check(store, tmp_path / f"again-{at}", expected, {"kept"})


def test_a_prune_between_any_two_calls_of_a_prune(models: Path, tmp_path: Path) -> None:
    start = new_store()
    # Two writers that did not see each other stored the same chunks twice: each prune may choose another copy.
    other = MemoryStore(dict(start.objects))
    create(start, models, "one", clock=Clock())
    create(other, models, "two", clock=Clock())
    start.objects.update(other.objects)
    beside = Beside(start)
    expected = content(models)
    for at in range(beside.operations(pruned)):
        store = beside.run(pruned, pruned, at)
        check(store, tmp_path / f"{at}", expected, {"one", "two"})
    store.now += 1.0
    pruned(store)
    assert sum(len(data) for name, (data, _) in store.objects.items() if name.startswith("packs/")) < 10 << 20


def test_two_lists_that_rely_on_each_others_packs_delete_neither(models: Path, tmp_path: Path) -> None:
    store, other = new_store(), new_store()
    other.objects = dict(store.objects)
    create(store, models, "one")
    create(other, models, "two")
    first, second = ({name[9:] for name in one.objects if name.startswith("packs/")} for one in (store, other))
    store.objects.update(other.objects)
    repository = Repository.open(store, [KEY])
    for packs in (first, second):
        name = repository.write_list("garbage", Kind.GARBAGE, orjson.dumps(sorted(packs)))
        store.put(name.replace("garbage/", "waits/"), b"[]")
    result = prune(Repository.open(store, [KEY]), host="here")
    assert set(result.rescued) == first | second
    check(store, tmp_path / "out", content(models), {"one", "two"})


def test_two_backups_beside_each_other_make_two_whole_snapshots(models: Path, tmp_path: Path) -> None:
    beside = Beside(new_store())
    expected = content(models)

    def one(store: MemoryStore) -> None:
        create(store, models, "one")

    def two(store: MemoryStore) -> None:
        create(store, models, "two")

    for at in range(beside.operations(one)):
        check(beside.run(one, two, at), tmp_path / f"{at}", expected, {"one", "two"})


def test_a_prune_waits_for_a_backup_and_not_for_one_that_was_killed_a_day_ago(models: Path) -> None:
    store = new_store()
    create(store, models, "gone")
    packs = sum(name.startswith("packs/") for name in store.objects)
    store.put("intents/abandoned", b"{}")
    for snapshot in snapshots(store):
        store.delete(f"snapshots/{snapshot.id}")
    result = prune(Repository.open(store, [KEY]), host="here")
    assert (result.deleted, result.waiting, result.waits_for) == (0, packs, ("intents/abandoned",))
    store.now += 86_399.0
    assert prune(Repository.open(store, [KEY]), host="here").deleted == 0
    store.now += 1.0
    assert prune(Repository.open(store, [KEY]), host="here").deleted == packs
    assert not [name for name in store.objects if name.startswith(("intents/", "waits/", "garbage/", "probes/"))]


def own_packs(store: MemoryStore) -> list[str]:
    return sorted(name.rpartition("/")[2] for name in store.objects if name.startswith("packs/"))


def test_packs_that_a_run_has_just_written_may_be_on_a_list_while_its_intent_is_there(models: Path) -> None:
    store = new_store()
    inside = same_bucket(store)

    def before(number: int, what: str) -> None:
        if what.startswith("put snapshots/"):
            result = prune(Repository.open(inside, [KEY]), host="here")
            assert (result.deleted, result.waiting) == (0, len(own_packs(inside)))

    store.before = before
    create(store, models)
    result = prune(Repository.open(inside, [KEY]), host="here")
    assert (result.deleted, sorted(result.rescued)) == (0, own_packs(inside))
    assert verify(Repository.open(inside, [KEY])).good


@pytest.mark.parametrize("moment", ["put snapshots/", "list intents/"])
def test_a_run_whose_intent_is_gone_fails_when_a_list_names_a_pack_that_it_has_just_written(
    models: Path, moment: str
) -> None:
    # A prune has ended the old intent and read the snapshots, and will delete the packs next.
    store = new_store()
    inside = same_bucket(store)
    listed: list[str] = []

    def before(number: int, what: str) -> None:
        if what.startswith(moment) and not listed:
            listed.extend(own_packs(inside))
            for name in [name for name in inside.objects if name.startswith("intents/")]:
                inside.delete(name)
            Repository.open(inside, [KEY]).write_list("garbage", Kind.GARBAGE, orjson.dumps(listed))

    store.before = before
    with pytest.raises(PacksGone, match="took so long that a prune deletes packs of it"):
        create(store, models)
    assert listed != []
    assert snapshots(inside) == []


def test_the_end_of_an_earlier_prune_between_any_two_calls_of_a_backup(models: Path, tmp_path: Path) -> None:
    # A prune listed packs while another backup ran: that list does not wait for the backup that begins now.
    start = new_store()
    create(start, models, "gone")
    with announced(same_bucket(start), "other", "backup"):
        forgotten_and_pruned(same_bucket(start))
    assert any(name.startswith("garbage/") for name in start.objects)
    beside = Beside(start)
    expected = content(models)
    for at in range(beside.operations(lambda store: create(store, models, "kept"))):
        store = beside.run(lambda store: create(store, models, "kept"), pruned, at)
        check(store, tmp_path / f"{at}", expected, {"kept"})


def test_a_backup_of_new_bytes_between_any_two_calls_of_a_prune(models: Path, tmp_path: Path) -> None:
    beside = Beside(new_store())
    expected = content(models)
    for at in range(beside.operations(pruned)):
        store = beside.run(pruned, lambda inside: create(inside, models, "kept"), at)
        check(store, tmp_path / f"{at}", expected, {"kept"})
