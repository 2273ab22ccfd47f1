"""Access tokens of Google for the token of another issuer: workload identity federation.

https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token and
https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from collectors.clouds.credential_text import fits
from collectors.clouds.google.key_file import ExternalAccount, external_account
from collectors.clouds.issuing import ends_at, safe
from collectors.clouds.json_api import JsonApi, Told
from collectors.clouds.kept import Issued, Kept, bearer
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind
_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"


class ExternalAccountTokens(Kept[str]):
    """Tokens for the external account that a file describes. All files are read at each renewal."""

    def __init__(
        self, file: str, api: JsonApi, wall: Callable[[], float] = time.time, scopes: Sequence[str] = ()
    ) -> None:
        super().__init__(wall)
        self._file, self._api, self._scopes = file, api, tuple(scopes)

    async def _fetch(self) -> Issued[str]:
        account, proof = await asyncio.to_thread(self._read)
        form = {
            "grant_type": _GRANT,
            "audience": account.audience,
            "scope": _PLATFORM if account.impersonation_url else " ".join(self._scopes),
            "requested_token_type": _ACCESS_TOKEN,
            "subject_token": proof,
            "subject_token_type": account.token_type,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url = safe(account.token_url, self._file)
        told = await self._api.send("POST", url, headers, urlencode(form).encode())
        if told.status != 200:
            raise self._refused(told, f"no token for the one in {account.token_file}", account)
        federated = bearer(told.data("the token"), self._wall())
        return await self._impersonated(account, federated) if account.impersonation_url else federated

    async def _impersonated(self, account: ExternalAccount, federated: Issued[str]) -> Issued[str]:
        asked = json.dumps({"scope": list(self._scopes), "lifetime": f"{account.lifetime_s}s"}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {federated.value}"}
        told = await self._api.send("POST", safe(account.impersonation_url, self._file), headers, asked)
        if told.status != 200:
            raise self._refused(told, "no token of the service account", account)
        found = told.data("the token of the service account")
        token = found.get("accessToken")
        if not fits(token):
            raise ExpositionError("the token of the service account: the answer has no accessToken", 0)
        return Issued(token, ends_at(found.get("expireTime"), "the token of the service account"))

    def _read(self) -> tuple[ExternalAccount, str]:
        account = external_account(self._file)
        return account, account.proof()

    def _refused(self, told: Told, what: str, account: ExternalAccount) -> ScrapeError:
        # Google's own words are not shown: they repeat parts of the request.
        said = f"{what}: status {told.status}"
        if told.status == 429:
            return Limited(said, told.headers.get("retry-after", ""), self._wall())
        if b"invalid_grant" in told.body:
            return UnexpectedStatus(
                f"{said}: Google refuses the token in {account.token_file}; is it renewed, and does the provider "
                "of the pool accept its issuer and audience?"
            )
        if told.status in (401, 403) and b"invalid_target" not in told.body:
            return UnexpectedStatus(
                f"{said}: give the external account the role roles/iam.workloadIdentityUser on the service account"
            )
        if b"invalid_target" in told.body or told.status == 404:
            return UnexpectedStatus(f"{said}: the audience in {self._file} names no provider of a pool that exists")
        return UnexpectedStatus(said)
