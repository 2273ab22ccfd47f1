"""The shape of a list of snapshots, and the models that no backup job names."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.backup.jobs.listing import Listing
from controlplane.config.model import Fleet
from controlplane.fleet.snapshots import snapshot_list, unnamed_models

HEAD = {
    "id": "20270115T060000Z-abc",
    "subject": "chat",
    "version": "",
    "stored_at": "2027-01-15T06:00:00Z",
    "files": 2,
    "bytes": 9,
    "new_bytes": 1,
    "host": "a",
    "by": "root",
    "source": "/models",
    "tags": {"job": "models"},
    "facts": {},
    "digest": "ab",
}
MODEL: dict[str, Any] = {"name": "chat", "stable": "v1", "traffic": {"driver": "none"}, "versions": {"v1": {}}}
TRITON: dict[str, Any] = {
    "name": "chat",
    "stable": "v1",
    "traffic": {
        "driver": "triton",
        "model": "chat_large",
        "backends": [{"url": "http://a:8000", "repository": "/srv/models"}],
    },
    "versions": {"v1": {}},
}
ELSEWHERE = TRITON | {"traffic": TRITON["traffic"] | {"backends": [{"url": "http://a:8000"}]}}
"""Its model repository is not known to be on this machine."""


def test_a_row_that_is_no_head_becomes_a_note_and_unknown_fields_are_left_out() -> None:
    listing = Listing(5.0, (HEAD, {"id": "x"}, {**HEAD, "bytes": "many"}), True, ("a clock",))
    found = snapshot_list(listing)
    assert [item.model_dump() for item in found.items] == [
        {key: value for key, value in HEAD.items() if key not in ("facts", "digest")}
    ]
    assert found.notes == (
        "a clock",
        "left out: the head of snapshot 'x' has another form",
        "left out: the head of snapshot '20270115T060000Z-abc' has another form",
    )
    assert (found.read_at, found.more, found.fault) == ("1970-01-01T00:00:05.000Z", True, None)


def test_nothing_is_known_without_a_repository_and_before_the_first_reading() -> None:
    assert snapshot_list(None) == snapshot_list(Listing())
    failed = snapshot_list(Listing(fault="no route", tried_at=5.0))
    assert (failed.fault, failed.failed_at, failed.read_at) == ("no route", "1970-01-01T00:00:05.000Z", None)


@pytest.mark.parametrize(
    ("model", "job", "named"),
    [
        (MODEL, {"folder": "/x"}, False),
        (MODEL, {"folder": "/x", "subject": "chat"}, True),
        (MODEL, {"folder": "/x", "name": "chat"}, True),
        (MODEL, {"folder": "/x", "name": "chat", "subject": "rank"}, True),
        (MODEL, {"control_plane": True, "name": "chat"}, False),
        (MODEL | {"files": "/srv/models/chat/{version}"}, {"folder": "/srv/models"}, True),
        (MODEL | {"files": "/srv/models/chat/{version}"}, {"folder": "/srv/models/rank"}, False),
        (TRITON, {"folder": "/srv/models"}, True),
        (TRITON, {"folder": "/srv"}, True),
        (TRITON, {"folder": "/srv/models/chat_large/2"}, True),
        (TRITON, {"folder": "/srv/models/chat"}, False),
        (TRITON, {"folder": "/srv/models", "parts": ["rank"]}, False),
        (TRITON, {"folder": "/srv/models", "parts": ["rank", "chat_large"]}, True),
        (TRITON, {"folder": "s3://models/triton"}, False),
        (TRITON, {"folder": "s3://models/triton/chat_large/"}, True),
        (TRITON, {"folder": "s3://models", "parts": ["rank", "triton/chat_large"]}, True),
        (ELSEWHERE, {"folder": "s3://models/triton"}, True),
        (ELSEWHERE, {"folder": "s3://models/triton", "parts": ["rank"]}, False),
        (MODEL, {"folder": "s3://models/triton"}, False),
        (MODEL, {"folder": "s3://models/chat"}, True),
        (TRITON | {"rollout": {"checklist": [{"name": "backup", "backup": "job"}]}}, {"folder": "/x"}, True),
    ],
)
def test_a_job_names_a_model_by_name_subject_folder_or_checklist(
    model: dict[str, Any], job: dict[str, Any], named: bool
) -> None:
    section = {"repository": "/r", "key_file": "/k", "jobs": [{"name": "job", "schedule": "@daily", **job}]}
    fleet = Fleet.model_validate({"fleet": {"name": "a"}, "models": [model], "backup": section})
    assert list(unnamed_models(fleet)) == ([] if named else ["chat"])


def test_a_shared_checklist_names_every_model_and_without_jobs_none_is_named() -> None:
    fleet = Fleet.model_validate({"fleet": {"name": "a"}, "models": [MODEL]})
    assert list(unnamed_models(fleet)) == ["chat"]
    section = {"repository": "/r", "key_file": "/k", "jobs": [{"name": "all", "schedule": "@daily", "folder": "/x"}]}
    shared = {"checklist": [{"name": "backup", "backup": "all"}]}
    fleet = Fleet.model_validate({"fleet": {"name": "a"}, "models": [MODEL], "backup": section, "rollouts": shared})
    assert list(unnamed_models(fleet)) == []
