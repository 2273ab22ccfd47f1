"""Who is let in, who waits, and what log and audit trail have of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.access import Attempt, Gatekeeper, Principal, Role, SessionStore, Throttled, TokenStore
from controlplane.errors import Unauthenticated, Unavailable
from controlplane.pools import ThreadPool
from controlplane.store.audit import REFUSED, AuditStore
from controlplane.store.database import Database
from tests.fakes.migrated import write_migrated

NOW = 1000.0
HERE, THERE = Attempt("10.0.0.1", "the API"), Attempt("10.0.0.2", "the API")


class Rig:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = Database(write_migrated(path))
        self.tokens, self.sessions = TokenStore(self.db), SessionStore(self.db)
        self.gatekeeper = Gatekeeper(self.db, self.tokens, self.sessions, ThreadPool("access", 2))
        self.token, self.text = self.tokens.create("ann", Role.OPERATOR, None, 0.0)
        self.wrong = self.text[:-64] + "0" * 64

    async def guess(self, times: int, attempt: Attempt = HERE) -> None:
        for _ in range(times):
            with pytest.raises(Unauthenticated):
                await self.gatekeeper.by_token(self.wrong, attempt, NOW)

    def refusals(self) -> list[str]:
        return [entry.detail for entry in AuditStore(self.db).recent(100) if entry.action == REFUSED]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "cp.db")
    yield made
    made.db.close()


async def test_a_guesser_waits_and_the_accounts_own_user_does_not(rig: Rig) -> None:
    await rig.guess(5)
    with pytest.raises(Throttled):
        await rig.gatekeeper.by_token(rig.text, HERE, NOW)
    principal = await rig.gatekeeper.by_token(rig.text, THERE, NOW)
    assert principal == Principal("ann", Role.OPERATOR, rig.token.id)
    # Its token is known to be good from here on, wherever it comes from.
    await rig.guess(5, THERE)
    assert await rig.gatekeeper.by_token(rig.text, HERE, NOW) == principal


async def test_failures_are_logged_once_and_audited_with_their_number(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.guess(7)
    with pytest.raises(Unauthenticated):
        await rig.gatekeeper.by_token("hunter2\nfor ever", THERE, NOW)
    assert caplog.messages == [
        f"access refused: 1 attempt at the API from 10.0.0.1 as token {rig.token.id}: the token is not known here",
        "access refused: 1 attempt at the API from 10.0.0.2 with a malformed token: the token is malformed: "
        "expected cp_<id>_<secret>, an id of 8 to 32 hex digits and a secret of at least 43 letters, digits, - or _",
    ]
    await rig.gatekeeper.write()
    assert [detail.partition(":")[0] for detail in rig.refusals()] == [
        "1 attempt at the API from 10.0.0.2 with a malformed token",
        f"7 attempts at the API from 10.0.0.1 as token {rig.token.id}",
    ]
    assert "hunter2" not in str(rig.refusals())
    await rig.gatekeeper.write()
    assert len(rig.refusals()) == 2


async def test_what_is_no_token_is_told_and_holds_nobody_up(rig: Rig) -> None:
    for _ in range(100):
        with pytest.raises(Unauthenticated, match="malformed") as raised:
            await rig.gatekeeper.by_token("hunter2", HERE, NOW)
        assert not isinstance(raised.value, Throttled)
    assert (await rig.gatekeeper.by_token(rig.text, HERE, NOW)).name == "ann"
    await rig.gatekeeper.write()
    assert rig.refusals()[0].startswith("100 attempts at the API from 10.0.0.1 with a malformed token")


async def test_a_flood_of_made_up_tokens_costs_eleven_lines_and_rows(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(200):
        with pytest.raises(Unauthenticated):
            attempt = Attempt(f"10.0.{number % 50}.1", "the API")
            await rig.gatekeeper.by_token(f"cp_{number:08x}_{'0' * 64}", attempt, NOW)
    await rig.gatekeeper.write()
    assert len(caplog.messages) == len(rig.refusals()) == 11
    assert rig.refusals()[0] == "190 more failed attempts, of other tokens or from other addresses"


async def test_a_locked_database_lets_people_in_without_waiting(rig: Rig) -> None:
    principal = await rig.gatekeeper.by_token(rig.text, HERE, NOW)
    cookie = rig.sessions.open(principal, NOW)
    await rig.guess(1)
    writer = sqlite3.connect(rig.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    begun = rig.db.transaction
    rig.db.transaction = _fails  # type: ignore[method-assign]  # a write would wait for ten seconds; none is begun
    try:
        assert await rig.gatekeeper.by_token(rig.text, THERE, NOW + 3600) == principal
        assert (await rig.gatekeeper.by_session(cookie, NOW + 1)).token_id == rig.token.id
        await rig.guess(1)
        with pytest.raises(Unavailable):
            await rig.gatekeeper.write()
    finally:
        writer.execute("ROLLBACK")
        writer.close()
        rig.db.transaction = begun  # type: ignore[method-assign]
    await rig.gatekeeper.write()
    assert rig.tokens.list()[0].last_used_at == NOW + 3600
    assert rig.refusals()[0].startswith("2 attempts")


async def test_a_stranger_is_not_told_where_the_database_is(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("database postgresql+psycopg://ops@db.internal/cp: connection refused")

    monkeypatch.setattr(rig.tokens, "authenticate", away)
    monkeypatch.setattr(rig.sessions, "authenticate", away)
    for now in (NOW, NOW + 1, NOW + 2):
        with pytest.raises(Unavailable) as raised:
            await rig.gatekeeper.by_token(rig.text, HERE, now)
        assert "ops" not in str(raised.value)
    with pytest.raises(Unavailable) as raised:
        await rig.gatekeeper.by_session("cookie", NOW + 3)
    assert "ops" not in str(raised.value)
    assert [message for message in caplog.messages if "db.internal" in message] == caplog.messages[:1]
    with pytest.raises(Unavailable):
        await rig.gatekeeper.by_token(rig.text, HERE, NOW + 60)
    assert len(caplog.messages) == 2


async def test_who_is_over_is_told_by_token_and_by_session(rig: Rig) -> None:
    other, _ = rig.tokens.create("bob", Role.VIEWER, None, 0.0)
    ann = Principal("ann", Role.OPERATOR, rig.token.id)
    cookies = [rig.sessions.open(ann, NOW) for _ in range(2)]
    signed_in = [await rig.gatekeeper.by_session(cookie, NOW) for cookie in cookies]
    bob = Principal("bob", Role.VIEWER, other.id)
    everybody = {ann, bob, *signed_in}
    assert await rig.gatekeeper.over(everybody, NOW) == set()
    rig.sessions.close(cookies[0])
    assert await rig.gatekeeper.over(everybody, NOW) == {signed_in[0]}
    rig.tokens.revoke(rig.token.id, NOW)
    assert await rig.gatekeeper.over(everybody, NOW) == everybody - {bob}


async def test_a_cookie_that_cannot_be_ours_is_not_looked_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.sessions, "authenticate", None)
    with pytest.raises(Unauthenticated):
        await rig.gatekeeper.by_session("a" * 513, NOW)


async def test_closing_writes_what_is_left_where_it_can(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.guess(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.db, "transaction", _fails)
        await rig.gatekeeper.close()
    assert "are not in the database: database is locked" in caplog.text
    await rig.gatekeeper.close()
    assert len(rig.refusals()) == 1


def _fails() -> NoReturn:
    raise Unavailable("database is locked")
