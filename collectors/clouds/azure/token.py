"""Access tokens of Microsoft's identity platform, by client credentials: fetched, kept, and renewed before they end.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from yarl import URL

from collectors.clouds.json_api import JsonApi, Told
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus
from collectors.http.credentials import authorization
from collectors.target import Auth

RENEW_S = 300.0
"""Seconds before its end at which a token is renewed. Azure's last an hour."""
_CODE = re.compile(r"AADSTS[0-9]{3,9}")
_CURES = {
    "AADSTS7000215": "the client secret is wrong; give the secret's value, not its id",
    "AADSTS7000222": "the client secret has expired; make a new one for the application",
    "AADSTS700016": "the tenant has no application azure.client",
    "AADSTS90002": "there is no tenant azure.tenant",
    "AADSTS900023": "there is no tenant azure.tenant",
}


@dataclass(frozen=True)
class Application:
    """An application registered in a tenant. Its secret is in the target's credentials."""

    tenant: str
    client: str
    login: str
    """Base of the identity platform."""


class Tokens:
    """Tokens of an application for one API, whose base is `audience`."""

    def __init__(
        self,
        application: Application,
        secret: Auth,
        audience: str,
        api: JsonApi,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._application, self._secret, self._audience = application, secret, audience
        self._api, self._wall = api, wall
        self._token, self._until = "", 0.0

    async def token(self) -> str:
        """Return a token that is good for minutes. Raises ScrapeError, without the secret."""
        if not self._token or self._wall() >= self._until:
            await self._fetch()
        return self._token

    def forget(self) -> None:
        """Fetch a new token at the next use: this one was refused."""
        self._token = ""

    async def _fetch(self) -> None:
        given = await asyncio.to_thread(authorization, self._secret)
        form = {
            "grant_type": "client_credentials",
            "client_id": self._application.client,
            "client_secret": (given or "").partition(" ")[2],
            "scope": f"{self._audience}/.default",
        }
        url = URL(f"{self._application.login.rstrip('/')}/{self._application.tenant}/oauth2/v2.0/token")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        told = await self._api.send("POST", url, headers, urlencode(form).encode())
        if told.status != 200:
            raise self._refused(told)
        found = told.data("the token")
        token, lasts_s = found.get("access_token"), found.get("expires_in")
        if not (isinstance(token, str) and token.isascii() and token.isprintable() and isinstance(lasts_s, int)):
            raise ExpositionError("the token: the answer has no access_token, or no expires_in", 0)
        self._token, self._until = token, self._wall() + lasts_s - RENEW_S

    def _refused(self, told: Told) -> ScrapeError:
        # The platform's own words are not shown: they repeat parts of the request.
        found = _CODE.search(told.body.decode(errors="replace"))
        code = found[0] if found else ""
        said = f"no token: status {told.status}" + (f" {code}" if code else "")
        if told.status == 429:
            return Limited(said, told.headers.get("retry-after", ""), self._wall())
        return UnexpectedStatus(f"{said}: {_CURES[code]}" if code in _CURES else said)
