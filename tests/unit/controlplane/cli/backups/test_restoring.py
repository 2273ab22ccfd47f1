"""`backup restore` in the place of a folder: what it would change, and the Triton that has to load it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

from tests.fakes.stored_triton import StoredTriton
from tests.unit.controlplane.backup.world import content
from tests.unit.controlplane.cli.backups.conftest import Machine


def model(machine: Machine, weights: str, version: str = "1") -> Path:
    """Write a version of the model chat. Return its weights."""
    (machine.models / "chat" / "config.pbtxt").write_text('{"version_policy": {"all": {}}}')
    path = machine.models / "chat" / version / "weights"
    path.parent.mkdir(exist_ok=True)
    path.write_text(weights)
    return path


async def restored(machine: Machine, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Restore in the place of the models, while the fake Triton of this loop answers."""
    return await asyncio.to_thread(machine.backup, "restore", "models", machine.models, "--replace", *words, code=code)


def beside(machine: Machine) -> list[str]:
    return [path.name.rpartition("-")[0] for path in machine.home.iterdir() if path.name.startswith(".models")]


def test_a_dry_run_names_each_path_that_would_change_and_the_bytes(machine: Machine) -> None:
    machine.backup("create", machine.models)
    words = ("restore", "models", machine.models, "--replace", "--dry-run")
    assert "nothing would change" in machine.backup(*words).stdout
    (machine.models / "chat" / "1" / "model.bin").unlink()
    (machine.models / "chat" / "config.pbtxt").write_text("broken")
    (machine.models / "chat" / "2").mkdir()
    (machine.models / "chat" / "2" / "new.bin").write_bytes(bytes(2048))
    before = content(machine.models)
    done = machine.backup(*words).stdout
    # The folder chat/1 and the folder chat have other times now, and folders are compared by their permissions.
    rows = [line.split() for line in done.splitlines()[1:5]]
    assert [(row[0], row[-1]) for row in rows] == [
        ("added", "chat/1/model.bin"),
        ("removed", "chat/2"),
        ("removed", "chat/2/new.bin"),
        ("changed", "chat/config.pbtxt"),
    ]
    assert "1 added, 2.86 MiB; 1 changed, 13 B; 2 removed, 2 KiB; compared by size, time and permissions" in done
    assert content(machine.models) == before


def test_a_version_is_named_by_its_option_too(machine: Machine) -> None:
    machine.backup("create", machine.models, "--name", "chat", "--version", "v1")
    machine.backup("create", machine.models, "--name", "chat", "--version", "v2")
    newest = machine.backup("show", "chat@v1").stdout.split()[0]
    assert newest in machine.backup("restore", "chat", machine.home / "out", "--version", "v1").stdout
    words = ("restore", "chat@v1", machine.home / "other", "--version", "v1")
    assert "names a version already" in machine.backup(*words, code=2).stderr
    assert "no snapshot 'chat@v9'" in machine.backup(
        "restore", "chat", machine.home / "other", "--version", "v9", code=2
    ).stderr  # fmt: skip


async def test_triton_loads_the_restored_folder_and_the_old_one_goes(machine: Machine) -> None:
    weights = model(machine, "good")
    machine.backup("create", machine.models)
    weights.write_text("rotten")
    async with StoredTriton(machine.models) as triton:
        triton.start("chat")
        dry = (await restored(machine, "--to-triton", triton.url, "--dry-run")).stdout
        assert f"{triton.url} answers, and would then load chat, or those of them that it has loaded" in dry
        assert triton.orders == [] and weights.read_text() == "rotten"
        done = (await restored(machine, "--to-triton", triton.url)).stdout
        assert f"{triton.url} has loaded chat 1 from {machine.models}" in done
        assert "is not needed any more and may be deleted" in done and triton.serves("chat") == {1: "good"}
        assert beside(machine) == [".models.before"]
        done = (await restored(machine, "--to-triton", triton.url, "--model", "chat", "--delete-old")).stdout
        assert re.search(r"The old folder \S+/\.models\.before-\w+ is deleted\.", done)
        assert beside(machine) == [".models.before"], "only the folder of this restore is deleted"


async def test_a_refusal_brings_the_old_folder_back_and_a_poller_is_not_believed(machine: Machine) -> None:
    weights = model(machine, "bad: no such operator")
    machine.backup("create", machine.models)
    weights.write_text("works")
    async with StoredTriton(machine.models) as triton:
        triton.start("chat")
        failed = await restored(machine, "--to-triton", triton.url, "--delete-old", code=1)
        assert "bad: no such operator" in failed.stderr and "is the old folder again" in failed.stderr
        assert weights.read_text() == "works" and triton.serves("chat") == {1: "works"}
        assert beside(machine) == [".models.refused"]
        triton.mode = "poll"
        unsure = await restored(machine, "--to-triton", triton.url, "--delete-old", "--load-timeout", 1, code=1)
        assert "takes no orders: waiting 1 s at most" in unsure.stdout
        assert "cannot be seen from outside" in unsure.stderr.replace("\n", " ")
        assert sorted(beside(machine)) == [".models.before", ".models.refused"], "the old folder stays"


def test_what_does_not_fit_together_and_a_triton_that_is_down_change_nothing(machine: Machine) -> None:
    machine.backup("create", machine.models)
    (machine.models / "chat" / "config.pbtxt").write_text("mine")
    before = content(machine.models)
    words = ("restore", "models", machine.models, "--replace")
    nowhere = ("--to-triton", "http://127.0.0.1:9")
    for options, code, said in (
        (("--delete-old",), 2, "--delete-old needs --to-triton URL"),
        (("--model", "chat"), 2, "--model needs --to-triton URL"),
        (("--to-triton", "localhost:8000"), 2, "such as http://127.0.0.1:8000"),
        ((*nowhere, "--model", "gone"), 2, "the snapshot has no model gone; it has chat"),
        ((*nowhere, "--load-timeout", "0"), 2, "expected a whole number from 1"),
        (nowhere, 1, "nothing was restored: http://127.0.0.1:9 did not answer"),
    ):
        assert said in machine.backup(*words, *options, code=code).stderr
    out = machine.home / "out"
    assert "leave --file and" in machine.backup("restore", "models", out, *nowhere, "--file", "chat", code=2).stderr
    assert content(machine.models) == before and beside(machine) == [] and not os.path.lexists(out)
