"""Access tokens by OAuth 2's grant of client credentials, from any issuer.

https://www.rfc-editor.org/rfc/rfc6749#section-4.4
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote_plus, urlencode

from yarl import URL

from collectors.clouds.issuing import MAX_BYTES
from collectors.clouds.json_api import JsonApi, Told
from collectors.clouds.kept import Issued, Kept, bearer
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus
from collectors.http.credentials import authorization, basic
from collectors.http.fetch import address_of
from collectors.samples import Labels
from collectors.target import Auth

LASTS_S = 300.0
"""Seconds for which a token is used whose issuer does not say how long it lasts, which RFC 6749 allows (chosen)."""
REQUEST_S = 10.0
"""Seconds for one request to the issuer (chosen: an issuer answers within one second)."""
_CODE = re.compile(r"[a-z_]{1,40}")
_CURES = {
    "invalid_client": "the issuer does not accept client_id and the client secret; give the client's current ones",
    "invalid_scope": "the client may not have one of scopes:; correct them, or let the issuer grant them",
    "unauthorized_client": "the issuer does not let this client use the client credentials grant; allow it there",
    "unsupported_grant_type": "the issuer has no client credentials grant at token_url; correct token_url",
}
"""Cures by the error codes of RFC 6749, section 5.2."""
_NEITHER = frozenset({400, 401})
"""Statuses of an issuer that does not take the secret in this place (RFC 6749, section 5.2)."""


class Client(Protocol):
    """A client that an issuer knows, as in client_credentials.py."""

    @property
    def token_url(self) -> str:
        """Address at which tokens are asked for."""
        ...

    @property
    def client_id(self) -> str:
        """Name of the client."""
        ...

    @property
    def secret(self) -> Auth:
        """Secret of the client, and the TLS settings and the proxy towards the issuer."""
        ...

    @property
    def scopes(self) -> tuple[str, ...]:
        """Rights that the token is to have."""
        ...

    @property
    def params(self) -> Labels:
        """Further parameters of the question."""
        ...


class Tokens(Kept[str]):
    """Tokens of one client. The connection to the issuer is closed after each question, which is rare."""

    def __init__(self, client: Client, wall: Callable[[], float] = time.time) -> None:
        super().__init__(wall)
        self._client = client
        self._in_form = False
        """Whether the issuer takes the secret in the form alone. RFC 6749 wants it in the header, and not all do."""

    async def _fetch(self) -> Issued[str]:
        url, _ = address_of(self._client.token_url)
        secret = await asyncio.to_thread(self._secret)
        api = JsonApi(self._client.secret, MAX_BYTES, REQUEST_S)
        try:
            told = await self._ask(api, url, secret)
            if told.status in _NEITHER:
                other = await self._other(api, url, secret)
                told = other if other.status == 200 else told
        finally:
            await api.close()
        if told.status != 200:
            raise self._refused(told)
        return _issued(told, self._wall())

    def _secret(self) -> str:
        return (authorization(self._client.secret) or "").partition(" ")[2]

    async def _other(self, api: JsonApi, url: URL, secret: str) -> Told:
        """Return the answer to the question with the secret in the other place, which stays if it is taken."""
        self._in_form = not self._in_form
        told = await self._ask(api, url, secret)
        if told.status != 200:
            self._in_form = not self._in_form
        return told

    async def _ask(self, api: JsonApi, url: URL, secret: str) -> Told:
        client, headers = self._client, {"Content-Type": "application/x-www-form-urlencoded"}
        form = {**dict(client.params), "grant_type": "client_credentials"}
        if client.scopes:
            form["scope"] = " ".join(client.scopes)
        if self._in_form:
            form |= {"client_id": client.client_id, "client_secret": secret}
        else:
            # RFC 6749, section 2.3.1: both are encoded as in a form first.
            headers["Authorization"] = basic(quote_plus(client.client_id), quote_plus(secret))
        return await api.send("POST", url, headers, urlencode(form).encode())

    def _refused(self, told: Told) -> ScrapeError:
        # The issuer's description is not shown: it may repeat parts of the question.
        code = _error_of(told)
        said = f"status {told.status}" + (f" {code}" if code else "")
        if told.status == 429:
            return Limited(said, told.headers.get("retry-after", ""), self._wall())
        return UnexpectedStatus(f"{said}: {_CURES[code]}" if code in _CURES else said)


def _error_of(told: Told) -> str:
    try:
        code = told.data("the error").get("error")
    except ExpositionError:
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def _issued(told: Told, now: float) -> Issued[str]:
    found = told.data("the token")
    kind = found.get("token_type") or "Bearer"
    if not (isinstance(kind, str) and kind.lower() == "bearer"):
        raise ExpositionError("the token: its token_type is not Bearer", 0)
    if not found.get("expires_in"):  # as in Go's oauth2, 0 says as little as nothing
        found = {**found, "expires_in": int(LASTS_S)}
    return bearer(found, now)
