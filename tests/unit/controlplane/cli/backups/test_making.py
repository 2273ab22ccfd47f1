"""`backup init` and `backup create` in a subprocess: first use, keys, moving folders, a full disk, Ctrl-C."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from controlplane.cli.backups import making
from controlplane.cli.errors import WrongUsage
from tests.patience import PROCESS_S, wait_until
from tests.unit.controlplane.cli.backups.conftest import PROGRAM, Machine


def snapshots(machine: Machine) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(machine.backup("list", "-o", "json").stdout)
    return found


def test_the_first_use_names_what_is_missing_and_init_says_what_to_keep(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert f"the key file {machine.key} cannot be read" in machine.backup("list", code=1).stderr
    done = machine.backup("init")
    assert f"The key is in {machine.key}. Copy it to another place now" in done.stdout
    assert machine.key.stat().st_mode & 0o777 == 0o600
    assert machine.backup("list").stdout == "no snapshots\n"
    before = machine.key.read_bytes()
    again = machine.backup("init", code=1).stderr
    assert "holds a repository already" in again and "For a new repository choose another address" in again
    assert machine.key.read_bytes() == before
    second = machine.backup("init", "--repository", machine.home / "second").stdout.splitlines()
    assert second[1] == f"Its key is the one that was in {machine.key} already."


def test_a_key_file_without_its_folder_is_named_with_the_cure(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    key = machine.home / "etc" / "backup.key"
    message = machine.backup("init", "--key-file", key, code=2).stderr
    cure = f"its folder does not exist; make it with `mkdir -p -m 700 {key.parent}`"
    assert message == f"controlplane: the key file {key} cannot be written: {cure}\n"


def test_a_key_file_that_this_user_may_not_write_is_named_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(path: Path, _: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(making, "write_key", refused)
    with pytest.raises(WrongUsage, match="Permission denied; name another file with --key-file, or run this as a user"):
        making.init(str(tmp_path / "repository"), tmp_path / "key", no_encryption=False)


def test_a_folder_with_other_files_is_no_place_for_a_repository(tmp_path: Path) -> None:
    (tmp_path / "models" / "chat").mkdir(parents=True)
    (tmp_path / "models" / "chat" / "config.pbtxt").write_text("name: 'chat'")
    with pytest.raises(WrongUsage, match=r"holds other files, such as chat/config\.pbtxt: a repository needs"):
        making.init(str(tmp_path / "models"), tmp_path / "key", no_encryption=False)
    assert not (tmp_path / "key").exists()
    (tmp_path / "empty").mkdir()
    making.init(str(tmp_path / "empty"), tmp_path / "key", no_encryption=False)


def test_a_snapshot_of_a_version_is_named_as_other_verbs_take_it(machine: Machine) -> None:
    said = machine.backup("create", machine.models / "chat", "--version", "v2").stdout
    assert " of chat@v2: 2 files" in said
    rows = machine.backup("list").stdout.splitlines()
    assert rows[1].split()[3:5] == ["chat", "v2"]
    assert machine.backup("list", "--subject", "caht").stdout == "no snapshots of caht; there are some of chat\n"
    machine.backup("create", machine.models / "chat")
    assert machine.backup("list").stdout.splitlines()[1].split()[3:5] == ["chat", "-"]


def test_of_two_inits_at_once_one_succeeds_and_the_other_leaves_no_key_file(tmp_path: Path) -> None:
    environment = {**os.environ, "CP_BACKUP_REPOSITORY": (tmp_path / "repository").as_uri()}
    keys = [tmp_path / "one.key", tmp_path / "two.key"]
    runs = [
        subprocess.Popen(
            [*PROGRAM, "backup", "init", "--key-file", str(key)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for key in keys
    ]
    said = [run.communicate(timeout=PROCESS_S) for run in runs]
    codes = [run.returncode for run in runs]
    assert sorted(codes) == [0, 1], said
    assert "holds a repository" in said[codes.index(1)][1]
    assert [key.exists() for key in keys] == [code == 0 for code in codes]
    assert len(list((tmp_path / "repository" / "keys").iterdir())) == 1


def test_a_folder_without_a_repository_is_named_with_the_cure(machine: Machine) -> None:
    elsewhere = machine.home / "elsewhere"
    message = machine.backup("list", "--repository", elsewhere, code=1).stderr
    assert "holds no repository" in message and "backup init --repository" in message


@pytest.mark.parametrize("variable", ["CP_BACKUP_REPOSITORY", "CP_BACKUP_KEY_FILE"])
def test_an_option_that_is_missing_is_named_with_its_variable(machine: Machine, variable: str) -> None:
    del machine.environment[variable]
    assert variable in machine.backup("list", code=2).stderr


def test_another_key_and_a_file_that_is_no_key_open_nothing_and_are_not_shown(machine: Machine) -> None:
    other, secret = machine.home / "other.key", machine.home / "secret.txt"
    machine.backup("init", "--repository", machine.home / "second", "--key-file", other)
    assert "no key opens" in machine.backup("list", "--key-file", other, code=1).stderr
    secret.write_text("hunter2\n")
    done = machine.backup("list", "--key-file", secret, code=1)
    assert f"{secret} is not a key file" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_an_unchanged_folder_adds_next_to_nothing(machine: Machine) -> None:
    assert "of chat: 2 files, 2.86 MiB, 2.8" in machine.backup("create", machine.models / "chat").stdout
    assert "of chat: 2 files, 2.86 MiB, 0 B new" in machine.backup("create", machine.models / "chat").stdout


def test_parts_are_one_snapshot_and_a_part_outside_the_folder_is_refused(machine: Machine) -> None:
    for name in ("rag/1", "embed/1"):
        (machine.models / name).mkdir(parents=True)
    (machine.models / "embed" / "1" / "m").write_bytes(b"m")
    parts = ("--part", "rag", "--part", "embed/1", "--part", "rag", "--part", "rag/1")
    machine.backup("create", machine.models, "--name", "rag", *parts)
    entries = json.loads(machine.backup("show", "rag", "-o", "json").stdout)["entries"]
    assert [entry["path"] for entry in entries] == [".", "embed", "embed/1", "embed/1/m", "rag", "rag/1"]
    machine.backup("restore", "rag", machine.home / "out")
    for outside in ("../models", "/etc"):
        assert "is no folder below" in machine.backup("create", machine.models, "--part", outside, code=1).stderr


def test_a_missing_shard_refuses_the_snapshot(machine: Machine) -> None:
    folder = machine.models / "chat"
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (folder / shards["a"]).write_bytes(b"a")
    done = machine.backup("create", folder, code=1)
    assert f"names 1 files that are missing: {shards['b']}" in done.stderr
    assert snapshots(machine) == []
    (folder / shards["b"]).write_bytes(b"b")
    machine.backup("create", folder)


def test_links_whose_files_are_not_in_the_snapshot_are_told(machine: Machine) -> None:
    cache = machine.models / "models--a--b"
    (cache / "blobs").mkdir(parents=True)
    (cache / "blobs" / "abc").write_bytes(b"weights")
    (cache / "snapshots" / "1").mkdir(parents=True)
    (cache / "snapshots" / "1" / "model.bin").symlink_to("../../blobs/abc")
    assert "links" not in machine.backup("create", cache).stdout
    done = machine.backup("create", cache / "snapshots" / "1")
    assert "links that point to nothing in the snapshot: 1, such as model.bin -> ../../blobs/abc" in done.stdout


def test_a_full_disk_is_named_and_leaves_no_snapshot(machine: Machine) -> None:
    machine.backup("create", machine.models, "--name", "old")
    (machine.models / "chat" / "1" / "model.bin").write_bytes(os.urandom(3_000_000))

    def small_files() -> None:
        # As ENOSPC, a file that may not grow fails in the middle of a write.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    done = machine.backup("create", machine.models, "--name", "new", code=1, before=small_files)
    assert "is full: packs/" in done.stderr
    assert [one["subject"] for one in snapshots(machine)] == ["old"]
    assert list(machine.repository.rglob(".partial-*")) == []
    machine.backup("create", machine.models, "--name", "new")


def test_ctrl_c_leaves_no_snapshot_and_no_traceback(machine: Machine) -> None:
    intents = machine.repository / "intents"
    large = machine.models / "chat" / "large.bin"
    with large.open("wb") as file:
        file.truncate(64 << 30)  # zeros that take no space, and long to read
    words = [*PROGRAM, "backup", "create", str(machine.models)]
    process = subprocess.Popen(
        words, env=machine.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: intents.is_dir() and list(intents.glob("[!.]*")))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PROCESS_S)
    finally:
        process.kill()
    large.unlink()
    told = "  ended: no snapshot was made. The next backup uses what is stored already\n"
    assert (process.returncode, out, err) == (130, "", told)
    assert list(intents.iterdir()) == []
    assert snapshots(machine) == []
    machine.backup("create", machine.models)


def test_a_tag_without_a_value_is_refused(machine: Machine) -> None:
    assert "--tag x: expected NAME=VALUE" in machine.backup("create", machine.models, "--tag", "x", code=2).stderr
