"""Who is let in: tokens and sessions are checked, guessing is slowed down, and refusals are logged and audited."""

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
"""No token or session id of ours is longer; longer ones are refused before they reach the database."""

WRITE_S = 5.0
"""How often `write` is to be called: until then a token's use, or a refusal, is in memory only."""
AWAY_TOLD_S = 60.0
"""How often the log has it that the database is away: strangers decide how often it is asked."""

log = logging.getLogger(__name__)


class Attempt(NamedTuple):
    """Where a credential came from."""

    address: str
    """The client's, behind trusted proxies the one that they name."""
    door: str
    """Where it was tried, as it reads in a sentence: "the sign-in page"."""


class Gatekeeper:
    """Checks credentials for the event loop. Nothing here waits for a write of the database."""

    def __init__(self, db: Database, tokens: TokenStore, sessions: SessionStore, pool: ThreadPool) -> None:
        """`pool` is for what is asked of the database on the way in."""
        self._pool, self._db, self.tokens, self.sessions = pool, db, tokens, sessions
        self._throttle = SignInThrottle()
        self._refusals = Refusals()
        self._writing = asyncio.Lock()
        self._tell_away = Every(AWAY_TOLD_S)

    async def by_token(self, text: str, attempt: Attempt, now: float) -> Principal:
        """Return who carries this token. Raises Throttled, Unauthenticated, and Unavailable that names no place."""
        account = _account(text)
        if not account:
            # Nothing was guessed at, and nothing is looked up: there is nothing to hold up.
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
        """Return who is signed in. Raises Unauthenticated, and Unavailable that names no place."""
        if len(cookie) > MAX_CREDENTIAL_LENGTH:
            raise Unauthenticated("the session is not valid; sign in again")
        try:
            return await self._pool.run(self.sessions.authenticate, cookie, now)
        except Unavailable as error:
            raise self._hidden(error, now) from error

    async def over(self, principals: set[Principal], now: float) -> set[Principal]:
        """Return whose token or session is over, whichever process ended it. Raises Unavailable."""
        dead = await self._pool.run(self.tokens.dead, {p.token_id for p in principals}, now)
        sessions = {p.session for p in principals if p.session}
        ended = await self._pool.run(self.sessions.ended, sessions, now) if sessions else set()
        return {p for p in principals if p.token_id in dead or p.session in ended}

    async def write(self) -> None:
        """Write what was noted since the last call: uses of tokens, and refusals.

        Raises Unavailable: nothing is lost then, and the next call writes it.
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
        """Write what is left, where the database can be written."""
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
        """Return what a stranger may know: where the database is, and as whom we use it, is for the log alone."""
        if self._tell_away.take(now):
            log.warning("access: credentials cannot be checked: %s", error)
        return Unavailable("the database cannot be asked who this is; try again")


def _account(text: str) -> str:
    """Return the id that a token claims, or "": what came is nobody's to repeat, but for an id of ours."""
    try:
        return split_token(text)[0]
    except ValueError:
        return ""
