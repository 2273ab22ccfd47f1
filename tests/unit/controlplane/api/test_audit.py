"""Who did what: the audit trail page by page, and each of its filters."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.access.roles import Role
from controlplane.store.audit import REFUSED, audit
from tests.unit.controlplane.api.conftest import NOW

TOKENS = len(Role)
"""Number of acts before those of this test."""


@pytest.fixture
def acts(rig: Any) -> Any:
    """Acts 1 to 4 after those that made the tokens of this test's callers, one for each role."""
    with rig.db.transaction() as session:
        for at, actor, action, subject in (
            (NOW - 7200, "ana", "rollout.promote", "model/chat"),
            (NOW - 3600, "203.0.113.7", REFUSED, "token/-"),
            (NOW - 60, "bob", "token.revoke", "token/3f2a9c10"),
            (NOW - 1, "engine", "rollout.finish", "model/chat"),
        ):
            audit(session, actor, action, subject, "it was done", at)
            session.flush()
    return rig


async def ids(rig: Any, query: str) -> tuple[list[int], int | None]:
    async with rig.client(Role.OPERATOR) as client:
        answer = await client.get(f"/cp/v1/audit{query}")
    assert answer.status_code == 200, answer.text
    following = answer.json()["next"]
    return [item["id"] - TOKENS for item in answer.json()["items"]], following


async def test_an_act_says_who_did_what_to_what_and_when(acts: Any) -> None:
    async with acts.client(Role.OPERATOR) as client:
        answer = await client.get("/cp/v1/audit?limit=1")
    assert answer.json() == {
        "items": [
            {
                "id": TOKENS + 4,
                "at": "2027-01-15T07:59:59.000Z",
                "actor": "engine",
                "action": "rollout.finish",
                "subject": "model/chat",
                "sentence": "it was done",
            }
        ],
        "next": TOKENS + 4,
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?actor=ana", [1]),
        ("?action=token.revoke&action=rollout.finish", [4, 3]),
        ("?subject=model/chat", [4, 1]),
        ("?since=2h", [4, 3, 2, 1, *range(0, -TOKENS, -1)]),
        ("?since=1h&until=30s", [3, 2]),
        (f"?since={NOW - 60:.0f}&until={NOW - 1:.0f}", [3]),
        ("?since=2027-01-15T07:59:00Z&actor=bob", [3]),
        (f"?id={TOKENS + 1}&id={TOKENS + 3}", [3, 1]),
        (f"?refusals=false&before={TOKENS + 4}", [3, 1, *range(0, -TOKENS, -1)]),
        ("?actor=nobody", []),
    ],
)
async def test_filters_are_combined(acts: Any, query: str, found: list[int]) -> None:
    assert await ids(acts, query) == (found, None)


async def test_next_leads_through_all_of_them(acts: Any) -> None:
    seen, before = list[int](), ""
    while True:
        page, older = await ids(acts, f"?limit=3{before}")
        seen += page
        if older is None:
            break
        before = f"&before={older}"
    assert seen == [4, 3, 2, 1, *range(0, -TOKENS, -1)]


@pytest.mark.parametrize(
    "query",
    [
        "before=0",
        "before=2147483648",
        "limit=1001",
        "since=yesterday",
        "until=-5m",
        "id=x",
        "refusals=perhaps",
        "actor=",
        "actor=%00",
        "subject=a%0Ab",
        f"action={'x' * 201}",
        "since=",
        f"since={'9' * 64}",
        "until=0001-13-01",
    ],
)
async def test_a_bad_filter_is_refused_by_name(acts: Any, query: str) -> None:
    async with acts.client(Role.OPERATOR) as client:
        answer = await client.get(f"/cp/v1/audit?{query}")
    assert answer.status_code in (400, 422)
    assert query.partition("=")[0] in answer.text


async def test_the_trail_and_its_part_of_the_history_have_one_rule(acts: Any) -> None:
    for role, status in ((Role.VIEWER, 403), (Role.OPERATOR, 200)):
        async with acts.client(role) as client:
            for path in ("/cp/v1/audit", "/cp/v1/history?kind=audit"):
                assert (await client.get(path)).status_code == status, path
