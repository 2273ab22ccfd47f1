"""A credential that an issuer gives for a time: fetched, kept, and renewed before it ends."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from collectors.clouds.credential_text import fits
from collectors.clouds.waiting import RETRY_S, Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus

RENEW_S = 300.0
"""Seconds before its end at which a credential is renewed. Most last an hour; of a shorter one, half its time."""
_MAX_S = 30 * 86_400.0
"""A longer time is no time of a credential."""
T = TypeVar("T")


class Issued(NamedTuple, Generic[T]):
    """A credential and its end."""

    value: T
    until: float
    """Unix seconds."""


class Kept(ABC, Generic[T]):
    """One credential for one API. `wall` gives unix seconds.

    A renewal is a task of its own: it goes on when the one who began it gives up, and an issuer that hangs delays
    nobody for longer than `patience_s` while the last credential has not ended.
    """

    patience_s = 0.2
    """Longest wait for a new credential, in seconds, while the last one can be used. Chosen: most issuers answer within
    it, and the shortest scrape has one second."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._issued: Issued[T] | None = None
        self._renew_at, self._tried_at = 0.0, float("-inf")
        self._renewal: asyncio.Task[ScrapeError | None] | None = None
        self._replaced_at = float("-inf")
        self.remark = ""
        """Cause for which the credential could not be renewed while the last one is used; "": there is none."""

    async def current(self) -> T:
        """Return a credential that has not ended. All who ask at one time share one renewal.

        While the issuer fails, the last credential is used until its end. Raises ScrapeError, without a secret, and
        ExpositionError for an answer of another form.
        """
        # A clock that was set back would put the renewal off by as much.
        if self._issued is None or not self._tried_at <= self._wall() < self._renew_at:
            usable = self._issued is not None and self._wall() < self._issued.until
            failure = await self._renewed(self.patience_s if usable else None)
            if self._issued is None:
                raise failure or ScrapeError("there is no credential: its source was closed")
        return self._issued.value

    async def instead_of(self, refused: T) -> T | None:
        """Return another credential than the one that a server refused. None: there is none.

        A new one is asked for once in RETRY_S at most, because a server may refuse each of them for want of a right.
        The refused one stays until another is here: other servers may take it. Raises what `current` raises.
        """
        if self._issued is not None and self._issued.value == refused:
            if self._renewal is None or self._renewal.done():
                if 0 <= self._wall() - self._replaced_at < RETRY_S:
                    return None
                self._replaced_at = self._wall()
            await self._renewed(None)
        found = await self.current()
        return None if found == refused else found

    async def _renewed(self, wait_s: float | None) -> ScrapeError | None:
        """Wait for the renewal that goes on, or for a new one; None: to its end. Return what failed."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().create_task(self._renew())
        renewal = self._renewal
        await asyncio.wait({renewal}, timeout=wait_s)
        return renewal.result() if renewal.done() and not renewal.cancelled() else None

    def forget(self) -> bool:
        """Fetch a new credential at the next use: this one was refused. Return whether there can be another."""
        self._issued = None
        return True

    async def close(self) -> None:
        """Close the connections to the issuer, and end a renewal that has begun."""
        if self._renewal and not self._renewal.done():
            self._renewal.cancel()
            await asyncio.wait({self._renewal})

    async def _renew(self) -> ScrapeError | None:
        """Fetch once, and return what failed. The last credential stays until its end."""
        self._tried_at = self._wall()
        try:
            found = await self._fetch()
            lasts_s = found.until - self._wall()
            if lasts_s <= 0:
                raise UnexpectedStatus("the issuer gave a credential that has ended; is this host's clock right?")
        except ScrapeError as error:
            if self._issued is None or self._wall() >= self._issued.until:
                self._issued = None
                return error
            wait_s = error.wait_s if isinstance(error, Limited) else RETRY_S
            self._renew_at = min(self._issued.until, self._wall() + wait_s)
            self.remark = f"the credentials cannot be renewed, and the last ones are used to their end: {error}"
            return error
        self.remark = ""
        self._issued, self._renew_at = found, found.until - min(RENEW_S, lasts_s / 2)
        return None

    @abstractmethod
    async def _fetch(self) -> Issued[T]:
        """Return a new credential. Raises ScrapeError."""


def bearer(found: Mapping[str, Any], now: float) -> Issued[str]:
    """Return the access token of an answer of OAuth 2; `now` is in unix seconds.

    Azure gives its numbers as text, and its App Service `expires_on` (unix seconds) alone. Raises ExpositionError.
    """
    token = found.get("access_token")
    lasts, until = _seconds(found.get("expires_in")), _seconds(found.get("expires_on"))
    if not fits(token):
        raise ExpositionError("the token: the answer has no access_token", 0)
    if lasts is None and until is None:
        raise ExpositionError("the token: the answer has no access_token with expires_in or expires_on", 0)
    return Issued(token, min(now + _MAX_S, until or 0.0 if lasts is None else now + lasts))


def _seconds(value: object) -> float | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 13:
        return float(value)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1e12 else None
