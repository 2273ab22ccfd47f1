"""The verbs `models versions`, `models approve` and `models digest`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.backup.content.reading import read_content
from controlplane.cli.main import run
from tests.unit.controlplane.backup.content.model_files import model
from tests.unit.controlplane.backup.world import write_files

A, B = "a" * 64, "b" * 64
URL = "/cp/v1/models/chat/versions"
DISK = {"path": "/models/v1", "digest": A, "bytes": 1 << 30, "changed_at": "2027-01-15T08:00:00.000Z", "fault": ""}
COPY = {
    "snapshot": "s1", "folder": ".", "digest": A, "bytes": 1 << 30, "at": "2027-01-15T08:00:00.000Z", "host": "node-7",
    "by": "ann", "same": True, "fault": "",
}  # fmt: skip
FACTS = {"format": "safetensors", "quantisation": "BF16", "owner": "bob", "origin": f"hf:org/chat@{A[:40]}"}
V1: dict[str, Any] = {
    "version": "v1",
    "role": "stable",
    "traffic_share": 1.0,
    "digest": A,
    "facts": FACTS,
    "disk": [DISK],
    "backups": [COPY, {**COPY, "snapshot": "s2", "digest": B, "same": False}],
    "approved": {"by": "ann"},
    "served": {"rollout": "r-1", "digest": A},
    "changed": "",
}
GONE: dict[str, Any] = {
    **V1,
    "version": "v0",
    "role": None,
    "digest": None,
    "facts": {},
    "disk": [{**DISK, "digest": None, "bytes": None, "fault": "away\x1b[2J"}],
    "backups": [],
}
CHANGED = {**V1, "backups": [], "changed": "the files of v1 are not those that were approved"}


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_what_serves_what_is_on_disk_and_what_is_in_backups_are_rows(
    current: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    current.replies[f"GET {URL}"] = (200, {"items": [V1, GONE]})
    assert run(["models", "versions", "chat"]) == 0
    assert lines(capsys) == [
        "VERSION WHERE DIGEST SIZE FORMAT QUANTISATION FROM",
        "v1 stable 100% aaaaaaaaaaaa - safetensors BF16 rollout r-1 approved by ann",
        "v1 /models/v1 aaaaaaaaaaaa 1 GiB safetensors BF16 hf:org/chat@aaaaaaaaaaaa",
        "v1 backup s1 2027-01-15 08:00:00Z aaaaaaaaaaaa 1 GiB safetensors BF16 ann on node-7",
        "v1 backup s2 2027-01-15 08:00:00Z bbbbbbbbbbbb 1 GiB - - ann on node-7 not what is on disk",
        r"v0 /models/v1 - - - - - away\x1b[2J",
    ]


def test_changed_files_are_told_below_the_table(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies[f"GET {URL}"] = (200, {"items": [CHANGED]})
    assert run(["models", "versions", "chat"]) == 0
    found = lines(capsys)
    assert found[1].endswith("NOT WHAT WAS APPROVED")
    assert found[-1] == "v1: the files of v1 are not those that were approved"


def test_programs_get_the_whole_digest(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies[f"GET {URL}"] = (200, {"items": [V1]})
    assert run(["models", "versions", "chat", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["digest"] == A


@pytest.mark.parametrize(("words", "digest"), [([], None), (["--digest", A], A)])
def test_files_are_approved(
    current: Any, capsys: pytest.CaptureFixture[str], words: list[str], digest: str | None
) -> None:
    current.replies[f"POST {URL}/v2/approval"] = (200, {"digest": A})
    assert run(["models", "approve", "chat", "v2", "--reason", "fixed", *words]) == 0
    assert f"the files of v2 of chat with the digest {A} are approved" in capsys.readouterr().out
    assert current.requests[-1].body == {"digest": digest, "reason": "fixed"}


def test_a_digest_that_is_cut_off_is_wrong_usage(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "approve", "chat", "v2", "--reason", "x", "--digest", "3f2a"]) == 2
    assert "--digest 3f2a: expected a digest of 64 hex digits" in capsys.readouterr().err


def test_a_folder_is_read_without_a_control_plane(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path / "m", model())
    assert run(["models", "digest", str(tmp_path / "m")]) == 0
    found = lines(capsys)
    assert found[0] == f"{read_content(tmp_path / 'm').digest} {tmp_path}/m"
    assert found[1].startswith("5 files, ")
    assert "quantisation: BF16" in found
    assert run(["models", "digest", str(tmp_path / "gone")]) == 1
    assert capsys.readouterr().err == f"controlplane: {tmp_path}/gone cannot be read: No such file or directory\n"
