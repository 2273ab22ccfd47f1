"""The audit trail: which acts a filter admits, and paging that neither repeats nor misses one."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from controlplane.store.audit import MAX_ID, REFUSED, AuditFilter, AuditStore, audit, newest
from controlplane.store.database import Database

ACTS = [
    (1.0, "ana", "rollout.promote", "model/chat"),
    (2.0, "203.0.113.7", REFUSED, "token/-"),
    (3.0, "ana", "token.create", "token/3f2a9c10"),
    (4.0, "engine", "rollout.finish", "model/chat"),
    (5.0, "bob", "rollout.rollback", "model/code"),
    (6.0, "2001:db8::1", REFUSED, "token/3f2a9c10"),
]


@pytest.fixture
def trail(database: Database) -> AuditStore:
    with database.transaction() as session:
        for at, actor, action, subject in ACTS:
            audit(session, actor, action, subject, f"at {at:g}", at)
            session.flush()
    return AuditStore(database)


def times(trail: AuditStore, **wanted: Any) -> list[float]:
    return [entry.at for entry in trail.recent(100, AuditFilter(**wanted))]


def test_the_newest_act_comes_first(trail: AuditStore) -> None:
    assert [tuple(e)[1:5] for e in trail.recent(2)] == ACTS[:3:-1]
    assert times(trail) == [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"actor": "ana"}, [3.0, 1.0]),
        ({"actor": "an"}, []),
        ({"actions": ["token.create", "rollout.finish"]}, [4.0, 3.0]),
        ({"actions": [REFUSED]}, [6.0, 2.0]),
        ({"subject": "model/chat"}, [4.0, 1.0]),
        ({"since": 3.0, "until": 5.0}, [4.0, 3.0]),
        ({"refusals": False}, [5.0, 4.0, 3.0, 1.0]),
        ({"refusals": False, "subject": "token/3f2a9c10"}, [3.0]),
        ({"refusals": False, "actions": [REFUSED]}, []),
        ({"actor": "ana", "subject": "model/chat", "until": 1.0}, []),
        ({"actor": "'; DROP TABLE audit; --"}, []),
    ],
    ids=str,
)
def test_every_filter_that_is_given_must_hold(trail: AuditStore, wanted: dict[str, Any], found: list[float]) -> None:
    assert times(trail, **wanted) == found


def test_acts_are_found_by_their_ids(trail: AuditStore) -> None:
    ids = {entry.at: entry.id for entry in trail.recent(100)}
    assert times(trail, ids=[ids[2.0], ids[5.0]]) == [5.0, 2.0]
    assert times(trail, ids=[MAX_ID]) == []


def test_pages_go_on_where_the_last_one_ended_whatever_is_added_meanwhile(
    trail: AuditStore, database: Database
) -> None:
    seen, before = list[float](), None
    while page := trail.recent(2, AuditFilter(refusals=False), before):
        seen += [entry.at for entry in page]
        before = page[-1].id
        with database.transaction() as session:
            audit(session, "carl", "token.revoke", "token/1", "meanwhile", 0.5)
    assert seen == [5.0, 4.0, 3.0, 1.0]
    assert trail.recent(2, before=MAX_ID)[0].actor == "carl"


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({"actor": "ana"}, "ix_audit_actor"),
        ({"actions": ["token.create"]}, "ix_audit_action"),
        ({"subject": "model/chat"}, "ix_audit_subject"),
        ({"refusals": False}, "ix_audit_not_refused"),
    ],
    ids=str,
)
def test_a_page_is_found_by_an_index_among_many_refusals(
    trail: AuditStore, database: Database, wanted: dict[str, Any], index: str
) -> None:
    many = "INSERT INTO audit (at, actor, action, subject, detail) VALUES (7.0, '203.0.113.7', :refused, 'token/-', '')"
    with database.transaction() as session:
        session.execute(text(many), [{"refused": REFUSED}] * 5000)
    with database.transaction() as session:
        session.execute(text("ANALYZE audit"))
        query = str(
            newest(100, AuditFilter(**wanted), before=MAX_ID).compile(
                database.engine, compile_kwargs={"literal_binds": True}
            )
        )
        explain = "EXPLAIN QUERY PLAN " if database.engine.dialect.name == "sqlite" else "EXPLAIN "
        plan = "\n".join(str(row) for row in session.execute(text(explain + query.replace(":", r"\:"))))
    assert index in plan
