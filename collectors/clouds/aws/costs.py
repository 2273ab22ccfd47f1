"""Costs of Bedrock and SageMaker, from Cost Explorer.

https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_GetCostAndUsage.html
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from collectors.clouds.aws.api import AwsApi, Service
from collectors.clouds.costs import KeptCosts
from collectors.clouds.report import Item, Quantity
from collectors.errors import ExpositionError

COST_EXPLORER = Service("ce", "ce", "ce", "AWSInsightsIndexService", "1.1", "NextPageToken")
COST_REGION = "us-east-1"
"""The one region that answers, for accounts of all regions but China's."""
_ACTION, _METRIC = "GetCostAndUsage", "UnblendedCost"


class AwsCosts(KeptCosts):
    """Costs of the services whose name contains a word.

    Models of other companies are services of their own: `Claude 3.5 Sonnet (Amazon Bedrock Edition)`.
    """

    def __init__(self, api: AwsApi, word: str, wall: Callable[[], float] = time.time) -> None:
        """`word` is in small letters. `wall` gives unix seconds."""
        super().__init__(wall)
        self._api, self._word = api, word

    async def _asked(self, month: datetime, now: float) -> AsyncIterator[Item]:
        tomorrow = datetime.fromtimestamp(now, UTC) + timedelta(days=1)
        asked = {
            "TimePeriod": {"Start": f"{month:%Y-%m-%d}", "End": f"{tomorrow:%Y-%m-%d}"},
            "Granularity": "DAILY",
            "Metrics": [_METRIC],
            "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}],
        }
        async for page in self._api.pages(_ACTION, asked):
            try:
                for item in _items(page):
                    if self._word in item.model.lower():
                        yield item
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ExpositionError(f"{_ACTION}: the answer is no page of costs: {str(error)[:200]}", 0) from None


def _items(page: Mapping[str, Any]) -> Iterator[Item]:
    for result in page["ResultsByTime"]:
        day = datetime.strptime(result["TimePeriod"]["Start"], "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
        for group in result["Groups"]:
            cost = group["Metrics"][_METRIC]
            if cost["Unit"] != "USD":
                raise ValueError("a cost is not in US dollars")
            value = float(cost["Amount"])
            if not isfinite(value):
                raise ValueError("a cost is no number")
            yield Item(Quantity.COST, day, str(group["Keys"][0]), "", "", value)
