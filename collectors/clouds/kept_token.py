"""An access token of OAuth 2: fetched, kept, and renewed before it ends."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from collectors.clouds.json_api import Told
from collectors.errors import ExpositionError

RENEW_S = 300.0
"""Seconds before its end at which a token is renewed. Clouds' tokens last an hour."""


class KeptToken(ABC):
    """A token for one API. `wall` gives unix seconds."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._token, self._until = "", 0.0

    async def token(self) -> str:
        """Return a token that is good for minutes.

        Raises ScrapeError, without a secret, and ExpositionError for an answer of another form.
        """
        if not self._token or self._wall() >= self._until:
            found = (await self._fetch()).data("the token")
            token, lasts_s = found.get("access_token"), found.get("expires_in")
            if not (isinstance(token, str) and token.isascii() and token.isprintable() and isinstance(lasts_s, int)):
                raise ExpositionError("the token: the answer has no access_token, or no expires_in", 0)
            self._token, self._until = token, self._wall() + lasts_s - RENEW_S
        return self._token

    def forget(self) -> None:
        """Fetch a new token at the next use: this one was refused."""
        self._token = ""

    @abstractmethod
    async def _fetch(self) -> Told: ...
