"""API keys of gateways' clients in the database, as timelines in unix seconds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from controlplane.access import gateway_keys
from controlplane.access.gateway_keys import FORGET_S, GatewayKeyStore, KeyProperties, KeyRole
from controlplane.errors import Conflict, NotFound, Unreadable
from controlplane.gateway.desired.document import KeySpec, LimitSpec
from controlplane.gateway.limits.keys import Keys
from controlplane.gateway.request import Caller
from controlplane.store.audit import AuditStore
from controlplane.store.database import Database
from controlplane.store.revision import RevisionStore
from controlplane.store.tables.gateway import GatewayKeyRow
from tests.fakes.limits import head

WANTED = KeyProperties("ci", "search")


@pytest.fixture
def keys(database: Database) -> GatewayKeyStore:
    return GatewayKeyStore(database)


def changed(database: Database) -> list[str]:
    return [change.ref for change in RevisionStore(database).since(0, 100) if change.kind == gateway_keys.KEYS]


def spoil(database: Database, key_id: str, **columns: Any) -> None:
    with database.transaction() as session:
        session.execute(update(GatewayKeyRow).where(col(GatewayKeyRow.id) == key_id).values(**columns))


def test_a_key_opens_a_gateway_and_only_its_hash_is_stored(database: Database, keys: GatewayKeyStore) -> None:
    limits = LimitSpec(requests_per_minute=60, daily_usd=1.5)
    wanted = KeyProperties("ci", "search", KeyRole.TESTER, ("chat",), limits, -1, expires_at=500.0)
    key, text = keys.create(wanted, 100.0, by="ana")
    assert re.fullmatch(rf"cpk_{key.id}_[0-9a-f]{{64}}", text) and text.startswith(key.prefix)
    with database.reading() as session:
        row = session.exec(select(GatewayKeyRow)).one()
    secret = text.split("_", 2)[2]
    assert row.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in str(row.model_dump())

    assert keys.specs(100.0) == (
        KeySpec(key.id, row.digest, "search", "tester", ("chat",), 500.0, limits, priority=-1),
    )
    at_gateway = Keys(keys.specs(100.0), required=True)
    caller = at_gateway.authenticate(head(authorization=f"Bearer {text}"), 499.0)
    assert caller == Caller(key.id, "search", "tester", frozenset({"chat"}), -1)
    assert changed(database) == [key.id]


def test_names_are_unique_among_the_live_keys_of_a_tenant(keys: GatewayKeyStore) -> None:
    first, _ = keys.create(replace(WANTED, expires_at=50.0), 0.0, by="ana")
    keys.create(replace(WANTED, tenant="chat"), 0.0, by="ana")
    with pytest.raises(Conflict, match="tenant search has a key named ci: revoke it first"):
        keys.create(WANTED, 49.0, by="ana")
    second, _ = keys.create(WANTED, 50.0, by="ana")
    keys.revoke(second.id, 51.0, by="ana")
    third, _ = keys.create(WANTED, 52.0, by="ana")
    assert [key.id for key in keys.list("search")] == [third.id, second.id, first.id]
    assert len(keys.list()) == 4


def test_two_who_make_the_same_name_at_once_make_one(keys: GatewayKeyStore) -> None:
    def make(number: int) -> bool:
        try:
            keys.create(WANTED, 0.0, by=f"admin-{number}")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(make, range(8))) == 1


def test_a_revoked_key_leaves_the_gateways_and_stays_listed(database: Database, keys: GatewayKeyStore) -> None:
    key, _ = keys.create(WANTED, 0.0, by="ana")
    assert keys.revoke(key.id, 5.0, by="ops").revoked_at == 5.0
    assert keys.revoke(key.id, 6.0, by="ops").revoked_at == 5.0
    assert keys.specs(5.0) == ()
    assert not keys.get(key.id).live(5.0)
    assert changed(database) == [key.id] * 2
    with pytest.raises(NotFound, match="there is no key ffffffff"):
        keys.revoke("ffffffff", 7.0, by="ops")
    with pytest.raises(Conflict, match="was revoked"):
        keys.change_limits(key.id, {"concurrent": 1}, 7.0, by="ops")


def test_an_expired_key_stays_at_gateways_for_a_week_to_say_so(keys: GatewayKeyStore) -> None:
    key, _ = keys.create(replace(WANTED, expires_at=10.0), 0.0, by="ana")
    assert [spec.id for spec in keys.specs(10.0 + FORGET_S - 1)] == [key.id]
    assert keys.specs(10.0 + FORGET_S) == ()


def test_limits_change_one_by_one(database: Database, keys: GatewayKeyStore) -> None:
    key, _ = keys.create(replace(WANTED, limits=LimitSpec(requests_per_minute=60, daily_usd=2.0)), 0.0, by="ana")
    changes = {"requests_per_minute": 120, "daily_usd": None, "concurrent": 4}
    limits = keys.change_limits(key.id, changes, 1.0, by="ops").limits
    assert limits == keys.get(key.id).limits == LimitSpec(requests_per_minute=120, concurrent=4)
    keys.change_limits(key.id, {"concurrent": 4}, 2.0, by="ops")  # as it is: no revision, no audit
    assert changed(database) == [key.id] * 2
    with pytest.raises(NotFound):
        keys.change_limits("ffffffff", {"concurrent": 4}, 2.0, by="ops")


def test_every_change_is_in_the_audit_trail(database: Database, keys: GatewayKeyStore) -> None:
    key, text = keys.create(replace(WANTED, limits=LimitSpec(tokens_per_minute=10_000)), 0.0, by="ana")
    keys.change_limits(key.id, {"tokens_per_minute": None, "daily_usd": 2.5}, 1.0, by="ben")
    keys.revoke(key.id, 2.0, by="cyd")
    entries = AuditStore(database).recent(10)
    assert [(entry.actor, entry.action, entry.detail) for entry in entries] == [
        ("cyd", "key.revoke", "ci of tenant search"),
        ("ben", "key.limits", "ci of tenant search 2.5 daily usd"),
        ("ana", "key.create", "ci of tenant search with role user; 10,000 tokens per minute"),
    ]
    assert {entry.subject for entry in entries} == {f"key/{key.id}"}
    assert text.split("_", 2)[2] not in str(entries)


@pytest.mark.parametrize(
    "columns",
    [
        {"format": 2},
        {"role": "king"},
        {"settings": {}},
        {"settings": {"limits": {}, "models": "chat", "priority": 0}},
        {"settings": {"limits": {"concurrent": -1}, "models": None, "priority": 0}},
        {"settings": {"limits": {"concurrent": "many"}, "models": None, "priority": 0}},
        {"settings": {"limits": {"new": 1}, "models": None, "priority": 0}},
        {"settings": {"limits": {}, "models": None, "priority": 0, "new": True}},
        {"settings": {"limits": {}, "models": None, "priority": 1.5}},
    ],
)
def test_a_key_that_cannot_be_read_opens_nothing_and_stops_no_other(
    database: Database, keys: GatewayKeyStore, columns: dict[str, Any]
) -> None:
    bad, _ = keys.create(replace(WANTED, name="bad"), 0.0, by="ana")
    good, _ = keys.create(WANTED, 1.0, by="ana")
    spoil(database, bad.id, **columns)
    assert [spec.id for spec in keys.specs(2.0)] == [good.id] == [key.id for key in keys.list()]
    assert [(row.table, row.key) for row in database.unread.rows()] == [("gateway_key", bad.id)]
    acts: tuple[Callable[[], object], ...] = (
        lambda: keys.get(bad.id),
        lambda: keys.revoke(bad.id, 3.0, by="ana"),
        lambda: keys.change_limits(bad.id, {"concurrent": 1}, 3.0, by="ana"),
    )
    for act in acts:
        with pytest.raises(Unreadable, match="gateways refuse it"):
            act()
    with database.reading() as session:
        row = session.get(GatewayKeyRow, bad.id)
    assert row is not None and all(getattr(row, name) == value for name, value in columns.items())


def test_more_keys_than_gateways_hold_are_refused(keys: GatewayKeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_keys, "MOST_KEYS", 2)
    first, _ = keys.create(replace(WANTED, name="one"), 0.0, by="ana")
    keys.create(replace(WANTED, name="two"), 0.0, by="ana")
    with pytest.raises(Conflict, match="there are 2 live keys"):
        keys.create(replace(WANTED, name="three"), 0.0, by="ana")
    keys.revoke(first.id, 1.0, by="ana")
    keys.create(replace(WANTED, name="three"), 1.0, by="ana")
