"""Access tokens of a managed identity: from the metadata service of a virtual machine, or from App Service.

https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from yarl import URL

from collectors.clouds.issuing import ISSUER_S, in_environment, issuer_api, near
from collectors.clouds.json_api import Told
from collectors.clouds.kept import Issued, Kept, bearer
from collectors.clouds.waiting import Limited
from collectors.errors import ScrapeError, ScrapeTimeout, UnexpectedStatus, Unreachable

APP_SERVICE, APP_SERVICE_HEADER = "IDENTITY_ENDPOINT", "IDENTITY_HEADER"
METADATA = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
"""Another base of the metadata service, as Azure's own libraries read it."""
_DEFAULT = "http://169.254.169.254"


class ManagedTokens(Kept[str]):
    """Tokens of a managed identity for one API, whose base is `audience`."""

    def __init__(
        self,
        client: str,
        audience: str,
        wall: Callable[[], float] = time.time,
        request_s: float = ISSUER_S,
    ) -> None:
        """`client` is the id of a user-assigned identity; "": the one that the system has assigned."""
        super().__init__(wall)
        self._client, self._audience = client, audience
        self._api = issuer_api(request_s=request_s)

    async def close(self) -> None:
        """Close the connections."""
        await super().close()
        await self._api.close()

    async def _fetch(self) -> Issued[str]:
        url, headers = self._question()
        try:
            told = await self._api.send("GET", url, headers)
        except (ScrapeTimeout, Unreachable) as error:
            raise Unreachable(f"{error}; a managed identity exists only on a host or in a service of Azure's") from None
        if told.status != 200:
            raise self._refused(told)
        return bearer(told.data("the token"), self._wall())

    def _question(self) -> tuple[URL, dict[str, str]]:
        query = {"resource": self._audience, **({"client_id": self._client} if self._client else {})}
        if os.environ.get(APP_SERVICE):
            secret = in_environment(APP_SERVICE_HEADER, f"App Service sets it together with {APP_SERVICE}")
            url = near(in_environment(APP_SERVICE, ""), APP_SERVICE)
            return url.with_query({"api-version": "2019-08-01", **query}), {"X-IDENTITY-HEADER": secret}
        base = near(os.environ.get(METADATA, "").strip() or _DEFAULT, METADATA)
        url = base.joinpath("metadata/identity/oauth2/token")
        return url.with_query({"api-version": "2018-02-01", **query}), {"Metadata": "true"}

    def _refused(self, told: Told) -> ScrapeError:
        said = f"no token of the managed identity: status {told.status}"
        if told.status == 429:
            return Limited(said, told.headers.get("retry-after", ""), self._wall())
        if told.status in (400, 404):
            said += (
                ": this host has no identity azure.client; assign it"
                if self._client
                else ": this host has no system-assigned identity; switch it on, or set azure.client"
            )
        return UnexpectedStatus(said)
