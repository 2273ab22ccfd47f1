"""Access tokens of the service account of this host or pod, from Google's metadata server.

https://cloud.google.com/compute/docs/access/authenticate-workloads and, of pods,
https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from yarl import URL

from collectors.clouds.issuing import ISSUER_S, issuer_api
from collectors.clouds.kept import Issued, Kept, bearer
from collectors.clouds.waiting import Limited
from collectors.errors import ScrapeTimeout, UnexpectedStatus, Unreachable
from collectors.http.fetch import address_of

HOST = "GCE_METADATA_HOST"
"""Another host of the metadata server, as Google's own libraries read it."""
_DEFAULT = "metadata.google.internal"
_PATH = "computeMetadata/v1/instance/service-accounts/default/token"
_FLAVOR = "Google"


class MetadataTokens(Kept[str]):
    """Tokens of the service account of this host or pod."""

    def __init__(
        self, scopes: Sequence[str], wall: Callable[[], float] = time.time, request_s: float = ISSUER_S
    ) -> None:
        super().__init__(wall)
        self._scopes = scopes
        self._api = issuer_api(request_s=request_s)

    async def close(self) -> None:
        """Close the connections."""
        await super().close()
        await self._api.close()

    async def _fetch(self) -> Issued[str]:
        base, _ = address_of(f"http://{os.environ.get(HOST, '').strip() or _DEFAULT}")
        url: URL = base.joinpath(_PATH).with_query({"scopes": ",".join(self._scopes)})
        try:
            told = await self._api.send("GET", url, {"Metadata-Flavor": _FLAVOR})
        except (ScrapeTimeout, Unreachable) as error:
            raise Unreachable(f"{error}; the metadata server exists only on hosts and in pods of Google's") from None
        said = f"no token of this host's service account: status {told.status}"
        if told.status == 429:
            raise Limited(said, told.headers.get("retry-after", ""), self._wall())
        if told.status == 404:
            raise UnexpectedStatus(f"{said}; give the host, or the pod's Kubernetes account, a service account")
        if told.status == 403:
            raise UnexpectedStatus(
                f"{said}; allow the pod's Kubernetes account roles/iam.workloadIdentityUser on the service account"
            )
        if told.status != 200:
            raise UnexpectedStatus(said)
        if told.headers.get("metadata-flavor") != _FLAVOR:
            raise UnexpectedStatus(
                f"{url.host} is no metadata server of Google's: the header Metadata-Flavor is missing"
            )
        return bearer(told.data("the token"), self._wall())
