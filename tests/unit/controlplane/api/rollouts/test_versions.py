"""Versions and approvals over HTTP, on real files and a real database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.access.roles import Role
from controlplane.backup.content.reading import read_content
from controlplane.backup.errors import BackupError
from controlplane.fleet import model_versions
from controlplane.rollout.model import Phase, Plan, Rollout, RolloutKind, RolloutLimits
from controlplane.rollout.stored import records
from controlplane.store.audit import AuditStore
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.version_files import FilesApproval, Found, PlaceKind, VersionFileStore
from tests.unit.controlplane.api.conftest import CONFIG, NOW
from tests.unit.controlplane.backup.content.model_files import model
from tests.unit.controlplane.backup.world import write_files

A, B = "aa" * 32, "bb" * 32
URL = "/cp/v1/models/chat/versions"
DISK = Found("chat", "v1", PlaceKind.DISK, "/models/chat/v1", NOW, digest=A, files=5, bytes=7, facts={"format": "ONNX"})
COPY = Found(
    "chat", "v1", PlaceKind.BACKUP, "s1:chat/1", NOW, digest=A, files=5, bytes=7,
    snapshot="s1", stored_at=NOW - 60, host="node-7", by="ann",
)  # fmt: skip
PLAN = Plan("chat", "v1", "v2", RolloutKind.PROMOTE, "blue-green", (), False, "", RolloutLimits(1.0, 1.0, 1.0), (), ())


@pytest.fixture
def store(rig: Any) -> VersionFileStore:
    return VersionFileStore(rig.db)


def with_files(rig: Any, folder: Path) -> None:
    """Let fleet.yaml say where the files of chat are."""
    (section,) = CONFIG.models
    known = section.model_copy(update={"files": f"{folder}/{{version}}"})
    rig.config = CONFIG.model_copy(update={"models": (known,)})


def served(rig: Any, digest: str, **changes: Any) -> None:
    """Store a rollout that made v2 serve."""
    rollout = Rollout(
        "r-1", PLAN, Phase.SUCCEEDED, "done", "ann", NOW - 60, NOW - 30, NOW - 30, switched=True, digest=digest,
        finished_at=NOW - 30,
    )  # fmt: skip
    RolloutLog(rig.db).start(records.to_record(replace(rollout, **changes)))


async def items(rig: Any) -> dict[str, dict[str, Any]]:
    async with rig.client(Role.VIEWER) as client:
        answer = await client.get(URL)
    assert answer.status_code == 200, answer.text
    found = answer.json()["items"]
    assert len({item["version"] for item in found}) == len(found)
    return {item["version"]: item for item in found}


async def approve(rig: Any, body: dict[str, Any], version: str = "v2", role: Role = Role.OPERATOR) -> Any:
    async with rig.client(role) as client:
        return await client.post(f"{URL}/{version}/approval", json=body)


async def test_versions_of_fleet_yaml_of_which_nothing_is_known(rig: Any) -> None:
    found = await items(rig)
    assert list(found) == ["v1", "v2", "v3"]
    assert found["v2"] == {
        "version": "v2",
        "declared": True,
        "role": "idle",
        "traffic_share": found["v2"]["traffic_share"],
        "digest": None,
        "bytes": None,
        "facts": {},
        "disk": [],
        "backups": [],
        "approved": None,
        "served": None,
        "changed": "",
    }
    assert found["v1"]["role"] == "stable"


async def test_a_version_with_all_that_is_known_of_it(rig: Any, store: VersionFileStore) -> None:
    store.seen(DISK)
    store.seen(COPY)
    store.seen(replace(COPY, place="s2:.", snapshot="s2", stored_at=NOW, digest=B))
    store.seen(replace(COPY, place="s3:.", snapshot="s3", stored_at=NOW - 90, digest="", fault="a points out"))
    store.approve(FilesApproval("chat", "v1", A, NOW, "ann", reason="built by CI"))
    one = (await items(rig))["v1"]
    assert (one["digest"], one["bytes"], one["facts"], one["changed"]) == (A, 7, {"format": "ONNX"}, "")
    assert one["disk"] == [
        {
            "path": "/models/chat/v1",
            "digest": A,
            "files": 5,
            "bytes": 7,
            "seen_at": "2027-01-15T08:00:00.000Z",
            "changed_at": "2027-01-15T08:00:00.000Z",
            "fault": "",
        }
    ]
    assert [(copy["snapshot"], copy["folder"], copy["same"], copy["fault"]) for copy in one["backups"]] == [
        ("s2", ".", False, ""),
        ("s1", "chat/1", True, ""),
        ("s3", ".", None, "a points out"),
    ]
    assert one["approved"]["by"] == "ann"


async def test_files_that_are_not_the_approved_ones_are_said(rig: Any, store: VersionFileStore) -> None:
    store.approve(FilesApproval("chat", "v1", B, NOW, "ann"))
    store.seen(DISK)
    assert (await items(rig))["v1"]["changed"] == (
        "the files of v1 are not those that were approved by ann: their digest was bbbbbbbbbbbb and is aaaaaaaaaaaa"
    )


async def test_places_that_differ_or_are_not_known_now_give_no_digest(rig: Any, store: VersionFileStore) -> None:
    store.approve(FilesApproval("chat", "v1", A, NOW, "ann"))
    store.seen(DISK)
    store.seen(replace(DISK, place="/other/v1", digest=B))
    one = (await items(rig))["v1"]
    assert (one["digest"], one["changed"], one["facts"]) == (None, "", {})
    store.seen(replace(DISK, place="/other/v1", digest="", fault="away"))
    one = (await items(rig))["v1"]
    assert (one["digest"], one["disk"][1]["digest"], one["disk"][1]["fault"]) == (None, B, "away")


async def test_places_that_nobody_has_read_yet_are_shown(rig: Any, store: VersionFileStore) -> None:
    with_files(rig, Path("/models/chat"))
    store.seen(DISK)
    found = await items(rig)
    assert [place["fault"] for place in found["v1"]["disk"]] == [""]
    shown = [(place["path"], place["digest"], place["fault"]) for place in found["v2"]["disk"]]
    assert shown == [("/models/chat/v2", None, "its files were not read yet")]


async def test_versions_that_are_only_in_backups_come_last(rig: Any, store: VersionFileStore) -> None:
    store.seen(replace(COPY, version="v0"))
    found = await items(rig)
    assert list(found) == ["v1", "v2", "v3", "v0"]
    assert (found["v0"]["declared"], found["v0"]["role"], found["v0"]["digest"]) == (False, None, A)


async def test_the_rollout_that_made_a_version_serve_names_its_digest(rig: Any) -> None:
    served(rig, A)
    assert (await items(rig))["v2"]["served"] == {"rollout": "r-1", "at": "2027-01-15T07:59:30.000Z", "digest": A}


async def test_a_rollout_that_did_not_switch_made_nothing_serve(rig: Any) -> None:
    served(rig, A, switched=False, phase=Phase.FAILED)
    assert (await items(rig))["v2"]["served"] is None


async def test_the_files_on_disk_are_approved(rig: Any, store: VersionFileStore, tmp_path: Path) -> None:
    write_files(tmp_path / "v2", model())
    with_files(rig, tmp_path)
    answer = await approve(rig, {"reason": "tokenizer fixed "})
    digest = read_content(tmp_path / "v2").digest
    assert (answer.status_code, answer.json()["digest"], answer.json()["reason"]) == (200, digest, "tokenizer fixed")
    assert (await items(rig))["v2"]["approved"]["digest"] == digest
    (act,) = AuditStore(rig.db).recent(1)
    assert (act.action, act.subject) == ("files.approve", "model/chat")


async def test_files_are_approved_before_they_are_there(rig: Any, store: VersionFileStore) -> None:
    assert (await approve(rig, {"digest": A, "reason": "built by CI"})).status_code == 200
    approved = store.approved("chat", "v2")
    assert approved is not None
    assert approved.digest == A


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("none", "fleet.yaml does not say where the files of v2 are; set `files:` of chat, or name the digest with"),
        ("gone", "the files of v2 cannot be read: the disk is away"),
        ("slow", "the files of v2 are still being read; wait until `cp models versions` shows their digest"),
    ],
)
async def test_files_that_cannot_be_read_are_not_approved(
    rig: Any, store: VersionFileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    if fault != "none":
        with_files(rig, tmp_path)
    if fault == "gone":
        rig.reader.faults[tmp_path / "v2"] = BackupError("the disk is away")
    if fault == "slow":
        monkeypatch.setattr(model_versions, "PLAN_S", 0.05)
        rig.reader.hangs.add(tmp_path / "v2")
    answer = await approve(rig, {"reason": "x"})
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(words)
    assert store.approved("chat", "v2") is None


async def test_unknown_models_and_versions(rig: Any) -> None:
    async with rig.client(Role.VIEWER) as client:
        assert (await client.get("/cp/v1/models/none/versions")).status_code == 404
    answer = await approve(rig, {"digest": A, "reason": "x"}, "v9")
    assert (answer.status_code, answer.json()["detail"]) == (404, "fleet.yaml has no version v9 of a model chat")


@pytest.mark.parametrize("body", [{}, {"reason": " "}, {"reason": "x", "digest": "3f2a"}, {"reason": "x", "more": 1}])
async def test_a_body_without_sense_is_refused(rig: Any, body: dict[str, Any]) -> None:
    assert (await approve(rig, body)).status_code == 400
