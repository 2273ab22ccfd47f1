"""Console sessions. A browser's cookie stands for the token that it signed in with, and ends with that token."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, or_
from sqlmodel import col, select

from controlplane.access.roles import Principal
from controlplane.access.tokens import digest, refuse_dead, token_of
from controlplane.errors import Forbidden, NotFound, Unauthenticated
from controlplane.store.audit import audit
from controlplane.store.database import Database
from controlplane.store.tables.token import ConsoleSessionRow, TokenRow

SESSION_S = 12 * 3600.0
"""Lifetime of a session in seconds. Chosen: a working day, so that a browser signs in once a day."""


ID_DIGITS = 16
"""Hex digits of the digest that identify a session for people. The digest itself is not shown."""


@dataclass(frozen=True)
class ConsoleSession:
    """One signed-in browser. Times are unix seconds."""

    id: str
    """Beginning of the digest of its cookie."""
    token_id: str
    token_name: str
    role: str
    """Role of the token."""
    created_at: float
    expires_at: float


class SessionStore:
    """Opens, checks and closes sessions. Synchronous. Only a hash of the cookie is stored."""

    def __init__(self, db: Database, lifetime_s: float = SESSION_S) -> None:
        self._db = db
        self._lifetime_s = lifetime_s

    def open(self, principal: Principal, now: float) -> str:
        """Open a session for the principal's token and return the secret of its cookie."""
        cookie = secrets.token_urlsafe(32)
        with self._db.transaction() as session:
            session.execute(delete(ConsoleSessionRow).where(col(ConsoleSessionRow.expires_at) <= now))
            session.add(
                ConsoleSessionRow(
                    digest=digest(cookie),
                    token_id=principal.token_id,
                    created_at=now,
                    expires_at=now + self._lifetime_s,
                )
            )
        return cookie

    def authenticate(self, cookie: str, now: float) -> Principal:
        """Return the principal of a session, with the token's current role. Raises Unauthenticated."""
        query = (
            select(ConsoleSessionRow, TokenRow)
            .join(TokenRow, col(TokenRow.id) == col(ConsoleSessionRow.token_id))
            .where(ConsoleSessionRow.digest == digest(cookie))
        )
        with self._db.reading() as session:
            found = session.exec(query).one_or_none()
        if found is None or found[0].expires_at <= now:
            raise Unauthenticated("the session has ended: sign in again")
        token = token_of(found[1])
        refuse_dead(token, now)
        return Principal(token.name, token.role, token.id, found[0].digest)

    def ended(self, digests: Collection[str], now: float) -> set[str]:
        """Return those of the sessions, given by `Principal.session`, that have ended."""
        with self._db.reading() as session:
            open_ones = select(ConsoleSessionRow.digest).where(
                col(ConsoleSessionRow.digest).in_(digests), col(ConsoleSessionRow.expires_at) > now
            )
            going_on: set[str] = set(session.exec(open_ones))
            return set(digests) - going_on

    def list(self, now: float) -> Sequence[ConsoleSession]:
        """Return the sessions that go on, newest first. Those of a token that is revoked or expired have ended."""
        query = (
            select(ConsoleSessionRow, TokenRow)
            .join(TokenRow, col(TokenRow.id) == col(ConsoleSessionRow.token_id))
            .where(col(ConsoleSessionRow.expires_at) > now, col(TokenRow.revoked_at).is_(None))
            .where(or_(col(TokenRow.expires_at).is_(None), col(TokenRow.expires_at) > now))
            .order_by(col(ConsoleSessionRow.created_at).desc(), col(ConsoleSessionRow.digest))
        )
        with self._db.reading() as session:
            return [
                ConsoleSession(row.digest[:ID_DIGITS], token.id, token.name, token.role, row.created_at, row.expires_at)
                for row, token in session.exec(query)
            ]

    def end(self, session_id: str, now: float, *, by: str) -> None:
        """End the session of an id of `list`. Raises NotFound when it has ended already."""
        of_it = col(ConsoleSessionRow.digest).startswith(session_id, autoescape=True)
        with self._db.transaction() as session:
            row = session.exec(select(ConsoleSessionRow).where(of_it)).first()
            if row is None:
                raise NotFound(f"there is no session {session_id}: it has ended")
            words = f"ended a console session of token {row.token_id}"
            audit(session, by, "session.end", f"session/{session_id}", words, now)
            session.delete(row)

    def close(self, cookie: str) -> None:
        """End a session. No-op when it has ended already."""
        with self._db.transaction() as session:
            session.execute(delete(ConsoleSessionRow).where(col(ConsoleSessionRow.digest) == digest(cookie)))


def csrf_token(cookie: str) -> str:
    """Return the CSRF token that forms of this session must send. Another site can send the cookie but not read it."""
    return hmac.new(cookie.encode(), b"csrf", "sha256").hexdigest()


def check_csrf(cookie: str, token: str) -> None:
    """Raise Forbidden unless `token` is the session's CSRF token."""
    if not hmac.compare_digest(csrf_token(cookie).encode(), token.encode()):
        raise Forbidden("the form belongs to another session: reload the page and try again")
