"""Azure Monitor's numbers of an Azure OpenAI resource.

https://learn.microsoft.com/rest/api/monitor/metrics/list
https://learn.microsoft.com/azure/ai-foundry/openai/monitor-openai-reference
Azure has its durations as averages only, which cannot be added up: they are not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

from prometheus_client import Metric
from yarl import URL

from collectors.clouds.azure.costs import AzureCosts
from collectors.clouds.azure.managed import ManagedTokens
from collectors.clouds.azure.quotas import AzureQuotas
from collectors.clouds.azure.token import MANAGED, Application, Tokens
from collectors.clouds.bearer_api import BearerApi
from collectors.clouds.json_api import REQUEST_S, JsonApi, Told
from collectors.clouds.metered.limits import RateLimit
from collectors.clouds.metered.periods import HOUR_S, Span, Step, rfc3339, steps
from collectors.clouds.metered.source import MeteredSource, remarks
from collectors.clouds.metered.tally import Key, Measure, Reading, outcome_of
from collectors.clouds.report import Item
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus
from collectors.http.fetch import address_of
from collectors.target import Auth

API_VERSION = "2023-10-01"
NAMESPACE = "Microsoft.CognitiveServices/accounts"
MAX_ROWS = 1000
"""Series of one answer. Azure's own default is ten."""
REQUESTS = "AzureOpenAIRequests"
TOKENS = {"ProcessedPromptTokens": "input", "GeneratedTokens": "output"}
_MODEL, _STATUS = "ModelDeploymentName", "StatusCode"
_QUESTIONS = (((REQUESTS,), (_MODEL, _STATUS)), (tuple(TOKENS), (_MODEL,)))
"""Names of metrics, and the dimensions that their series are kept apart by."""


class AzureMeter:
    """Implements collectors.clouds.metered.source.Meter for a resource. `url` is the base of Azure's management API."""

    def __init__(
        self,
        url: str,
        resource: str,
        application: Application,
        auth: Auth | None,
        *,
        costs: bool = False,
        quotas: bool = False,
        max_body_bytes: int = 16 * 2**20,
        request_s: float = REQUEST_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`resource` begins with /subscriptions/. `auth` holds the application's secret, if it has one."""
        self._url, self._resource, self._wall = url, resource, wall
        api = JsonApi(auth, max_body_bytes, request_s)
        audience = str(address_of(url)[0].origin())
        managed = application.identity == MANAGED
        tokens = (
            ManagedTokens(application.client, audience, wall)
            if managed
            else Tokens(application, auth or Auth(), audience, api, wall)
        )
        self._api = BearerApi(api, tokens)
        self._costs = AzureCosts(self._api, url, resource, wall) if costs else None
        self._quotas = AzureQuotas(self._api, url, resource, wall) if quotas else None

    async def read(self, span: Span) -> list[Reading]:
        """Return the readings of a span. Raises ScrapeError."""
        return [
            reading
            for step in steps(span.start, span.end)
            for names, dimensions in _QUESTIONS
            for reading in _readings(await self._metrics(names, dimensions, step), step)
        ]

    async def states(self) -> Iterable[Metric]:
        """Return nothing: Azure's states of deployments say nothing about their health."""
        return ()

    async def costs(self) -> Sequence[Item]:
        """Return the costs of this month's days; none if they are not asked for. Raises ScrapeError."""
        return await self._costs.value() if self._costs else ()

    async def limits(self) -> Sequence[RateLimit]:
        """Return the limits of the deployments; none if they are not asked for. Raises ScrapeError."""
        return await self._quotas.value() if self._quotas else ()

    @property
    def remark(self) -> str:
        """Return what is used although it should have been read anew, with the cause; "": nothing."""
        return remarks(self._api, self._costs, self._quotas)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _metrics(self, names: tuple[str, ...], dimensions: tuple[str, ...], step: Step) -> dict[str, Any]:
        query = {
            "api-version": API_VERSION,
            "metricnamespace": NAMESPACE,
            "metricnames": ",".join(names),
            "aggregation": "Total",
            "interval": "PT1H" if step.period_s == HOUR_S else "PT5M",
            "timespan": f"{rfc3339(step.start)}/{rfc3339(step.end)}",
            "$filter": " and ".join(f"{each} eq '*'" for each in dimensions),
            "top": str(MAX_ROWS),
        }
        url = URL(f"{self._url.rstrip('/')}{self._resource}/providers/Microsoft.Insights/metrics").with_query(query)
        told = await self._api.get(url)
        if told.status != 200:
            raise self._refused(told)
        return told.data("metrics")

    def _refused(self, told: Told) -> ScrapeError:
        said = f"metrics: status {told.status}"
        match told.status:
            case 429:
                return Limited(said, told.headers.get("retry-after", ""), self._wall())
            case 401:
                return UnexpectedStatus(f"{said}: Azure refuses the token; is azure.tenant that of the subscription?")
            case 403:
                return UnexpectedStatus(
                    f"{said}: the application may not read metrics; "
                    "give it the role Monitoring Reader on azure.resource"
                )
            case 404:
                return UnexpectedStatus(f"{said}: there is no resource {self._resource}; correct azure.resource")
        return UnexpectedStatus(said)


def _readings(found: Mapping[str, Any], step: Step) -> Iterator[Reading]:
    try:
        for metric in found["value"]:
            if (code := metric.get("errorCode", "Success")) != "Success":
                raise UnexpectedStatus(f"metrics: Azure gave a part of the numbers only ({str(code)[:40]})")
            series = metric["timeseries"]
            if len(series) >= MAX_ROWS:
                raise ExpositionError(f"metrics: more than {MAX_ROWS - 1} series of one metric", 0)
            for each in series:
                names = {str(d["name"]["value"]).lower(): str(d["value"]) for d in each.get("metadatavalues", ())}
                key = _key(str(metric["name"]["value"]), names)
                for at, value in _points(each["data"]):
                    if step.start <= at < step.end:
                        yield Reading(at, key, value)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        raise ExpositionError("metrics: the answer has another form than Azure Monitor's", 0) from None


def _key(metric: str, names: Mapping[str, str]) -> Key:
    model = names[_MODEL.lower()]
    if metric in TOKENS:
        return Key(Measure.TOKENS, model, TOKENS[metric])
    status = names[_STATUS.lower()]
    outcome = outcome_of(status)
    return Key(Measure.REQUESTS, model, outcome, "" if outcome == "success" else status)


def _points(data: Iterable[Mapping[str, Any]]) -> Iterator[tuple[float, float]]:
    for point in data:
        value = point.get("total")
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ValueError
        yield datetime.fromisoformat(point["timeStamp"]).timestamp(), float(value)


def azure_source(
    url: str,
    resource: str,
    application: Application,
    auth: Auth | None,
    *,
    costs: bool,
    quotas: bool,
    max_body_bytes: int,
) -> MeteredSource:
    """Return the source of a target."""
    meter = AzureMeter(url, resource, application, auth, costs=costs, quotas=quotas, max_body_bytes=max_body_bytes)
    return MeteredSource(meter)
