"""Folders that must not contain each other, and deletions that wait until every snapshot can be read."""

from __future__ import annotations

from pathlib import Path

from tests.unit.controlplane.cli.backups.conftest import Machine


def test_a_repository_in_the_folder_that_is_backed_up_is_refused(machine: Machine) -> None:
    said = machine.backup("create", machine.repository.parent, code=2).stderr
    assert "must not contain each other" in said


def test_a_replacement_that_would_lose_a_folder_is_refused(machine: Machine) -> None:
    machine.backup("create", machine.models, "--name", "all")
    (machine.models / "new").mkdir()
    said = machine.backup("restore", "all", machine.models, "--replace", code=2).stderr
    assert "has new, which the snapshot lacks" in said
    assert (machine.models / "new").is_dir()


def test_prune_deletes_nothing_while_a_snapshot_cannot_be_read(machine: Machine) -> None:
    for _ in range(2):
        machine.backup("create", machine.models, "--name", "all")
    heads: list[Path] = sorted((machine.repository / "snapshots").iterdir())
    heads[-1].write_bytes(heads[-1].read_bytes()[:-1] + b"x")
    said = machine.backup("prune", "--keep-last", "1", "--yes", code=1).stderr
    assert "nothing is deleted while a snapshot cannot be read" in said
    assert sorted((machine.repository / "snapshots").iterdir()) == heads


def test_a_name_that_holds_a_version_is_refused(machine: Machine) -> None:
    assert "--version" in machine.backup("create", machine.models, "--name", "llama@2", code=2).stderr
    machine.backup("create", machine.models, "--name", "llama")
    assert "names no snapshot" in machine.backup("show", "llama@", code=2).stderr
    assert "names no snapshot" in machine.backup("show", "", code=2).stderr
