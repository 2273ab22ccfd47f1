"""Refusals are gathered: what is told is bounded, what is counted is exact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.access.refusals import Refusals, write_refusals
from controlplane.store.audit import REFUSED, AuditStore, audit
from controlplane.store.database import Database

DOOR = "the API"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/cp.db")
    SQLModel.metadata.create_all(database.engine)
    yield database
    database.close()


def told(db: Database) -> list[tuple[float, str, str, str]]:
    return [(e.at, e.actor, e.subject, e.detail) for e in AuditStore(db).recent(100) if e.action == REFUSED]


def test_only_the_first_of_a_kind_is_for_the_log() -> None:
    refusals = Refusals(kinds=2)
    first = refusals.note("3f2a9c10", "10.0.0.9", DOOR, "not known", 1.0)
    assert first is not None
    assert first.sentence == "1 attempt at the API from 10.0.0.9 as token 3f2a9c10: not known"
    assert refusals.note("3f2a9c10", "10.0.0.9", DOOR, "too many", 2.0) is None
    assert refusals.note("", "10.0.0.9", DOOR, "malformed", 2.0) is not None
    assert refusals.note("3f2a9c10", "10.0.0.8", DOOR, "not known", 3.0) is None  # a third kind
    assert refusals.take()[1] == 1
    assert refusals.note("3f2a9c10", "10.0.0.9", DOOR, "not known", 4.0) is not None


def test_the_trail_has_who_tried_what_how_often(db: Database) -> None:
    refusals = Refusals(kinds=2)
    for now in (1.0, 2.0, 3.0):
        refusals.note("3f2a9c10", "10.0.0.9", DOOR, "the token is not known here", now)
    refusals.note("", "10.0.0.8", "the sign-in page", "the token is malformed", 4.0)
    for number in range(5):
        refusals.note("", f"10.0.1.{number}", DOOR, "malformed", 5.0)
    write_refusals(db, *refusals.take())
    write_refusals(db, *refusals.take())  # nothing new
    assert told(db) == [
        (4.0, "-", "token/-", "5 more failed attempts, of other tokens or from other addresses"),
        (
            4.0,
            "10.0.0.8",
            "token/-",
            "1 attempt at the sign-in page from 10.0.0.8 with a malformed token: the token is malformed",
        ),
        (
            3.0,
            "10.0.0.9",
            "token/3f2a9c10",
            "3 attempts at the API from 10.0.0.9 as token 3f2a9c10: the token is not known here",
        ),
    ]


def test_what_could_not_be_written_is_counted_on(db: Database) -> None:
    refusals = Refusals(kinds=1)
    refusals.note("a", "10.0.0.9", DOOR, "not known", 1.0)
    refusals.note("b", "10.0.0.9", DOOR, "not known", 1.0)
    taken = refusals.take()
    refusals.note("a", "10.0.0.9", DOOR, "not known", 2.0)
    refusals.put_back(*taken)
    refusals.put_back(*taken[:1], 0)
    (refusal,), more = refusals.take()
    assert (refusal.attempts, refusal.first_at, refusal.last_at, more) == (3, 1.0, 2.0, 1)
    refusals.note("c", "10.0.0.9", DOOR, "not known", 3.0)
    refusals.put_back([refusal], more)  # another kind took the place
    assert refusals.take()[1] == 4


def test_old_refusals_go_and_what_people_did_stays(db: Database) -> None:
    refusals = Refusals()
    for now in (1.0, 100.0):
        refusals.note("a", "10.0.0.9", DOOR, "not known", now)
        write_refusals(db, *refusals.take())
    with db.transaction() as session:
        audit(session, "ann", "token.revoke", "token/a", "ann with role viewer", 1.0)
    assert AuditStore(db).prune(REFUSED, 50.0) == 1
    assert [(e.at, e.action) for e in AuditStore(db).recent(10)] == [(1.0, "token.revoke"), (100.0, REFUSED)]
