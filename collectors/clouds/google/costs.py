"""Costs of Vertex AI in one project, from the export of Cloud Billing to BigQuery.

https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/standard-usage and
https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query. Google has no API for costs themselves.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from yarl import URL

from collectors.clouds.bearer_api import BearerApi
from collectors.clouds.costs import KeptCosts
from collectors.clouds.json_api import Told
from collectors.clouds.report import Item, Quantity
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus

SCOPE = "https://www.googleapis.com/auth/bigquery"
MAX_PAGES = 200
"""Pages of one answer, and questions whether a query is done."""
MAX_BYTES = 10 * 2**30
"""Bytes of the table that a query may read. Google charges for them; a larger query is refused by BigQuery."""
_WAIT_MS = 20_000
_COLUMNS = ("day", "sku", "usd")
# The table is one of three names without a backtick (fleet.yaml); all else is a parameter. The partitions are the days
# on which Google wrote the rows: a cost of this month is never written before it.
_QUERY = """\
SELECT FORMAT_TIMESTAMP('%F', TIMESTAMP_TRUNC(usage_start_time, DAY)) AS day, sku.description AS sku,
  SUM((cost + IFNULL((SELECT SUM(c.amount) FROM UNNEST(credits) AS c), 0)) / currency_conversion_rate) AS usd
FROM `{table}`
WHERE _PARTITIONTIME >= @month AND usage_start_time >= @month AND project.id = @project
  AND service.description = 'Vertex AI'
GROUP BY day, sku"""


class GoogleCosts(KeptCosts):
    """Costs of one project by SKU. `url` is the base of BigQuery's API, `table` has the form project.dataset.table."""

    def __init__(
        self, api: BearerApi, url: str, project: str, table: str, wall: Callable[[], float] = time.time
    ) -> None:
        super().__init__(wall)
        self._api, self._project, self._table = api, project, table
        self._url = URL(f"{url.rstrip('/')}/bigquery/v2/projects/{project}/queries")

    async def _asked(self, month: datetime, now: float) -> AsyncIterator[Item]:
        page = self._good(await self._api.post(self._url, self._question(month)))
        for _ in range(MAX_PAGES):
            done = page.get("jobComplete") is True
            try:
                for item in _items(page) if done else ():
                    yield item
                more = page.get("pageToken") or ""
                if done and not more:
                    return
                job = page["jobReference"]
                query = {"timeoutMs": str(_WAIT_MS), **({"pageToken": str(more)} if more else {})}
                if job.get("location"):
                    query["location"] = str(job["location"])
                url = (self._url / str(job["jobId"])).with_query(query)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise ExpositionError(f"costs: the answer is no page of BigQuery's: {str(error)[:200]}", 0) from None
            page = self._good(await self._api.get(url))
        raise ExpositionError("costs: the query does not end", 0)

    def _question(self, month: datetime) -> dict[str, Any]:
        given = (("month", "TIMESTAMP", f"{month:%Y-%m-%d} 00:00:00 UTC"), ("project", "STRING", self._project))
        return {
            "query": _QUERY.format(table=self._table),
            "useLegacySql": False,
            "timeoutMs": _WAIT_MS,
            "maximumBytesBilled": str(MAX_BYTES),
            "parameterMode": "NAMED",
            "queryParameters": [
                {"name": name, "parameterType": {"type": kind}, "parameterValue": {"value": value}}
                for name, kind, value in given
            ],
        }

    def _good(self, told: Told) -> Mapping[str, Any]:
        if told.status == 200:
            return told.data("costs")
        raise self._refused(told)

    def _refused(self, told: Told) -> ScrapeError:
        # Google's own words are not shown: they repeat the query.
        said = f"costs: status {told.status}"
        if told.status == 429 or b"rateLimitExceeded" in told.body:
            return Limited(said, told.headers.get("retry-after", ""), self._wall())
        if b"bytesBilledLimitExceeded" in told.body:
            return UnexpectedStatus(f"{said}: a query of google.billing_table reads more than {MAX_BYTES >> 30} GiB")
        match told.status:
            case 403:
                return UnexpectedStatus(
                    f"{said}: give the account roles/bigquery.jobUser in {self._project} and "
                    "roles/bigquery.dataViewer on google.billing_table"
                )
            case 404:
                return UnexpectedStatus(f"{said}: there is no table {self._table}; correct google.billing_table")
            case 400:
                return UnexpectedStatus(f"{said}: google.billing_table is no standard export of Cloud Billing")
        return UnexpectedStatus(said)


def _items(page: Mapping[str, Any]) -> Iterator[Item]:
    names = [str(each["name"]) for each in page["schema"]["fields"]]
    day, sku, usd = (names.index(each) for each in _COLUMNS)
    for row in page.get("rows") or ():
        values = [each["v"] for each in row["f"]]
        value = float(values[usd])
        if not isfinite(value):
            raise ValueError("a cost is no number")
        at = datetime.strptime(str(values[day]), "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
        yield Item(Quantity.COST, at, str(values[sku]), "", "", value)
