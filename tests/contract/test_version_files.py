"""Contents of versions and approvals, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.store.audit import AuditStore
from controlplane.store.database import Database
from controlplane.store.revision import RevisionStore
from controlplane.store.version_files import MOST_WORDS, FilesApproval, Found, PlaceKind, VersionFileStore

A, B = "aa" * 32, "bb" * 32
DISK = Found(
    "chat", "v2", PlaceKind.DISK, "/models/v2", 100.0, digest=A, files=5, bytes=10**13, facts={"format": "GGUF"}
)
COPY = Found(
    "chat", "v2", PlaceKind.BACKUP, "s1:chat/2", 100.0, digest=A, files=5, bytes=7,
    snapshot="s1", stored_at=90.0, host="node-7", by="ann",
)  # fmt: skip


@pytest.fixture
def store(database: Database) -> VersionFileStore:
    return VersionFileStore(database)


def test_what_was_found_is_returned(store: VersionFileStore) -> None:
    store.seen(COPY)
    store.seen(DISK)
    store.seen(replace(DISK, model="other"))
    assert store.contents("chat") == [replace(DISK, changed_at=100.0), replace(COPY, changed_at=100.0)]
    assert [one.model for one in store.contents()] == ["chat", "chat", "other"]


def test_a_new_digest_has_a_new_time_of_change(store: VersionFileStore) -> None:
    store.seen(DISK)
    store.seen(replace(DISK, seen_at=200.0))
    (same,) = store.contents("chat")
    assert (same.seen_at, same.changed_at) == (200.0, 100.0)
    store.seen(replace(DISK, seen_at=300.0, digest=B, facts={}))
    (changed,) = store.contents("chat")
    assert (changed.digest, changed.changed_at, changed.facts) == (B, 300.0, {})


def test_a_fault_keeps_what_was_known(store: VersionFileStore) -> None:
    store.seen(DISK)
    store.seen(Found("chat", "v2", PlaceKind.DISK, "/models/v2", 200.0, fault="away \x1b[2J" + "x" * 5000))
    (found,) = store.contents("chat")
    assert (found.digest, found.bytes, found.seen_at) == (A, 10**13, 200.0)
    assert found.fault.startswith("away \\x1b[2J")
    assert len(found.fault) == MOST_WORDS
    store.seen(replace(DISK, seen_at=300.0))
    assert store.contents("chat")[0].fault == ""


def test_contents_of_a_snapshot_replace_each_other_and_go_with_it(store: VersionFileStore) -> None:
    store.seen_in_snapshot("s1", [COPY, replace(COPY, version="v1", place="s1:chat/1")])
    store.seen_in_snapshot("s2", [replace(COPY, snapshot="s2", place="s2:.")])
    store.seen_in_snapshot("s1", [COPY])
    assert [one.place for one in store.contents("chat")] == ["s1:chat/2", "s2:."]
    store.seen(DISK)
    store.forget_snapshots(["s2", "s3"])
    assert [one.place for one in store.contents("chat")] == ["/models/v2", "s2:."]


def test_places_that_are_gone_are_forgotten(store: VersionFileStore) -> None:
    for found in (DISK, replace(DISK, version="v3", place="/models/v3"), COPY):
        store.seen(found)
    store.forget_disk([("chat", "v2", "/models/v2"), ("chat", "v9", "/models/v9")])
    assert [one.place for one in store.contents("chat")] == ["/models/v2", "s1:chat/2"]


def test_the_newest_approval_counts_and_each_has_an_audit_row(store: VersionFileStore, database: Database) -> None:
    assert store.approved("chat", "v2") is None
    first = FilesApproval("chat", "v2", A, 100.0, "ann", reason="the first promotion of the version", rollout_id="r-1")
    second = FilesApproval("chat", "v2", B, 50.0, "bob", base=A, reason="tokenizer fixed")
    other = FilesApproval("chat", "v1", A, 100.0, "ann")
    for approval in (first, second, other):
        store.approve(approval)
    assert store.approved("chat", "v2") == second, "the newest, also where a clock was set back"
    assert store.approvals("chat") == {"v2": second, "v1": other}
    assert store.approvals("other") == {}
    acts = [(act.actor, act.action, act.subject, act.detail) for act in AuditStore(database).recent(3)]
    assert acts[1:] == [
        ("bob", "files.approve", "model/chat", f"v2: digest {B}: tokenizer fixed"),
        ("ann", "files.approve", "model/chat", f"v2: digest {A} for rollout r-1: the first promotion of the version"),
    ]


def test_only_what_changed_is_told_to_consoles(store: VersionFileStore, database: Database) -> None:
    store.seen(DISK)
    before = RevisionStore(database).latest()
    store.seen(replace(DISK, seen_at=200.0))
    assert RevisionStore(database).latest() == before
    store.seen(replace(DISK, seen_at=300.0, digest=B))
    assert RevisionStore(database).latest() > before
