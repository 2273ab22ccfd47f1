"""Access tokens of Google, by the key file of a service account: a JWT signed with RS256.

https://developers.google.com/identity/protocols/oauth2/service-account
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from collectors.clouds.google.key_file import service_account
from collectors.clouds.json_api import JsonApi
from collectors.clouds.kept import Issued, Kept, bearer
from collectors.clouds.waiting import Limited
from collectors.errors import UnexpectedStatus
from collectors.http.fetch import address_of

MONITORING = "https://www.googleapis.com/auth/monitoring.read"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LASTS_S = 3600


class ServiceAccountTokens(Kept[str]):
    """Tokens of the service account whose key is in a file, which is read at each renewal."""

    def __init__(
        self, key_file: str, api: JsonApi, wall: Callable[[], float] = time.time, scopes: Sequence[str] = (MONITORING,)
    ) -> None:
        super().__init__(wall)
        self._file, self._api, self._scopes = key_file, api, scopes

    async def _fetch(self) -> Issued[str]:
        place, assertion = await asyncio.to_thread(self._assertion)
        body = urlencode({"grant_type": _GRANT, "assertion": assertion}).encode()
        url, _ = address_of(place)
        told = await self._api.send("POST", url, {"Content-Type": "application/x-www-form-urlencoded"}, body)
        if told.status == 200:
            return bearer(told.data("the token"), self._wall())
        said = f"no token: status {told.status}"
        if told.status == 429:
            raise Limited(said, told.headers.get("retry-after", ""), self._wall())
        if b"reasonable timeframe" in told.body:
            raise UnexpectedStatus(f"{said}: this host's clock is wrong; set it")
        if b"invalid_grant" in told.body:
            raise UnexpectedStatus(f"{said}: Google does not know the key in {self._file}; is it deleted?")
        raise UnexpectedStatus(said)

    def _assertion(self) -> tuple[str, str]:
        """Return the address for tokens and a signed question for one."""
        account, place, key_id, key = service_account(self._file)
        now = int(self._wall())
        scope = " ".join(self._scopes)
        claims = {"iss": account, "scope": scope, "aud": place, "iat": now, "exp": now + _LASTS_S}
        text = f"{_encoded({'alg': 'RS256', 'typ': 'JWT', 'kid': key_id})}.{_encoded(claims)}"
        return place, f"{text}.{_base64(key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def _encoded(part: dict[str, Any]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
