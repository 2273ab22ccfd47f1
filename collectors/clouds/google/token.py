"""Access tokens of Google, by the key file of a service account: a JWT signed with RS256.

https://developers.google.com/identity/protocols/oauth2/service-account
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from collectors.clouds.json_api import JsonApi, Told
from collectors.clouds.kept_token import KeptToken
from collectors.clouds.waiting import Limited
from collectors.errors import ScrapeError, UnexpectedStatus
from collectors.http.fetch import address_of
from collectors.regular_file import read_regular

SCOPE = "https://www.googleapis.com/auth/monitoring.read"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LASTS_S = 3600
_MAX_BYTES = 1 << 16


class ServiceAccountTokens(KeptToken):
    """Tokens of the service account whose key is in a file, which is read at each use."""

    def __init__(self, key_file: str, api: JsonApi, wall: Callable[[], float] = time.time) -> None:
        super().__init__(wall)
        self._file, self._api = key_file, api

    async def _fetch(self) -> Told:
        place, assertion = await asyncio.to_thread(self._assertion)
        body = urlencode({"grant_type": _GRANT, "assertion": assertion}).encode()
        url, _ = address_of(place)
        told = await self._api.send("POST", url, {"Content-Type": "application/x-www-form-urlencoded"}, body)
        if told.status == 200:
            return told
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
        try:
            found = json.loads(read_regular(self._file, _MAX_BYTES))
            account, place, pem = (str(found[name]) for name in ("client_email", "token_uri", "private_key"))
            key = load_pem_private_key(pem.encode(), None)
        except OSError as error:
            raise ScrapeError(f"cannot read the key file {self._file}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, RecursionError, UnsupportedAlgorithm):
            raise ScrapeError(f"{self._file} is no key file of a service account (JSON)") from None
        if not isinstance(key, RSAPrivateKey):
            raise ScrapeError(f"the key in {self._file} is no RSA key")
        now = int(self._wall())
        claims = {"iss": account, "scope": SCOPE, "aud": place, "iat": now, "exp": now + _LASTS_S}
        header = {"alg": "RS256", "typ": "JWT", "kid": str(found.get("private_key_id", ""))}
        text = f"{_encoded(header)}.{_encoded(claims)}"
        return place, f"{text}.{_base64(key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def _encoded(part: dict[str, Any]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
