"""`backup key` in a subprocess: a second key, a lost one, a removed one, and new data keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controlplane.backup.keys.keyfile import read_key
from tests.unit.controlplane.cli.backups.conftest import Machine


def ids(machine: Machine, *more: object) -> list[str]:
    found = json.loads(machine.backup("key", "list", "-o", "json", *more).stdout)
    return [row["id"] for row in found["keys"]]


@pytest.fixture
def ready(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.models.mkdir()
    (machine.models / "model.bin").write_bytes(b"weights" * 1000)
    machine.backup("init")
    machine.backup("create", machine.models, "--name", "chat", "--version", "v1")
    return machine


def test_a_lost_key_is_replaced_by_the_second_one(ready: Machine) -> None:
    second, third = ready.home / "second.key", ready.home / "third.key"
    done = ready.backup("key", "add", second)
    assert f"It is in {second}. Whoever has this file can read all backups" in done.stdout
    assert second.stat().st_mode & 0o777 == 0o600
    again = ready.backup("key", "add", second).stdout
    assert again.endswith(f"in {second} opens {ready.repository.as_uri()} already, with all its data keys\n")
    lost = read_key(ready.key).id
    ready.key.unlink()
    assert "cannot be read" in ready.backup("list", code=1).stderr
    # The list needs no key file: it shows which keys there are to look for.
    shown = ready.backup("key", "list")
    assert lost in shown.stdout and "cannot be read" in shown.stderr

    ready.environment["CP_BACKUP_KEY_FILE"] = str(second)
    refused = ready.backup("key", "remove", lost, code=2)
    assert "no terminal to ask: add --yes" in refused.stderr and lost in ids(ready)
    removed = ready.backup("key", "remove", lost[:6], "--yes")
    assert removed.stdout.startswith(f"key {lost} does not open") and "backup key rotate" in removed.stdout
    ready.backup("key", "add", third, "--name", "the safe")
    rows = [" ".join(line.split()) for line in ready.backup("key", "list").stdout.splitlines()]
    assert [row.split(" ")[0] for row in rows[1:3]] == [read_key(second).id, read_key(third).id]
    assert "the safe" in rows[2] and rows[1].endswith("all this one")
    ready.backup("restore", "chat", ready.home / "restored", "--key-file", third)
    assert (ready.home / "restored" / "model.bin").read_bytes() == b"weights" * 1000


def test_the_last_key_stays_and_an_unknown_one_is_named(ready: Machine) -> None:
    own = read_key(ready.key).id
    assert "must keep one that opens it" in ready.backup("key", "remove", own, "--yes", code=1).stderr
    assert "has no key abc" in ready.backup("key", "remove", "abc", "--yes", code=1).stderr
    assert "which opens the repository already" in ready.backup("key", "add", ready.key, code=2).stderr
    assert ids(ready) == [own]


def test_a_rotation_needs_every_key_file_and_then_all_of_them_read_old_and_new_data(ready: Machine) -> None:
    second = ready.home / "second.key"
    ready.backup("key", "add", second, "--name", "second")
    refused = ready.backup("key", "rotate", code=1).stderr
    assert f"are missing: {read_key(second).id} (second)." in refused and "Nothing was changed" in refused
    assert "new data key, of epoch 0001" in ready.backup("key", "rotate", "--other", second).stdout
    (ready.models / "more.bin").write_bytes(b"other" * 1000)
    ready.backup("create", ready.models, "--name", "chat", "--version", "v2")
    for file in (ready.key, second):
        listed = ready.backup("list", "--key-file", file).stdout
        assert "v1" in listed and "v2" in listed
        assert "is whole" in ready.backup("verify", "--key-file", file).stdout
        ready.backup("restore", "chat@v2", ready.home / file.stem, "--key-file", file)
        assert (ready.home / file.stem / "model.bin").read_bytes() == b"weights" * 1000
    assert "2 data keys" in ready.backup("key", "list").stdout
    # A prune packs what is left of half-empty packs again, with the new data key.
    ready.backup("prune", "--yes")
    assert "is whole" in ready.backup("verify").stdout


def test_a_wrong_key_file_and_a_wrong_word_are_said_with_the_cure(ready: Machine, tmp_path: Path) -> None:
    stranger = Machine(tmp_path / "stranger")
    stranger.home.mkdir()
    stranger.backup("init")
    for words in (("add", ready.home / "x.key"), ("remove", "abc", "--yes"), ("rotate",)):
        refused = ready.backup("key", *words, "--key-file", stranger.key, code=1).stderr
        assert f"it knows the keys {read_key(ready.key).id}" in refused
    assert not (ready.home / "x.key").exists()  # no file of a key that opens nothing
    assert "does not open this repository" in ready.backup("key", "list", "--key-file", stranger.key).stderr
    other = ready.backup("key", "rotate", "--other", stranger.key, code=1).stderr
    assert f"{stranger.key} does not open" in other and "add it first" in other
    for wrong, says in (
        (("add",), "needs the new key file"),
        (("remove",), "needs the id of a key"),
        (("list", "x"), "takes no further word"),
        (("rotate", "--yes"), "--yes is for backup key remove"),
        (("list", "--name", "x"), "--name is for backup key add"),
        (("turn",), "expected one of list, add, remove, rotate"),
    ):
        assert says in ready.backup("key", *wrong, code=2).stderr
    nowhere = ready.backup("key", "add", ready.home / "etc" / "x.key", code=2).stderr
    assert "its folder does not exist; make it with `mkdir -p -m 700" in nowhere
    assert "holds no repository" in ready.backup("key", "list", "--repository", ready.home / "no", code=1).stderr


def test_keys_of_a_repository_that_is_not_encrypted_are_told_to_be_no_protection(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.backup("init", "--no-encryption")
    says = "The backups are not encrypted: everybody who can read the repository can read them without any key."
    assert says in machine.backup("key", "rotate").stdout
    machine.backup("key", "add", "second.key")
    assert says in machine.backup("key", "remove", read_key(tmp_path / "second.key").id, "--yes").stdout


def test_a_list_has_a_limit(ready: Machine) -> None:
    ready.backup("create", ready.models, "--name", "rank")
    ready.backup("create", ready.models, "--name", "chat", "--version", "v2")

    def listed(*more: object) -> list[tuple[str, str]]:
        found = json.loads(ready.backup("list", "-o", "json", *more).stdout)
        return [(row["subject"], row["version"]) for row in found]

    assert listed("--limit", 2) == [("chat", "v2"), ("rank", "")]
    assert listed("--limit", 9) == [("chat", "v2"), ("rank", ""), ("chat", "v1")]
    assert listed("--limit", 1, "--subject", "rank") == [("rank", "")]
    assert "expected a whole number from 1" in ready.backup("list", "--limit", 0, code=2).stderr
