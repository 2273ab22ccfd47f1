"""Rate limits of the deployments of an Azure OpenAI resource.

https://learn.microsoft.com/rest/api/aiservices/accountmanagement/deployments/list
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from yarl import URL

from collectors.clouds.azure.pages import MAX_PAGES, next_page
from collectors.clouds.bearer_api import BearerApi
from collectors.clouds.json_api import Told
from collectors.clouds.metered.limits import REQUESTS, TOKENS, KeptLimits, RateLimit, allowed
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus

API_VERSION = "2023-05-01"
_TYPES = {"request": REQUESTS, "token": TOKENS}


class AzureQuotas(KeptLimits):
    """Limits by deployment. `url` is the base of Azure's management API."""

    def __init__(self, api: BearerApi, url: str, resource: str, wall: Callable[[], float] = time.time) -> None:
        super().__init__(wall)
        self._api = api
        self._url = URL(f"{url.rstrip('/')}{resource}/deployments").with_query({"api-version": API_VERSION})

    async def _asked(self) -> list[RateLimit]:
        found: list[RateLimit] = []
        url = self._url
        for _ in range(MAX_PAGES):
            told = await self._api.get(url)
            if told.status != 200:
                raise self._refused(told)
            try:
                page = told.data("deployments")
                found += [limit for each in page["value"] for limit in _limits(each)]
                following = next_page(page, url, "deployments")
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise ExpositionError(
                    f"deployments: the answer is no list of deployments: {str(error)[:200]}", 0
                ) from None
            if following is None:
                return found
            url = following
        raise ExpositionError("deployments: the pages do not end", 0)

    def _refused(self, told: Told) -> ScrapeError:
        said = f"deployments: status {told.status}"
        if told.status == 429:
            return Limited(said, told.headers.get("retry-after", ""), self._wall())
        if told.status in (401, 403):
            return UnexpectedStatus(
                f"{said}: the application may not read deployments; give it the role Monitoring Reader on "
                "azure.resource, or remove azure.quotas"
            )
        return UnexpectedStatus(said)


def _limits(deployment: Mapping[str, Any]) -> Iterator[RateLimit]:
    """Yield the limits of a deployment; none of one with provisioned throughput, which has no limits of this kind."""
    for each in deployment["properties"].get("rateLimits") or ():
        if (kind := _TYPES.get(str(each.get("key")))) is not None:
            yield RateLimit(str(deployment["name"]), kind, allowed(each["count"], each["renewalPeriod"]))
