"""Access tokens of Microsoft's identity platform, by client credentials.

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
from collectors.clouds.kept_token import KeptToken
from collectors.clouds.waiting import Limited
from collectors.errors import ScrapeError, UnexpectedStatus
from collectors.http.credentials import authorization
from collectors.target import Auth

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


class Tokens(KeptToken):
    """Tokens of an application for one API, whose base is `audience`."""

    def __init__(
        self,
        application: Application,
        secret: Auth,
        audience: str,
        api: JsonApi,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(wall)
        self._application, self._secret, self._audience = application, secret, audience
        self._api = api

    async def _fetch(self) -> Told:
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
        return told

    def _refused(self, told: Told) -> ScrapeError:
        # The platform's own words are not shown: they repeat parts of the request.
        found = _CODE.search(told.body.decode(errors="replace"))
        code = found[0] if found else ""
        said = f"no token: status {told.status}" + (f" {code}" if code else "")
        if told.status == 429:
            return Limited(said, told.headers.get("retry-after", ""), self._wall())
        return UnexpectedStatus(f"{said}: {_CURES[code]}" if code in _CURES else said)
