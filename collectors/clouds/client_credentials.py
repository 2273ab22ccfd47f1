"""Settings of a client that gets its tokens by OAuth 2's grant of client credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from collectors.errors import ScrapeError
from collectors.samples import Labels
from collectors.target import Auth

if TYPE_CHECKING:
    from collectors.clouds.oauth2 import Tokens


@dataclass(frozen=True)
class ClientCredentials:
    """Implements collectors.target.Issuer. All sources that share one object share its token."""

    token_url: str
    client_id: str
    secret: Auth
    """The client's secret, read at each renewal, and the TLS settings and the proxy towards the issuer."""
    scopes: tuple[str, ...] = ()
    params: Labels = field(default=(), repr=False)
    """Further parameters of the question, such as `audience`."""

    @property
    def place(self) -> str:
        """Host that is asked."""
        return urlsplit(self.token_url).hostname or ""

    async def authorization(self) -> str:
        """Return `Bearer` and a token that has not ended. Raises ScrapeError."""
        try:
            return f"Bearer {await self._tokens.current()}"
        except ScrapeError as error:
            # Another class would tell of the server that wants the token what its issuer did.
            raise ScrapeError(f"oauth2: no token from {self.place}: {error}") from error

    async def instead_of(self, refused: str) -> str | None:
        """Return another value of the header than one that a server refused. None: the issuer gives no other now."""
        try:
            token = await self._tokens.instead_of(refused.removeprefix("Bearer "))
        except ScrapeError:
            return None
        return f"Bearer {token}" if token else None

    @cached_property
    def _tokens(self) -> Tokens:
        # Not at the top: a fleet.yaml is read, and its faults are told, before the HTTP client is imported.
        from collectors.clouds.oauth2 import Tokens

        return Tokens(self)
