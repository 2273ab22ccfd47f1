"""The memory of rollouts: one running rollout a model, and no write of one side lost to the other's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from controlplane.errors import Conflict, LeaseLost, NotFound
from controlplane.rollout.stored.records import readable
from controlplane.store.audit import AuditStore
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.revision import RevisionStore
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.records import EventRecord, ModelMark, ModelRecord, RolloutRecord, StableChange


def record(rollout_id: str = "r-1", **changes: Any) -> RolloutRecord:
    base = RolloutRecord(
        id=rollout_id,
        model="chat",
        from_version="v1",
        to_version="v2",
        kind="promote",
        strategy="blue-green",
        phase="planned",
        ok=None,
        switched=False,
        sentence="ann asked",
        turn_back="",
        created_by="ann",
        created_at=100.0,
        updated_at=100.0,
        finished_at=None,
        idempotency_key=None,
        request="promote chat v2",
        state={"intents": [{"attempt": 1, "since": 100.5}], "notes": []},
    )
    return replace(base, **changes)


def test_a_rollout_comes_back_as_it_was(database: Database, replica: Database) -> None:
    RolloutLog(database).start(record(idempotency_key="k"))
    log = RolloutLog(replica)
    assert log.get("r-1") == log.by_key("k") == record(idempotency_key="k")
    assert log.active() == log.recent() == log.recent("chat") == [record(idempotency_key="k")]
    assert log.recent("other") == []
    assert log.by_key("other") is None
    assert log.events("r-1") == [EventRecord(100.0, "planned", "ann asked")]
    with pytest.raises(NotFound, match="there is no rollout r-9"):
        log.get("r-9")


def test_a_model_has_one_running_rollout(database: Database) -> None:
    log = RolloutLog(database)
    log.start(record())
    with pytest.raises(Conflict, match=r"rollout r-1 of model chat is running \(planned: ann asked\)"):
        log.start(record("r-2"))
    log.start(record("r-3", model="other"))
    log.save(record(phase="succeeded", ok=True, finished_at=110.0), [], None, None)
    log.start(record("r-2", created_at=120.0))
    assert [r.id for r in log.recent("chat")] == ["r-2", "r-1"]
    assert [r.id for r in log.recent(limit=1)] == ["r-2"]


def test_of_many_starts_at_once_one_wins(database: Database, replica: Database) -> None:
    def start(number: int) -> bool:
        try:
            RolloutLog((database, replica)[number % 2]).start(record(f"r-{number}"))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(start, range(16))) == 1
    assert len(RolloutLog(database).active()) == 1


def test_one_idempotency_key_is_one_rollout(database: Database) -> None:
    log = RolloutLog(database)
    log.start(record(idempotency_key="k"))
    with pytest.raises(Conflict):
        log.start(record("r-2", model="other", idempotency_key="k"))


def test_the_engine_never_overwrites_what_an_operator_asked_for(database: Database) -> None:
    log = RolloutLog(database)
    log.start(record())
    asked = log.request_turn_back("r-1", "Aborted by bob", "bob", "rollout.abort", 101.0)
    assert asked.turn_back == "Aborted by bob"
    log.save(
        record(phase="preparing", sentence="loading", updated_at=102.0),
        [EventRecord(102.0, "preparing", "l")],
        None,
        None,
    )
    kept = log.get("r-1")
    assert (kept.turn_back, kept.phase, kept.updated_at) == ("Aborted by bob", "preparing", 102.0)
    log.request_turn_back("r-1", "Rollback by eve", "eve", "rollout.rollback", 103.0)
    assert log.get("r-1").turn_back == "Aborted by bob"
    assert [e.sentence for e in log.events("r-1")] == ["ann asked", "Aborted by bob.", "l"]
    ended = record(phase="failed", ok=False, finished_at=104.0, sentence="off")
    for unaware in (ended, record(state={"ending": "succeeded"})):
        with pytest.raises(Conflict, match="was closed by an operator, or is to go back; nothing is done"):
            log.save(unaware, [], None, None)
    assert log.get("r-1").phase == "preparing"
    log.save(replace(ended, turn_back="Aborted by bob"), [], None, None)
    with pytest.raises(Conflict, match=r"r-1 of model chat has ended \(failed: off\); there is nothing to abort"):
        log.request_turn_back("r-1", "Aborted by bob", "bob", "rollout.abort", 105.0)


def test_the_stable_version_changes_in_the_transaction_that_says_so(database: Database) -> None:
    log = RolloutLog(database)
    assert log.model("chat") is None
    fresh = ModelRecord("chat", "v1", None, None, None, "")
    assert log.seed("chat", "v1") == log.seed("chat", "v7") == fresh
    assert log.seed_all({"chat": "v8", "embed": "v3"}) == {
        "chat": ModelMark("v1", None),
        "embed": ModelMark("v3", None),
    }
    log.start(record())
    log.save(record(phase="draining", switched=True), [], StableChange("v2", "v1"), None)
    assert log.model("chat") == replace(fresh, stable="v2", previous="v1")


def test_seeding_at_once_is_seeding_once(database: Database, replica: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        seeded = list(pool.map(lambda n: RolloutLog((database, replica)[n % 2]).seed("chat", f"v{n}"), range(8)))
    assert len(set(map(str, seeded))) == 1


def test_observations_are_kept_and_only_changes_are_revisions(database: Database) -> None:
    log = RolloutLog(database)
    log.observed("chat", {"backends": []}, "", 99.0, None)
    assert log.model("chat") is None, "a model that nobody declared is not invented"
    log.seed("chat", "v1")
    before = RevisionStore(database).latest()
    log.observed("chat", {"backends": [1]}, "", 100.0, None)
    changed = RevisionStore(database).latest()
    assert changed > before
    log.observed("chat", {"backends": [1]}, "", 101.0, None)
    assert RevisionStore(database).latest() == changed
    assert log.model("chat") == ModelRecord("chat", "v1", None, {"backends": [1]}, 101.0, "")
    log.observed("chat", {"backends": [1]}, "v9 serves", 102.0, None)
    assert RevisionStore(database).latest() > changed


def test_without_the_lease_nothing_is_written(database: Database) -> None:
    log, leases = RolloutLog(database), LeaseStore(database)
    log.seed("chat", "v1")
    log.start(record())
    lease = leases.acquire("rollouts", "a", 60)
    assert lease is not None
    leases.release(lease)
    leases.acquire("rollouts", "b", 60)
    with pytest.raises(LeaseLost):
        log.save(record(phase="draining"), [EventRecord(1.0, "draining", "x")], StableChange("v2", "v1"), lease)
    with pytest.raises(LeaseLost):
        log.observed("chat", {"backends": []}, "", 1.0, lease)
    assert log.get("r-1") == record()
    assert len(log.events("r-1")) == 1
    assert log.model("chat") == ModelRecord("chat", "v1", None, None, None, "")


def test_who_did_it_is_on_record(database: Database) -> None:
    log = RolloutLog(database)
    log.start(record())
    log.request_turn_back("r-1", "Aborted by bob", "bob", "rollout.abort", 101.0)
    ended = record(phase="failed", ok=False, finished_at=102.0, updated_at=102.0, sentence="off")
    log.save(replace(ended, turn_back="Aborted by bob"), [], None, None)
    acts = [(e.at, e.actor, e.action, e.subject, e.detail) for e in reversed(AuditStore(database).recent(9))]
    assert acts == [
        (100.0, "ann", "rollout.promote", "model/chat", "v1 -> v2 by blue-green (rollout r-1)"),
        (101.0, "bob", "rollout.abort", "model/chat", "rollout r-1: Aborted by bob"),
        (102.0, "rollout-engine", "rollout.finish", "model/chat", "rollout r-1 failed: off"),
    ]


@pytest.mark.parametrize("damage", ["[]", "null", '{"format": 99, "plan": {}}', '{"limits": "a"}'])
def test_a_rollout_that_cannot_be_read_is_closed_and_its_state_kept(database: Database, damage: str) -> None:
    log = RolloutLog(database)
    log.start(record())
    log.start(record("r-2", model="other"))
    with database.transaction() as session:
        session.execute(text(f"UPDATE rollout SET state = '{damage}' WHERE id = 'r-1'"))
    (standing,) = (found for found in log.active() if found.id == "r-1")
    rollouts, others = readable([standing])
    assert (rollouts, [other.record for other in others]) == ([], [standing])

    closed = log.close("r-1", "nobody can read it", "bob", 200.0)

    assert (closed.phase, closed.ok, closed.finished_at, closed.state) == ("failed", False, 200.0, standing.state)
    assert [found.id for found in log.active()] == ["r-2"]
    assert log.events("r-1")[-1] == EventRecord(200.0, "failed", "nobody can read it")
    (act, *_) = AuditStore(database).recent(1)
    assert (act.actor, act.action, act.subject) == ("bob", "rollout.close", "model/chat")
    log.start(record("r-3"))
    with pytest.raises(Conflict, match=r"has ended \(failed: nobody can read it\); there is nothing to close"):
        log.close("r-1", "again", "bob", 201.0)
    with pytest.raises(NotFound):
        log.close("r-9", "again", "bob", 201.0)
    with pytest.raises(Conflict, match="rollout r-1 of model chat was closed by an operator"):
        log.save(record(), [], None, None)
    assert log.get("r-1").state == standing.state
