"""Tokens and console sessions, as timelines in unix seconds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from controlplane.access import Principal, Role, SessionStore, TokenStore
from controlplane.errors import Conflict, NotFound, Unauthenticated, Unavailable, Unreadable
from controlplane.store.audit import AuditStore
from controlplane.store.database import Database
from controlplane.store.tables.token import ConsoleSessionRow, TokenRow

HOUR = 3600.0


def test_a_token_authenticates_and_only_its_hash_is_stored(database: Database) -> None:
    token, secret_text = TokenStore(database).create("ci", Role.OPERATOR, None, now=100.0, by="admin")

    assert re.fullmatch(r"cp_[0-9a-f]{12}_[0-9a-f]{64}", secret_text)
    assert TokenStore(database).authenticate(secret_text, 101.0) == Principal("ci", Role.OPERATOR, token.id)
    with database.reading() as session:
        row = session.exec(select(TokenRow)).one()
    secret = secret_text.split("_", 2)[2]
    assert row.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in str(row.model_dump())


def test_wrong_tokens_are_turned_away_without_being_repeated(database: Database) -> None:
    tokens = TokenStore(database)
    _, good = tokens.create("ci", Role.VIEWER, None, now=0.0)
    other_secret = good[:-1] + ("0" if good[-1] != "0" else "1")
    other_id = "cp_00000000_" + good.split("_", 2)[2]

    for bad, says in [
        (other_secret, "not known"),
        (other_id, "not known"),
        ("hunter2", "malformed"),
        ("", "malformed"),
    ]:
        with pytest.raises(Unauthenticated, match=says) as raised:
            tokens.authenticate(bad, 1.0)
        assert "hunter2" not in str(raised.value)
        assert other_secret not in str(raised.value)


def test_a_token_expires_at_its_second(database: Database) -> None:
    tokens = TokenStore(database)
    _, secret = tokens.create("ci", Role.VIEWER, expires_at=100.0, now=0.0)

    assert tokens.authenticate(secret, 99.9).name == "ci"
    with pytest.raises(Unauthenticated, match=r"token ci .* has expired"):
        tokens.authenticate(secret, 100.0)


def test_a_revoked_token_is_dead_at_once_and_stays_listed(database: Database) -> None:
    tokens = TokenStore(database)
    token, secret = tokens.create("ci", Role.VIEWER, None, now=0.0)

    assert tokens.revoke(token.id, now=5.0, by="ops").revoked_at == 5.0
    assert tokens.revoke(token.id, now=6.0).revoked_at == 5.0

    with pytest.raises(Unauthenticated, match="revoked"):
        tokens.authenticate(secret, 7.0)
    assert [(t.name, t.revoked_at) for t in tokens.list()] == [("ci", 5.0)]
    with pytest.raises(NotFound, match="ffffffff"):
        tokens.revoke("ffffffff", now=8.0)
    assert [(e.actor, e.action, e.subject) for e in AuditStore(database).recent(10)] == [
        ("ops", "token.revoke", f"token/{token.id}"),
        ("controlplane", "token.create", f"token/{token.id}"),
    ]


def test_the_last_live_admin_token_cannot_be_revoked(database: Database) -> None:
    tokens = TokenStore(database)
    first, _ = tokens.create("first", Role.ADMIN, None, now=0.0)
    expiring, _ = tokens.create("expiring", Role.ADMIN, expires_at=50.0, now=0.0)
    tokens.create("viewer", Role.VIEWER, None, now=0.0)

    with pytest.raises(Conflict, match=r"first .* is the last admin token"):
        tokens.revoke(first.id, now=60.0)
    assert tokens.revoke(expiring.id, now=60.0).revoked_at == 60.0
    tokens.create("second", Role.ADMIN, None, now=61.0)
    assert tokens.revoke(first.id, now=62.0).revoked_at == 62.0


def test_two_live_tokens_never_share_a_name(database: Database) -> None:
    tokens = TokenStore(database)
    first, _ = tokens.create("ci", Role.VIEWER, expires_at=100.0, now=0.0)

    with pytest.raises(Conflict, match="a token named ci exists"):
        tokens.create("ci", Role.VIEWER, None, now=99.0)
    second, _ = tokens.create("ci", Role.VIEWER, None, now=100.0)
    tokens.revoke(second.id, now=101.0)
    tokens.create("ci", Role.VIEWER, None, now=102.0)
    assert [t.created_at for t in tokens.list()] == [102.0, 100.0, 0.0]
    assert first.id in {t.id for t in tokens.list()}


def test_last_use_is_noted_at_most_once_a_minute(database: Database) -> None:
    tokens = TokenStore(database)
    _, secret = tokens.create("ci", Role.VIEWER, None, now=0.0)
    noted = []
    with writes(database) as count:
        for now in (10.0, 20.0, 69.9, 70.0, 129.0):
            tokens.authenticate(secret, now)
            tokens.write_uses()
            noted.append((tokens.list()[0].last_used_at, count()))

    assert noted == [(10.0, 1), (10.0, 1), (10.0, 1), (70.0, 2), (70.0, 2)]


def test_another_process_that_noted_the_use_spares_the_write(database: Database) -> None:
    _, secret = TokenStore(database).create("ci", Role.VIEWER, None, now=0.0)
    one, other = TokenStore(database), TokenStore(database)
    one.authenticate(secret, 10.0)
    one.write_uses()
    with writes(database) as count:
        other.authenticate(secret, 69.0)
        other.write_uses()
        assert count() == 0


def test_a_check_never_writes_and_a_use_that_cannot_be_written_is_written_later(database: Database) -> None:
    tokens = TokenStore(database)
    _, secret = tokens.create("ci", Role.VIEWER, None, now=0.0)
    with writes(database) as count:
        assert tokens.authenticate(secret, 1.0).name == "ci"
        assert count() == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "transaction", locked)
        with pytest.raises(Unavailable):
            tokens.write_uses()
    tokens.write_uses()
    assert tokens.list()[0].last_used_at == 1.0


def test_a_clock_that_was_set_back_does_not_stop_the_noting(database: Database) -> None:
    tokens = TokenStore(database)
    _, secret = tokens.create("ci", Role.VIEWER, None, now=0.0)
    for now in (5000.0, 1000.0, 5100.0):
        tokens.authenticate(secret, now)
        tokens.write_uses()
    assert tokens.list()[0].last_used_at == 5100.0


def test_who_is_over_is_known_in_every_process(database: Database) -> None:
    tokens, sessions = TokenStore(database), SessionStore(database)
    kept, _ = tokens.create("kept", Role.VIEWER, None, now=0.0)
    short, _ = tokens.create("short", Role.VIEWER, expires_at=100.0, now=0.0)
    gone, _ = tokens.create("gone", Role.VIEWER, None, now=0.0)
    ids = {kept.id, short.id, gone.id, "ffffffff"}
    assert tokens.dead(ids, 99.9) == {"ffffffff"}
    TokenStore(database).revoke(gone.id, now=50.0)
    assert tokens.dead(ids, 100.0) == {"ffffffff", short.id, gone.id}

    cookies = [sessions.open(Principal("kept", Role.VIEWER, kept.id), 0.0) for _ in range(2)]
    digests = [sessions.authenticate(cookie, 1.0).session for cookie in cookies]
    assert sessions.ended(digests, 1.0) == set()
    SessionStore(database).close(cookies[0])
    assert sessions.ended(digests, 1.0) == {digests[0]}
    assert sessions.ended(digests, 12 * HOUR) == set(digests)


@contextmanager
def writes(database: Database) -> Iterator[Callable[[], int]]:
    """Yield what counts the transactions that could write since."""
    begun, begin = 0, database.transaction

    def counted() -> AbstractContextManager[Session]:
        nonlocal begun
        begun += 1
        return begin()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "transaction", counted)
        yield lambda: begun


def locked() -> None:
    raise Unavailable("database is locked")


def signed_in(database: Database, role: Role = Role.OPERATOR) -> tuple[str, str, str]:
    """Return (token id, token text, cookie) of a session opened at 0."""
    token, secret = TokenStore(database).create("ann", role, None, now=0.0)
    principal = TokenStore(database).authenticate(secret, 0.0)
    return token.id, secret, SessionStore(database).open(principal, 0.0)


def test_a_session_stands_for_its_token(database: Database) -> None:
    token_id, _, cookie = signed_in(database)

    digest = hashlib.sha256(cookie.encode()).hexdigest()
    assert SessionStore(database).authenticate(cookie, 1.0) == Principal("ann", Role.OPERATOR, token_id, digest)
    with database.reading() as session:
        assert cookie not in str(session.execute(text("SELECT * FROM console_session")).all())


def test_a_session_ends_after_its_working_day(database: Database) -> None:
    _, _, cookie = signed_in(database)
    sessions = SessionStore(database)

    assert sessions.authenticate(cookie, 12 * HOUR - 1).name == "ann"
    with pytest.raises(Unauthenticated, match="sign in again"):
        sessions.authenticate(cookie, 12 * HOUR)


def test_a_session_dies_with_its_token(database: Database) -> None:
    token_id, _, cookie = signed_in(database)
    TokenStore(database).revoke(token_id, now=10.0)

    with pytest.raises(Unauthenticated, match="revoked"):
        SessionStore(database).authenticate(cookie, 11.0)


def test_signing_out_ends_the_session_and_only_that_one(database: Database) -> None:
    token_id, _, cookie = signed_in(database)
    sessions = SessionStore(database)
    other = sessions.open(Principal("ann", Role.OPERATOR, token_id), 1.0)

    sessions.close(cookie)
    sessions.close(cookie)

    with pytest.raises(Unauthenticated):
        sessions.authenticate(cookie, 2.0)
    assert sessions.authenticate(other, 2.0).name == "ann"


def test_ended_sessions_are_forgotten_when_the_next_one_opens(database: Database) -> None:
    token_id, _, _ = signed_in(database)
    SessionStore(database).open(Principal("ann", Role.OPERATOR, token_id), 13 * HOUR)

    with database.reading() as session:
        assert [s.created_at for s in session.exec(select(ConsoleSessionRow))] == [13 * HOUR]


def test_a_made_up_cookie_opens_nothing(database: Database) -> None:
    with pytest.raises(Unauthenticated, match="sign in again"):
        SessionStore(database).authenticate("made-up", 0.0)


def test_a_token_of_a_role_of_tomorrow_opens_nothing_and_hides_no_other(database: Database) -> None:
    tokens, sessions = TokenStore(database), SessionStore(database)
    newer, secret = tokens.create("newer", Role.VIEWER, None, now=0.0)
    known, _ = tokens.create("known", Role.VIEWER, None, now=1.0)
    cookie = sessions.open(Principal("newer", Role.VIEWER, newer.id), 2.0)
    with database.transaction() as session:
        session.execute(text("UPDATE token SET role = 'auditor' WHERE name = 'newer'"))
    assert tokens.list() == [known]
    with pytest.raises(Unauthenticated, match="'auditor' is not a valid Role"):
        tokens.authenticate(secret, 3.0)
    with pytest.raises(Unauthenticated, match="'auditor' is not a valid Role"):
        sessions.authenticate(cookie, 3.0)
    with pytest.raises(Unreadable, match="it grants no access"):
        tokens.revoke(newer.id, 3.0)
    assert [row.key for row in database.unread.rows()] == [newer.id]
