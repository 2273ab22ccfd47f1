"""`check` on `backup:`: what the jobs need on this machine, and whether anybody is told when one fails."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from controlplane.app.check import inspect_file
from controlplane.app.checks import backups as checks
from controlplane.backup.keys.keyfile import new_key, write_key

BACKUP = """
backup:
  repository: {repository}
  key_file: {key}
  jobs:
    - {{name: models, folder: {folder}, schedule: "@daily"}}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A machine on which all is as it should be."""
    write_key(tmp_path / "backup.key", new_key())
    (tmp_path / "models").mkdir()
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "repository.json").write_text("{}")
    return tmp_path


def told(
    home: Path, repository: str = "repository", key: str = "backup.key", folder: str = "models", rules: str = "backups"
) -> list[str]:
    path = home / "fleet.yaml"
    address = repository if ":" in repository else (home / repository).as_uri()
    backup = BACKUP.format(repository=address, key=key, folder=folder)
    path.write_text(f"fleet: {{name: a}}\nrules: [{rules and f'builtin:{rules}'}]{backup}")
    found = [str(finding) for finding in inspect_file(path).findings]
    return [line.replace(f"{home}/", "") for line in found if "warning: backup" in line]


def test_a_machine_with_all_that_it_needs_has_no_finding(home: Path) -> None:
    assert told(home) == []
    assert told(home, repository="s3://bucket/llm") == []
    assert told(home, repository=str(home / "repository")) == []


def test_without_a_rule_on_backups_nobody_is_told(home: Path) -> None:
    says = "no rule watches the backups, so nobody is told when one fails or is too old; add builtin:backups to rules:"
    for rules in ("", "gpu"):
        assert told(home, rules=rules) == [f"fleet.yaml:3: warning: backup: {says}"]
    (home / "own.yml").write_text(
        "groups: [{name: a, rules: [{alert: A, expr: controlplane_backup_failed > 0, labels: {severity: warning}}]}]"
    )
    path = home / "fleet.yaml"
    path.write_text(path.read_text().replace("builtin:gpu", "own.yml"))
    assert [found for found in inspect_file(path).warnings if "no rule watches" in str(found)] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": "gone.key"}, "backup.key_file: the key file gone.key cannot be read: No such file"),
        ({"key": "models"}, "backup.key_file: the key file models cannot be read: Is a directory"),
        ({"key": "fleet.yaml"}, "backup.key_file: fleet.yaml is not a key file of a backup repository"),
        ({"repository": "gone"}, "backup.repository: the folder gone does not exist here. `controlplane backup init`"),
        ({"repository": "models"}, "backup.repository: models holds no repository: `controlplane backup init` makes"),
        ({"folder": "gone"}, "backup.jobs[0].folder: the folder gone does not exist here, so its backups will fail"),
        ({"folder": "backup.key"}, "backup.jobs[0].folder: the folder backup.key does not exist here"),
        ({"folder": "repository/x"}, "repository/x is in the repository repository; move it to another place"),
        ({"folder": "."}, "so each backup would back up all others; move one of them"),
        ({"folder": "."}, "so the backups would hold their own key; move it"),
    ],
)
def test_each_fault_is_told_with_its_place_and_cure(home: Path, change: dict[str, str], says: str) -> None:
    found = told(home, **change)
    assert any(says in line for line in found), found


def test_a_link_does_not_hide_that_folders_lie_in_each_other(home: Path) -> None:
    (home / "models" / "deep").mkdir()
    (home / "elsewhere").symlink_to(home / "repository")
    (home / "inside").symlink_to(home / "repository" / "packs")
    (home / "loop").symlink_to(home / "loop")
    assert any("is in the repository" in line for line in told(home, repository="elsewhere", folder="inside"))
    assert any("does not exist here" in line for line in told(home, folder="loop"))


def test_a_field_that_cannot_be_read_hides_no_other_fault(home: Path) -> None:
    assert told(home, key="[]", folder="gone") == [
        "fleet.yaml:7: warning: backup.jobs[0].folder: the folder gone does not exist here, so its backups will fail"
    ]


def test_a_key_file_that_others_may_read_is_told(home: Path) -> None:
    (home / "backup.key").chmod(0o640)
    (line,) = told(home)
    assert line.endswith("backup.key can be read or written by other users than its owner: run chmod 600 backup.key")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_this_user_may_not_enter_are_told(home: Path) -> None:
    for name in ("models", "repository"):
        (home / name).chmod(0)
    assert sorted(line.rpartition(": ")[2].split(" the ")[0] for line in told(home)) == [
        "this user may not read",
        "this user may not read and write",
    ]


def test_a_file_system_that_hangs_does_not_hold_the_check(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(checks, "PATIENCE_S", 0.05)
    monkeypatch.setattr(checks, "read_key", lambda path: release.wait())
    try:
        (line,) = told(home)
    finally:
        release.set()
    says = "its folders and files did not answer within 0.05 s: is a network file system away?"
    assert line == f"fleet.yaml:3: warning: backup: {says}"
