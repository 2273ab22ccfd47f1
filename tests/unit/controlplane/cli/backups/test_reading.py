"""`backup list|show|diff|verify|restore|prune` in a subprocess, over real folders."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from controlplane.cli.backups import restoring
from tests.unit.controlplane.backup.world import content
from tests.unit.controlplane.cli.backups.conftest import Machine


def flip(path: Path, offset: int) -> None:
    """Change one byte of a file."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def special(models: Path) -> None:
    """Add what is easily lost: modes, links, hard links, empty folders, old times."""
    chat = models / "chat"
    (chat / "2").mkdir()
    (chat / "2" / "model.bin").hardlink_to(chat / "1" / "model.bin")
    (chat / "latest").symlink_to("2")
    (models / "ensemble" / "1").mkdir(parents=True)
    (chat / "config.pbtxt").chmod(0o640)
    (chat / "1").chmod(0o750)
    for path in (chat / "config.pbtxt", chat / "1", models / "ensemble" / "1", models / "ensemble", chat, models):
        os.utime(path, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))


def test_a_restore_brings_everything_back_and_refuses_a_folder_that_exists(machine: Machine) -> None:
    special(machine.models)
    if os.geteuid() == 0:
        os.chown(machine.models / "chat" / "config.pbtxt", 1234, 4321)
    expected, out = content(machine.models), machine.home / "out"
    machine.backup("create", machine.models)
    assert "restored 2 files, 2.86 MiB" in machine.backup("restore", "models", out).stdout
    assert content(out) == expected
    if os.geteuid() == 0:
        status = (out / "chat" / "config.pbtxt").stat()
        assert (status.st_uid, status.st_gid) == (1234, 4321)
    assert "--replace" in machine.backup("restore", "models", out, code=2).stderr
    assert content(out) == expected


def test_replace_keeps_the_old_folder_beside_the_restored_one(machine: Machine) -> None:
    special(machine.models)
    expected = content(machine.models)
    machine.backup("create", machine.models)
    (machine.models / "chat" / "config.pbtxt").write_text("broken")
    broken = content(machine.models)
    done = machine.backup("restore", "models", machine.models, "--replace")
    assert content(machine.models) == expected
    (old,) = machine.home.glob(".models.before-*")
    assert f"The old folder is {old}." in done.stdout
    assert content(old) == broken
    assert list(machine.home.glob(".models.restoring-*")) == []


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_replace_refuses_a_link_and_a_file(machine: Machine, kind: str) -> None:
    machine.backup("create", machine.models)
    out = machine.home / "out"
    if kind == "file":
        out.write_text("precious")
    else:
        out.symlink_to("models" if kind == "link" else "nowhere")
    assert "is a link or a file" in machine.backup("restore", "models", out, "--replace", code=2).stderr
    assert out.is_symlink() or out.read_text() == "precious"


def test_some_files_a_dry_run_and_names_that_match_nothing(machine: Machine) -> None:
    machine.backup("create", machine.models, "--version", "v1")
    out = machine.home / "out"
    assert "would write 2 files" in machine.backup("restore", "models@v1", out, "--dry-run").stdout
    assert not out.exists()
    machine.backup("restore", "models", out, "--file", "chat/1")
    assert [str(path.relative_to(out)) for path in sorted(out.rglob("*"))] == ["chat", "chat/1", "chat/1/model.bin"]
    assert "no file or folder 'x'" in machine.backup("restore", "models", out / "y", "--file", "x", code=1).stderr
    assert "no snapshot 'nothing'" in machine.backup("restore", "nothing", out / "y", code=2).stderr
    assert "whole snapshot" in machine.backup("restore", "models", out, "--replace", "--file", "chat", code=2).stderr


def test_damage_is_named_with_its_files_and_the_next_backup_heals_it(machine: Machine) -> None:
    machine.backup("create", machine.models)
    assert "everything that was read is whole" in machine.backup("verify").stdout
    largest = max(machine.packs(), key=lambda path: path.stat().st_size)
    flip(largest, 1_000_000)
    machine.backup("restore", "models", machine.home / "out", code=1)
    assert not (machine.home / "out").exists()
    assert list(machine.home.glob(".out.*")) == []
    done = machine.backup("verify", code=1)
    assert largest.name in done.stdout and "cannot restore chat/1/model.bin" in done.stdout
    assert "config.pbtxt" not in done.stdout
    assert " 0 B new" not in machine.backup("create", machine.models).stdout
    machine.backup("verify")
    for snapshot in json.loads(machine.backup("list", "-o", "json").stdout):
        out = machine.home / snapshot["id"]
        machine.backup("restore", snapshot["id"], out)
        assert content(out) == content(machine.models)


def test_a_lost_pack_is_named_and_healed_too(machine: Machine) -> None:
    machine.backup("create", machine.models)
    max(machine.packs(), key=lambda path: path.stat().st_size).unlink()
    # The list of files may be in the same pack: then the files are not known.
    assert "cannot restore " in machine.backup("verify", code=1).stdout
    machine.backup("create", machine.models)
    machine.backup("verify")


def test_a_difference_is_named_by_path_and_by_exit_code(machine: Machine) -> None:
    machine.backup("create", machine.models, "--version", "v1")
    (machine.models / "chat" / "config.pbtxt").write_text("another")
    (machine.models / "chat" / "1" / "model.bin").unlink()
    machine.backup("create", machine.models, "--version", "v2")
    rows = json.loads(machine.backup("diff", "models@v1", "models@v2", "-o", "json", code=1).stdout)
    assert [(row["path"], row["change"], row["new_bytes"]) for row in rows] == [
        ("chat/1/model.bin", "removed", None),
        ("chat/config.pbtxt", "changed", 7.0),
    ]
    said = machine.backup("diff", "models@v1", "models@v2", code=1).stderr
    assert said == "controlplane: the snapshots differ in 2 paths\n"
    assert "are equal" in machine.backup("diff", "models@v1", "models@v1").stdout


def test_prune_shows_first_asks_and_keeps_the_newest_of_each_version(machine: Machine) -> None:
    for version in ("v1", "v2", "v2"):
        (machine.models / "chat" / "1" / "model.bin").write_bytes(os.urandom(3_000_000))
        machine.backup("create", machine.models, "--version", version)
    words = ("prune", "--keep-last", 1)
    dry = machine.backup(*words, "--dry-run").stdout
    header, *rows = (line.split(maxsplit=3) for line in dry.splitlines()[:-1])
    assert header == ["ID", "SUBJECT", "VERSION", "DECISION"]
    kept = ["keep: the newest of models v1", "DELETE", "keep: the newest of models v2, last"]
    assert [row[3] for row in rows] == kept
    assert re.search(r"1 snapshot would be deleted, and 2\.8\d MiB would be freed", dry)
    assert "add --yes" in machine.backup(*words, code=2).stderr
    assert len(machine.packs()) > 0 and len(json.loads(machine.backup("list", "-o", "json").stdout)) == 3
    assert "deleted 1 snapshot and " in machine.backup(*words, "--yes").stdout
    versions = [one["version"] for one in json.loads(machine.backup("list", "-o", "json").stdout)]
    assert versions == ["v2", "v1"]
    machine.backup("verify")
    assert "deleted 0 snapshots and 0 packs" in machine.backup("prune", "--yes").stdout


def test_prune_keeps_the_last_good_snapshot_and_one_with_each_path(machine: Machine) -> None:
    weights = machine.models / "chat" / "1" / "model.bin"
    (machine.models / "chat" / "2").mkdir()
    (machine.models / "chat" / "2" / "model.bin").write_bytes(os.urandom(3_000_000))
    machine.backup("create", machine.models)
    (machine.models / "chat" / "2" / "model.bin").unlink()
    (machine.models / "chat" / "2").rmdir()
    for number in range(3):
        packs = set(machine.packs())
        weights.write_bytes(os.urandom(3_000_000 + number))
        machine.backup("create", machine.models)
    flip(max(set(machine.packs()) - packs, key=lambda path: path.stat().st_size), 1_000_000)
    machine.backup("verify", code=1)
    words = ("prune", "--keep-last", 1, "--keep-path", "chat/2/")
    rows = [line.split(maxsplit=3)[3] for line in machine.backup(*words, "--dry-run").stdout.splitlines()[1:5]]
    assert rows == [
        *("keep: has chat/2", "DELETE", "keep: the newest whole one of models", "keep: the newest of models, last")
    ]
    machine.backup(*words, "--yes")
    whole = json.loads(machine.backup("list", "-o", "json").stdout)[1]
    machine.backup("restore", whole["id"], machine.home / "out")


def test_prune_of_one_subject_leaves_the_snapshots_of_the_others(machine: Machine) -> None:
    for name in ("chat", "embed", "chat", "embed"):
        machine.backup("create", machine.models, "--name", name, "--read-all")
    machine.backup("prune", "--keep-last", 1, "--subject", "chat", "--yes")
    assert [one["subject"] for one in json.loads(machine.backup("list", "-o", "json").stdout)] == [
        "embed",
        "chat",
        "embed",
    ]


def test_verify_and_create_give_their_result_as_data(machine: Machine) -> None:
    made = json.loads(machine.backup("create", machine.models, "--name", "chat", "-o", "json").stdout)
    (listed,) = json.loads(machine.backup("list", "-o", "json").stdout)
    assert made["notes"] == [] and made["new_bytes"] >= 3_000_000
    assert {**listed, "notes": []} == made
    verdict = json.loads(machine.backup("verify", "-o", "json").stdout)
    assert (verdict["good"], verdict["snapshots"], verdict["touched"]) == (True, 1, [])
    for pack in machine.packs():
        pack.write_bytes(bytes(pack.stat().st_size))
    done = machine.backup("verify", "-o", "json", code=1)
    assert json.loads(done.stdout)["good"] is False and "the repository is damaged" in done.stderr


def test_a_reader_that_a_prune_will_not_wait_for_says_so_beside_its_result(machine: Machine) -> None:
    machine.backup("create", machine.models)
    shutil.rmtree(machine.repository / "intents", ignore_errors=True)
    (machine.repository / "intents").write_text("")  # also root cannot write below it
    for words in (("verify",), ("test-restore", "models", machine.home / "scratch")):
        done = machine.backup(*words, "-o", "json")
        assert isinstance(json.loads(done.stdout), dict)
        assert "a prune that runs meanwhile will not wait for this" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to every folder")
def test_a_repository_that_is_read_only_can_be_verified_and_restored(machine: Machine) -> None:
    machine.backup("create", machine.models)
    folders = [machine.repository, *(path for path in machine.repository.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    try:
        assert "could not be written to the repository" in machine.backup("verify").stdout
        machine.backup("restore", "models", machine.home / "out")
    finally:
        for folder in folders:
            folder.chmod(0o700)


def test_the_stores_time_of_a_snapshot_is_shown_and_a_machine_whose_clock_is_wrong_is_named(machine: Machine) -> None:
    machine.backup("create", machine.models, "--name", "chat")
    (head,) = (machine.repository / "snapshots").iterdir()
    os.utime(head, (1_700_000_000, 1_700_000_000))
    listed = machine.backup("list")
    assert "2023-11-14 22:13:20Z" in listed.stdout
    assert re.search(r"the clock of \S+ was \d+ d.* ahead of the repository's when it made 20", listed.stderr)
    (row,) = json.loads(machine.backup("list", "-o", "json").stdout)
    assert row["stored_at"] == "2023-11-14T22:13:20Z"


def test_partial_restores_what_is_whole_and_names_what_is_not(machine: Machine) -> None:
    machine.backup("create", machine.models)
    flip(max(machine.packs(), key=lambda path: path.stat().st_size), 1_000_000)
    out = machine.home / "out"
    assert "restore a part of it" in machine.backup("restore", "models", out, "--partial", "--replace", code=2).stderr
    done = machine.backup("restore", "models", out, "--partial", code=1)
    assert "not restored: chat/1/model.bin: " in done.stdout and "the lines above name what it lacks" in done.stderr
    assert [str(path.relative_to(out)) for path in sorted(out.rglob("*"))] == ["chat", "chat/1", "chat/config.pbtxt"]


def test_ctrl_c_during_a_restore_says_that_the_folder_is_as_it_was(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.backup("create", machine.models)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(restoring, "write_tree", interrupted)
    to = machine.home / "restored"
    with pytest.raises(KeyboardInterrupt):
        restoring.restore(
            "models",
            to,
            str(machine.repository),
            machine.key,
            version=None,
            file=None,
            replace=False,
            partial=False,
            to_triton=None,
            model=None,
            load_timeout=1,
            delete_old=False,
            dry_run=False,
        )
    assert capsys.readouterr().err == f"  ended: {to} is as it was before\n"
    assert not to.exists()


def test_a_whole_id_needs_no_other_head(machine: Machine) -> None:
    machine.backup("create", machine.models)
    machine.backup("create", machine.models)
    newest, older = json.loads(machine.backup("list", "-o", "json").stdout)
    (machine.repository / "snapshots" / newest["id"]).write_bytes(b"damaged")
    for verb in ("show", "contents"):
        assert machine.backup(verb, older["id"]).stderr == ""
    gone = machine.backup("show", older["id"][:-8] + "00000000", code=2).stderr
    assert "the repository has no snapshot" in gone and f"left out: snapshots/{newest['id']}" in gone
    assert f"left out: snapshots/{newest['id']}" in machine.backup("show", newest["id"], code=2).stderr
