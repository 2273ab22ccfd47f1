"""Costs of an Azure OpenAI resource, from Cost Management.

https://learn.microsoft.com/rest/api/cost-management/query/usage. Azure has costs by meter, which names the model and
the kind of tokens; it has none by deployment.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from yarl import URL

from collectors.clouds.azure.pages import MAX_PAGES, next_page
from collectors.clouds.bearer_api import BearerApi
from collectors.clouds.costs import KeptCosts
from collectors.clouds.json_api import Told
from collectors.clouds.report import Item, Quantity
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus

API_VERSION = "2023-11-01"
_COST, _DAY, _METER = "CostUSD", "UsageDate", "Meter"
_WAITS = tuple(f"x-ms-ratelimit-microsoft.costmanagement-{each}-retry-after" for each in ("qpu", "entity", "client"))
"""Headers that say when the next request is welcome, beside Retry-After."""


class AzureCosts(KeptCosts):
    """Costs of one resource by meter. `url` is the base of Azure's management API."""

    def __init__(self, api: BearerApi, url: str, resource: str, wall: Callable[[], float] = time.time) -> None:
        super().__init__(wall)
        self._api, self._resource = api, resource
        group = resource.partition("/providers/")[0]
        self._url = URL(f"{url.rstrip('/')}{group}/providers/Microsoft.CostManagement/query").with_query(
            {"api-version": API_VERSION}
        )

    async def _asked(self, month: datetime, now: float) -> AsyncIterator[Item]:
        today = datetime.fromtimestamp(now, UTC)
        asked = {
            "type": "ActualCost",
            "timeframe": "Custom",
            "timePeriod": {"from": f"{month:%Y-%m-%d}T00:00:00Z", "to": f"{today:%Y-%m-%d}T23:59:59Z"},
            "dataset": {
                "granularity": "Daily",
                "aggregation": {"totalCostUSD": {"name": _COST, "function": "Sum"}},
                "grouping": [{"type": "Dimension", "name": _METER}],
                "filter": {"dimensions": {"name": "ResourceId", "operator": "In", "values": [self._resource.lower()]}},
            },
        }
        url = self._url
        for _ in range(MAX_PAGES):
            told = await self._api.post(url, asked)
            if told.status == 204:
                return
            if told.status != 200:
                raise self._refused(told)
            try:
                properties = told.data("costs")["properties"]
                for item in _items(properties):
                    yield item
                following = next_page(properties, url, "costs")
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise ExpositionError(f"costs: the answer is no page of costs: {str(error)[:200]}", 0) from None
            if following is None:
                return
            url = following
        raise ExpositionError("costs: the pages do not end", 0)

    def _refused(self, told: Told) -> ScrapeError:
        said = f"costs: status {told.status}"
        match told.status:
            case 429:
                waits = [told.headers[each] for each in _WAITS if each in told.headers]
                asked = max(waits, key=len, default="") or told.headers.get("retry-after", "")
                return Limited(said, asked, self._wall())
            case 401:
                return UnexpectedStatus(f"{said}: Azure refuses the token; is azure.tenant that of the subscription?")
            case 403:
                return UnexpectedStatus(
                    f"{said}: the application may not read costs; give it the role Cost Management Reader on the "
                    "resource group of azure.resource, or remove azure.costs"
                )
        return UnexpectedStatus(said)


def _items(properties: Mapping[str, Any]) -> Iterator[Item]:
    names = [str(each["name"]) for each in properties["columns"]]
    cost, day, meter = (names.index(each) for each in (_COST, _DAY, _METER))
    for row in properties["rows"]:
        value = row[cost]
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ValueError("a cost is no number")
        at = datetime.strptime(str(row[day]), "%Y%m%d").replace(tzinfo=UTC).timestamp()
        yield Item(Quantity.COST, at, str(row[meter]), "", "", float(value))
