"""Changes of keys: each verb alone, killed at every operation, and beside another one at every operation."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError, Damaged, KeysBusy, StoreUnreachable, WrongKey
from controlplane.backup.format.envelope import Kind, Secrets, open_whole, seal_whole
from controlplane.backup.keys.changing import LEFT_AFTER_S, WORK, add_key, known_keys, remove_key, rotate
from controlplane.backup.keys.epochs import READY, STEP, check_current, epoch_path, read_epochs, wrapped_epoch
from controlplane.backup.keys.keyfile import UserKey
from controlplane.backup.pruning.prune import prune
from controlplane.backup.reading.verify import verify
from controlplane.backup.repository import Repository, open_secrets, read_header
from controlplane.backup.sources.walk import Source
from controlplane.backup.writing.create import About, Options, create_snapshot
from tests.fakes.backup_store import Killed, MemoryStore
from tests.unit.controlplane.backup.world import (
    KEY,
    Clock,
    create,
    new_store,
    restore,
    same_bucket,
    snapshots,
    write_files,
)

BOB, EVE = UserKey(bytes(range(32, 64))), UserKey(bytes(range(64, 96)))
Change = Callable[[MemoryStore], object]


def secrets_of(store: MemoryStore, key: UserKey = KEY) -> Secrets:
    return open_secrets(store, read_header(store), [key])


def opens(store: MemoryStore, key: UserKey) -> bool:
    try:
        secrets_of(store, key)
    except WrongKey:
        return False
    return True


def add(store: MemoryStore, new: UserKey = BOB, own: UserKey = KEY) -> bool:
    return add_key(store, read_header(store), own, new, name="bob", now=5.0, host="a")


def remove(store: MemoryStore, gone: UserKey = BOB, own: UserKey = KEY) -> None:
    remove_key(store, read_header(store), own, gone.id, host="a")


def turn(store: MemoryStore, *others: UserKey, own: UserKey = KEY) -> int:
    return rotate(store, read_header(store), own, {f"file {key.id}": key for key in others}, now=6.0, host="a")


def with_bob() -> MemoryStore:
    store = new_store()
    add(store)
    return store


def seal(store: MemoryStore, key: UserKey = KEY) -> bytes:
    return seal_whole(Kind.READS, b"words", secrets_of(store, key))


def read(store: MemoryStore, data: bytes, key: UserKey) -> bytes:
    return open_whole("x", data, Kind.READS, secrets_of(store, key))


def test_a_second_key_opens_everything_and_each_may_be_removed_by_the_other() -> None:
    store = new_store()
    old = seal(store)
    first = turn(store)
    new = seal(store)
    assert add(store)
    assert not add(store)  # a second time it changes nothing
    assert [read(store, data, BOB) for data in (old, new)] == [b"words", b"words"]
    assert [(key.id, key.name, key.lacks) for key in known_keys(store)[0]] == [(KEY.id, "test", 0), (BOB.id, "bob", 0)]
    remove(store, KEY, own=BOB)
    assert (opens(store, KEY), opens(store, BOB)) == (False, True)
    assert [name for name in store.objects if KEY.id in name] == []
    assert read(store, new, BOB) == b"words" and secrets_of(store, BOB).epoch == first


def test_the_key_in_use_and_thus_the_last_one_cannot_be_removed() -> None:
    store = new_store()
    before = dict(store.objects)
    with pytest.raises(BackupError, match=r"must keep one that opens it.*another key file with --key-file"):
        remove(store, KEY)
    with pytest.raises(BackupError, match=f"has no key {BOB.id}"):
        remove(store, BOB)
    assert store.objects == before


def test_new_data_needs_the_new_data_key_and_old_data_keeps_its_own() -> None:
    store = with_bob()
    before = secrets_of(store)
    old = seal(store)
    epochs = [turn(store, BOB), turn(store, KEY, own=BOB)]
    new = seal(store)
    assert [epoch // STEP for epoch in epochs] == [1, 2]
    assert secrets_of(store).epoch == secrets_of(store, BOB).epoch == epochs[-1]
    assert [read(store, data, key) for data in (old, new) for key in (KEY, BOB)] == [b"words"] * 4
    with pytest.raises(Damaged, match=rf"needs the data key of epoch {epochs[-1]:08x}.*run this again"):
        open_whole("x", new, Kind.READS, before)
    with pytest.raises(BackupError, match=r"rotated while this ran.*Run this again"):
        check_current(store, before)
    assert secrets_of(store).chunk_secret == before.chunk_secret  # all epochs share chunks


def test_a_rotation_without_the_file_of_every_key_changes_nothing_and_names_the_key() -> None:
    store = with_bob()
    before = dict(store.objects)
    with pytest.raises(BackupError, match=rf"missing: {BOB.id} \(bob\)\. Name them with --other"):
        turn(store)
    with pytest.raises(WrongKey, match=f"file {EVE.id} does not open memory://test"):
        turn(store, BOB, EVE)
    assert store.objects == before


def test_a_wrong_key_file_changes_nothing() -> None:
    store = new_store()
    before = dict(store.objects)
    for change in (lambda: add(store, BOB, own=EVE), lambda: remove(store, KEY, own=EVE), lambda: turn(store, own=EVE)):
        with pytest.raises(WrongKey, match=f"knows the keys {KEY.id}, and the key files hold {EVE.id}"):
            change()
    assert store.objects == before


def test_a_key_that_lost_a_data_key_writes_nothing_until_another_gives_it_back() -> None:
    store = with_bob()
    old = seal(store)
    epoch = turn(store, BOB)
    new = seal(store)
    store.delete(epoch_path(epoch, BOB.id))
    assert [key.lacks for key in known_keys(store)[0]] == [0, 1]
    assert read(store, old, BOB) == b"words"
    with pytest.raises(WrongKey, match=f"lacks the newest data key .epoch {epoch:08x}; it has 00000000"):
        seal(store, BOB)  # never with an older data key, which others may know
    with pytest.raises(BackupError, match="lacks one of them"):
        add(store, EVE, own=BOB)
    assert not opens(store, EVE)
    assert add(store, BOB)
    assert read(store, new, BOB) == b"words"


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"format": 1, "wrapped": "AAAA"}', b"\xff"])
def test_damaged_objects_of_a_key_are_written_again(damage: bytes) -> None:
    store = with_bob()
    epoch = turn(store, BOB)
    for place in (f"keys/{BOB.id}", epoch_path(epoch, BOB.id)):
        store.put(place, damage)
        assert add(store)
        assert secrets_of(store, BOB) == secrets_of(store)


def test_no_data_key_passes_for_that_of_another_epoch() -> None:
    store = new_store()
    leaked = turn(store)
    newest = turn(store)
    store.put(epoch_path(newest, KEY.id), wrapped_epoch(leaked, secrets_of(store).data_keys[leaked], KEY))
    with pytest.raises(WrongKey, match="lacks the newest data key"):
        seal(store)


def test_a_store_that_lies_about_a_write_ends_the_rotation_before_the_epoch_counts() -> None:
    store = with_bob()

    class Lying(MemoryStore):
        def put(self, name: str, data: object) -> None:
            super().put(name, b"zeros" if name.startswith("epochs/") else data)  # type: ignore[arg-type]

    with pytest.raises(StoreUnreachable, match="was written and reads differently"):
        turn(Lying(store.objects), BOB)
    assert secrets_of(store).epoch == 0
    assert turn(store, BOB) == secrets_of(store, BOB).epoch


def test_names_that_are_no_epochs_are_left_out() -> None:
    store = new_store()
    for name in ("x/ready", "00000001/ready", "0001/ready", "ffffffffff/ready", "0001ABCD/ready", "-0010001/ready"):
        store.put(f"epochs/{name}", b"{}")
    assert read_epochs(store).ready == frozenset() and secrets_of(store).epoch == 0


# --- Crashes: the process ends at each operation in turn. ---

CHANGES: dict[str, tuple[Callable[[], MemoryStore], Change]] = {
    "add": (lambda: _turned(new_store()), add),
    "remove": (lambda: _turned(with_bob(), BOB), remove),
    "rotate": (with_bob, lambda store: turn(store, BOB)),
}


def _turned(store: MemoryStore, *others: UserKey) -> MemoryStore:
    turn(store, *others)
    return store


def operations(name: str) -> int:
    make, change = CHANGES[name]
    store = same_bucket(make())
    change(store)
    return store.operations


@pytest.mark.parametrize(("name", "at"), [(name, at) for name in CHANGES for at in range(operations(name))])
def test_a_change_that_was_killed_loses_nothing_and_its_repetition_ends_it(name: str, at: int) -> None:
    make, change = CHANGES[name]
    store = make()
    old = seal(store)
    dying = same_bucket(store)
    dying.kill_at = at
    with pytest.raises(Killed):
        change(dying)

    new = seal(store)
    readers = [key for key in (KEY, BOB) if opens(store, key)]
    assert KEY in readers
    assert {read(store, data, key) for data in (old, new) for key in readers} == {b"words"}
    if list(store.list("intents/")):
        with pytest.raises(KeysBusy, match=r"on a\. Nothing was changed.*wait 15 minutes"):
            change(store)
    store.now += LEFT_AFTER_S
    try:
        change(store)
    except BackupError as error:  # it had ended
        assert name == "remove" and "has no key" in str(error)
    newest = seal(store)
    readers = [KEY] if name == "remove" else [KEY, BOB]
    assert [key for key in (KEY, BOB) if opens(store, key)] == readers
    assert {read(store, data, key) for data in (old, new, newest) for key in readers} == {b"words"}
    if name == "remove":
        assert [item for item in store.objects if BOB.id in item] == []


# --- Two changes at once: a whole second one between any two operations of the first. ---

PAIRS: dict[str, tuple[Change, Change]] = {
    "two rotations": (lambda store: turn(store, BOB), lambda store: turn(store, KEY, own=BOB)),
    "both remove each other": (lambda store: remove(store, BOB), lambda store: remove(store, KEY, own=BOB)),
    "add and rotate": (lambda store: add(store, EVE), lambda store: turn(store, BOB)),
    "rotate and add": (lambda store: turn(store, BOB), lambda store: add(store, EVE)),
    "rotate and remove": (lambda store: turn(store, BOB), lambda store: remove(store, BOB)),
}


def length(change: Change) -> int:
    store = same_bucket(with_bob())
    change(store)
    return store.operations


@pytest.mark.parametrize("notes", [True, False], ids=["with notes", "without notes"])
@pytest.mark.parametrize(("pair", "at"), [(pair, at) for pair, (one, _) in PAIRS.items() for at in range(length(one))])
def test_two_changes_at_once_lose_nothing(pair: str, at: int, notes: bool) -> None:
    """Without notes: one process slept for longer than its note counts."""
    first, second = PAIRS[pair]
    store = with_bob()
    written = [seal(store)]
    outer, refused = same_bucket(store), []

    def beside(number: int, what: str) -> None:
        if number != at:
            return
        if not notes:
            store.now += LEFT_AFTER_S
        try:
            second(store)
        except BackupError as error:
            refused.append(error)
        written.extend(seal(store, key) for key in (KEY, BOB) if opens(store, key))

    outer.before = beside
    try:
        first(outer)
    except BackupError as error:
        refused.append(error)
    if pair == "rotate and add":
        assert [key.lacks for key in known_keys(store)[0] if key.lacks] == []
    left = [key for key in (KEY, BOB, EVE) if opens(store, key)]
    assert left  # never is the last key removed
    written.append(seal(store, left[0]))
    for data in written:
        assert any(_reads(store, data, key) for key in left)
    for key in left:  # whoever lacks something gets it from one that has all
        whole = max(left, key=lambda one: len(secrets_of(store, one).data_keys))
        store.now += LEFT_AFTER_S
        if key != whole:
            add(store, key, own=whole)
        assert {_reads(store, data, key) for data in written} == {True}


def _reads(store: MemoryStore, data: bytes, key: UserKey) -> bool:
    try:
        return read(store, data, key) == b"words"
    except Damaged:
        return False


def test_what_began_before_a_rotation_takes_nothing_for_damaged_and_deletes_nothing(tmp_path: Path) -> None:
    store = new_store()
    write_files(tmp_path / "a", {"x": b"one" * 1000})
    create(store, tmp_path / "a")
    verifying, pruning, backing = (Repository.open(store, [KEY]) for _ in range(3))
    turn(store)
    write_files(tmp_path / "a", {"y": b"two" * 1000})
    newer = create(store, tmp_path / "a")
    with pytest.raises(BackupError, match=r"rotated while this ran.*Run this again"):
        verify(verifying)
    assert not any(name.startswith("damage/") for name in store.objects)
    with pytest.raises(BackupError, match=r"rotated while this ran.*Run this again"):
        prune(pruning, host="a")
    write_files(tmp_path / "b", {"z": b"three" * 1000})
    create_snapshot(backing, Source(tmp_path / "b"), About("b"), options=Options(lanes=1, now=Clock()))
    assert verify(Repository.open(store, [KEY])).good
    assert sorted(one.subject for one in snapshots(store)) == ["b", "chat", "chat"]
    restore(store, newer, tmp_path / "restored")
    assert (tmp_path / "restored" / "x").read_bytes() == b"one" * 1000


def test_a_backup_ends_well_when_the_keys_are_rotated_and_another_job_prunes_meanwhile(tmp_path: Path) -> None:
    store = new_store()
    write_files(tmp_path / "gone", {"w": b"gone" * 1000})
    write_files(tmp_path / "kept", {"x": b"kept" * 1000})
    gone = create(store, tmp_path / "gone", "gone")
    inside = same_bucket(store)

    def before(_: int, what: str) -> None:
        if what.startswith("put packs/") and f"snapshots/{gone.id}" in inside.objects:
            turn(inside)
            inside.delete(f"snapshots/{gone.id}")
            result = prune(Repository.open(inside, [KEY]), host="b")
            assert result.waits_for != () and any(name.startswith("garbage/") for name in inside.objects)

    store.before = before
    kept = create(store, tmp_path / "kept", "kept")
    prune(Repository.open(inside, [KEY]), host="b")
    assert [one.subject for one in snapshots(inside)] == ["kept"]
    assert verify(Repository.open(inside, [KEY])).good
    restore(inside, kept, tmp_path / "restored")
    assert (tmp_path / "restored" / "x").read_bytes() == b"kept" * 1000


def test_a_note_of_other_work_is_no_obstacle_and_a_change_leaves_none() -> None:
    store = new_store()
    store.put("intents/one", b'{"host": "b", "work": "backup"}')
    store.put("intents/two", b"no JSON")
    turn(store)
    assert sorted(item.name for item in store.list("intents/")) == ["intents/one", "intents/two"]
    store.put("intents/three", f'{{"host": "b", "work": "{WORK}"}}'.encode())
    with pytest.raises(KeysBusy, match="on b"):
        turn(store)
    assert len([name for name in store.objects if name.endswith(READY)]) == 1
    assert re.fullmatch(r"epochs/0001[0-9a-f]{4}/ready", next(name for name in store.objects if name.endswith(READY)))
