"""The check of tokens and sessions. Guessing is slowed down, and refusals are logged and audited."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from controlplane.access.refusals import Refusals, rest, write_refusals
from controlplane.access.roles import Principal
from controlplane.access.sessions import SessionStore
from controlplane.access.throttle import SignInThrottle, Throttled
from controlplane.access.tokens import FORMAT, TokenStore, split_token
from controlplane.clock.every import Every
from controlplane.errors import Unauthenticated, Unavailable
from controlplane.pools import ThreadPool
from controlplane.store.database import Database

MAX_CREDENTIAL_LENGTH = 512
"""Maximum length of a credential. No token or session id is longer; a longer one is refused without a query."""

WRITE_S = 5.0
"""Seconds between two calls of `write`. Uses of tokens and refusals are only in memory until the next call. Chosen."""
AWAY_TOLD_S = 60.0
"""Minimum seconds between two log lines about an unavailable database: any client can cause them. Chosen."""

log = logging.getLogger(__name__)


class Attempt(NamedTuple):
    """The origin of a credential."""

    address: str
    """The client's address. Behind trusted proxies: the address that they report."""
    door: str
    """The entry point, as it reads in a sentence: "the sign-in page" or "the API"."""


class Gatekeeper:
    """Checks credentials for the event loop. No check waits for a write of the database."""

    def __init__(self, db: Database, tokens: TokenStore, sessions: SessionStore, pool: ThreadPool) -> None:
        """`pool` runs the database queries of the checks."""
        self._pool, self._db, self.tokens, self.sessions = pool, db, tokens, sessions
        self._throttle = SignInThrottle()
        self._refusals = Refusals()
        self._writing = asyncio.Lock()
        self._tell_away = Every(AWAY_TOLD_S)

    async def by_token(self, text: str, attempt: Attempt, now: float) -> Principal:
        """Return the principal of this token.

        Raises Throttled, Unauthenticated, and Unavailable, which does not name the database.
        """
        account = _account(text)
        if not account:
            # A malformed token needs no query and cannot guess a secret: it is not throttled.
            reason = f"the token is malformed: expected {FORMAT}"
            self._refused(account, attempt, reason, now)
            raise Unauthenticated(reason)
        try:
            self._throttle.check(account, attempt.address, text, now)
            principal = await self._look_up(text, now)
        except Throttled as error:
            self._refused(account, attempt, str(error), now)
            raise
        except Unauthenticated as error:
            self._throttle.failed(account, attempt.address, now)
            self._refused(account, attempt, str(error), now)
            raise
        self._throttle.succeeded(account, attempt.address, text)
        return principal

    async def by_session(self, cookie: str, now: float) -> Principal:
        """Return the principal of this session. Raises Unauthenticated, and Unavailable without the database's name."""
        if len(cookie) > MAX_CREDENTIAL_LENGTH:
            raise Unauthenticated("the session is not valid; sign in again")
        try:
            return await self._pool.run(self.sessions.authenticate, cookie, now)
        except Unavailable as error:
            raise self._hidden(error, now) from error

    async def over(self, principals: set[Principal], now: float) -> set[Principal]:
        """Return the principals whose token or session any process has ended. Raises Unavailable."""
        dead = await self._pool.run(self.tokens.dead, {p.token_id for p in principals}, now)
        sessions = {p.session for p in principals if p.session}
        ended = await self._pool.run(self.sessions.ended, sessions, now) if sessions else set()
        return {p for p in principals if p.token_id in dead or p.session in ended}

    def note_refusal(self, kind: str, account: str, door: str, reason: str, now: float) -> None:
        """Note that a known sender was refused, for the log and the audit trail.

        `kind` and `account` are the sender, such as `slack` and a person's id there. `door` is the thing that was used.
        """
        first = self._refusals.note(account, account, door, reason, now, kind=kind)
        if first is not None:
            log.warning("access refused: %s", first.sentence)

    async def write(self) -> None:
        """Write the uses of tokens and the refusals since the last call.

        Raises Unavailable: nothing is lost then, and the next call writes them.
        """
        async with self._writing:
            refusals, more = self._refusals.take()
            try:
                await self._pool.run(write_refusals, self._db, refusals, more)
            except BaseException:  # cancelled too: nothing is lost
                self._refusals.put_back(refusals, more)
                raise
            if more:
                log.warning("access: %s", rest(more))
            await self._pool.run(self.tokens.write_uses)

    async def close(self) -> None:
        """Write the remaining uses and refusals, if the database can be written."""
        try:
            await self.write()
        except Unavailable as error:
            log.warning("access: the last uses of tokens, and refusals, are not in the database: %s", error)

    async def _look_up(self, text: str, now: float) -> Principal:
        try:
            return await self._pool.run(self.tokens.authenticate, text, now)
        except Unavailable as error:
            raise self._hidden(error, now) from error

    def _refused(self, account: str, attempt: Attempt, reason: str, now: float) -> None:
        first = self._refusals.note(account, attempt.address, attempt.door, reason, now)
        if first is not None:
            log.warning("access refused: %s", first.sentence)

    def _hidden(self, error: Unavailable, now: float) -> Unavailable:
        """Return an error for the client. The database's address and user are only in the log."""
        if self._tell_away.take(now):
            log.warning("access: credentials cannot be checked: %s", error)
        return Unavailable("the credential cannot be checked, because the database does not answer; try again")


def _account(text: str) -> str:
    """Return the id in a token's text, or "" for a malformed text, which must not be repeated in log or audit trail."""
    try:
        return split_token(text)[0]
    except ValueError:
        return ""
