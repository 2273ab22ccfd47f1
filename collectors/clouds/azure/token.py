"""Access tokens of Microsoft's identity platform for an application: by its secret, or by a workload's own token.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
https://learn.microsoft.com/entra/workload-id/workload-identity-federation
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from yarl import URL

from collectors.clouds.issuing import in_environment, proof_in
from collectors.clouds.json_api import JsonApi, Told
from collectors.clouds.kept import Issued, Kept, bearer
from collectors.clouds.waiting import Limited
from collectors.errors import ScrapeError, UnexpectedStatus
from collectors.http.credentials import authorization
from collectors.target import Auth

_CODE = re.compile(r"AADSTS[0-9]{3,9}")
_NOT_FEDERATED = "the application has no federated credential for the token's issuer, subject and audience; add it"
_CURES = {
    "AADSTS7000215": "the client secret is wrong; give the secret's value, not its id",
    "AADSTS7000222": "the client secret has expired; make a new one for the application",
    "AADSTS700016": "the tenant has no application azure.client",
    "AADSTS700024": "the workload's token has expired; is it renewed, and is this host's clock right?",
    "AADSTS70021": _NOT_FEDERATED,
    "AADSTS700211": _NOT_FEDERATED,
    "AADSTS700213": _NOT_FEDERATED,
    "AADSTS50027": "the file does not hold the workload's token (JWT)",
    "AADSTS90002": "there is no tenant azure.tenant",
    "AADSTS900023": "there is no tenant azure.tenant",
}


CLIENT_SECRET, WORKLOAD, MANAGED = "client_secret", "workload_identity", "managed_identity"
TENANT, CLIENT, TOKEN_FILE = "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"
_WHO = 'AKS sets it for a pod with the label azure.workload.identity/use: "true"'
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True)
class Application:
    """An application registered in a tenant, or a managed identity. A secret is in the target's credentials."""

    tenant: str
    """"": the environment has it."""
    client: str
    """"": the environment has it; of managed identities, the one of the host."""
    login: str
    """Base of the identity platform."""
    identity: str = CLIENT_SECRET

    def names(self) -> tuple[str, str]:
        """Return the tenant and the client, of a workload from the environment too. Raises ScrapeError."""
        if self.identity != WORKLOAD:
            return self.tenant, self.client
        return self.tenant or in_environment(TENANT, _WHO), self.client or in_environment(CLIENT, _WHO)


class Tokens(Kept[str]):
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

    async def _fetch(self) -> Issued[str]:
        tenant, form = await asyncio.to_thread(self._question)
        url = URL(f"{self._application.login.rstrip('/')}/{tenant}/oauth2/v2.0/token")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        told = await self._api.send("POST", url, headers, urlencode(form).encode())
        if told.status != 200:
            raise self._refused(told)
        return bearer(told.data("the token"), self._wall())

    def _question(self) -> tuple[str, dict[str, str]]:
        """Return the tenant and the form. Blocking: files are read anew, because others renew them."""
        tenant, client = self._application.names()
        form = {"grant_type": "client_credentials", "scope": f"{self._audience}/.default"}
        if self._application.identity == WORKLOAD:
            form |= {"client_assertion_type": _ASSERTION, "client_assertion": workload_proof()}
        else:
            form["client_secret"] = (authorization(self._secret) or "").partition(" ")[2]
        return tenant, {**form, "client_id": client}

    def _refused(self, told: Told) -> ScrapeError:
        # The platform's own words are not shown: they repeat parts of the request.
        found = _CODE.search(told.body.decode(errors="replace"))
        code = found[0] if found else ""
        said = f"no token: status {told.status}" + (f" {code}" if code else "")
        if told.status == 429:
            return Limited(said, told.headers.get("retry-after", ""), self._wall())
        return UnexpectedStatus(f"{said}: {_CURES[code]}" if code in _CURES else said)


def workload_proof() -> str:
    """Return the workload's own token. Blocking. Raises ScrapeError without the token."""
    return proof_in(in_environment(TOKEN_FILE, _WHO))
