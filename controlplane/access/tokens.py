"""API tokens: `cp_<id>_<secret>`. The id is public and selects the row. Only the SHA-256 of the secret is stored.

A plain hash is enough: the secret is 256 random bits, so no dictionary helps to guess it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, update
from sqlmodel import col, select

from alerts.errors import NotReadable
from alerts.stored import checked, reading
from controlplane.access.roles import Principal, Role
from controlplane.errors import Conflict, NotFound, Unauthenticated, Unreadable
from controlplane.store.audit import audit
from controlplane.store.database import Database
from controlplane.store.tables.token import TokenRow

_TOKEN = re.compile(r"cp_([0-9a-f]{8,32})_([A-Za-z0-9_-]{43,200})")
"""43 characters of URL-safe base64 hold 32 bytes. The secret may contain underscores; the id cannot."""

FORMAT = "cp_<id>_<secret>, an id of 8 to 32 hex digits and a secret of at least 43 letters, digits, - or _"

_LAST_USED_S = 60.0
"""Minimum seconds between two recorded uses of a token. Chosen: a busy token must not cause a write for each read."""


@dataclass(frozen=True)
class Token:
    """A token without its secret. Times are unix seconds. `expires_at` None: the token never expires."""

    id: str
    name: str
    role: Role
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None

    def live(self, now: float) -> bool:
        """Return whether the token authenticates at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_token_text() -> str:
    """Return the text of a new random token."""
    return f"cp_{secrets.token_hex(6)}_{secrets.token_hex(32)}"


def split_token(text: str) -> tuple[str, str]:
    """Return (id, secret). Raises ValueError, which names the format and never repeats the text."""
    match = _TOKEN.fullmatch(text)
    if not match:
        raise ValueError(f"expected {FORMAT}")
    return match[1], match[2]


def digest(secret: str) -> str:
    """Return the hex SHA-256 under which a secret is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


class TokenStore:
    """Makes, lists, revokes and checks tokens. Synchronous."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._used: dict[str, float] = {}
        self._unwritten: set[str] = set()

    def create(
        self, name: str, role: Role, expires_at: float | None, now: float, *, by: str = "controlplane"
    ) -> tuple[Token, str]:
        """Make a token. Return it and its text, which is not stored.

        Raises Conflict when a live token has this name: the audit trail identifies actors by it.
        """
        text = new_token_text()
        return self.add(text, name, role, expires_at, now, by=by), text

    def add(
        self, text: str, name: str, role: Role, expires_at: float | None, now: float, *, by: str = "controlplane"
    ) -> Token:
        """Store a token with an existing text. Raises ValueError for its format, and Conflict as `create` does."""
        token_id, secret = split_token(text)
        row = TokenRow(
            id=token_id,
            name=name,
            role=role.value,
            digest=digest(secret),
            created_at=now,
            created_by=by,
            expires_at=expires_at,
        )
        with self._db.transaction() as session:
            if session.exec(select(TokenRow.id).where(TokenRow.name == name, *_live(now))).first() is not None:
                raise Conflict(f"a token named {name} exists: revoke it first, or choose another name")
            session.add(row)
            audit(session, by, "token.create", f"token/{token_id}", f"{name} with role {role}", now)
        return token_of(row)

    def list(self) -> list[Token]:
        """Return all tokens, revoked and expired ones included, newest first."""
        with self._db.reading() as session:
            newest = select(TokenRow).order_by(col(TokenRow.created_at).desc(), col(TokenRow.id))
            return self._db.unread.readable("token", session.exec(newest), lambda row: row.id, _read)

    def revoke(self, token_id: str, now: float, *, by: str = "controlplane") -> Token:
        """Revoke a token and thereby its console sessions. Revoking it again changes nothing.

        Raises NotFound, Unreadable, and Conflict for the last live admin token: nobody could make another one.
        """
        with self._db.transaction() as session:
            # Lock all admin tokens too, always in the same order: two admins cannot revoke each other at once.
            concerned = or_(col(TokenRow.id) == token_id, col(TokenRow.role) == Role.ADMIN.value)
            query = select(TokenRow).where(concerned).order_by(col(TokenRow.id)).with_for_update()
            rows = {row.id: row for row in session.exec(query)}
            row = rows.get(token_id)
            if row is None:
                raise NotFound(f"there is no token {token_id}")
            try:
                _read(row)
            except NotReadable as fault:
                words = f"token {token_id} cannot be read ({fault}), so it grants no access"
                raise Unreadable(f"{words}; revoke it with the release that made it") from fault
            if row.revoked_at is None:
                if [r.id for r in rows.values() if r.role == Role.ADMIN and token_of(r).live(now)] == [token_id]:
                    raise Conflict(f"{row.name} ({token_id}) is the last admin token: create another admin token first")
                row.revoked_at = now
                audit(session, by, "token.revoke", f"token/{token_id}", f"{row.name} with role {row.role}", now)
            return token_of(row)

    def authenticate(self, text: str, now: float) -> Principal:
        """Return the principal of this token.

        Raises Unauthenticated. Only a client with the right secret learns that a token is revoked or expired.
        """
        try:
            token_id, secret = split_token(text)
        except ValueError as error:
            raise Unauthenticated(f"the token is malformed: {error}") from None
        with self._db.reading() as session:
            row = session.get(TokenRow, token_id)
        if row is None or not hmac.compare_digest(row.digest, digest(secret)):
            raise Unauthenticated("the token is not known here")
        token = token_of(row)
        refuse_dead(token, now)
        self._note_use(token, now)
        return Principal(token.name, token.role, token.id)

    def write_uses(self) -> None:
        """Write the times of the last uses. `authenticate` does not do it: it must never wait for a write.

        Raises Unavailable: nothing is lost then, and the next call writes them.
        """
        uses = {token_id: self._used[token_id] for token_id in list(self._unwritten)}
        if not uses:
            return
        with self._db.transaction() as session:
            for token_id, at in uses.items():
                # Another process may have written a later use.
                stale = or_(col(TokenRow.last_used_at).is_(None), col(TokenRow.last_used_at) <= at - _LAST_USED_S)
                session.execute(update(TokenRow).where(col(TokenRow.id) == token_id, stale).values(last_used_at=at))
        self._unwritten.difference_update(uses)

    def dead(self, token_ids: Collection[str], now: float) -> set[str]:
        """Return those of the tokens that are revoked, expired or unknown."""
        with self._db.reading() as session:
            query = select(TokenRow.id).where(col(TokenRow.id).in_(token_ids), *_live(now))
            good: set[str] = set(session.exec(query))
            return set(token_ids) - good

    def _note_use(self, token: Token, now: float) -> None:
        seen = [at for at in (token.last_used_at, self._used.get(token.id)) if at is not None]
        if seen and 0 <= now - max(seen) < _LAST_USED_S:
            return
        self._used[token.id] = now
        self._unwritten.add(token.id)


def refuse_dead(token: Token, now: float) -> None:
    """Raise Unauthenticated when the token is revoked or expired."""
    if token.revoked_at is not None:
        raise Unauthenticated(f"token {token.name} ({token.id}) was revoked")
    if not token.live(now):
        raise Unauthenticated(f"token {token.name} ({token.id}) has expired: ask an admin for a new one")


def _live(now: float) -> tuple[ColumnElement[bool], ...]:
    return (
        col(TokenRow.revoked_at).is_(None),
        or_(col(TokenRow.expires_at).is_(None), col(TokenRow.expires_at) > now),
    )


def token_of(row: TokenRow) -> Token:
    """Return the token of a row. Raises Unauthenticated when the row cannot be read: it then grants no access."""
    try:
        return _read(row)
    except NotReadable as fault:
        raise Unauthenticated(f"token {row.id} cannot be read ({fault}); run the release that made it") from fault


def _read(row: TokenRow) -> Token:
    with reading():
        return checked(Token(role=Role(row.role), **row.model_dump(exclude={"role", "digest"})))
