"""Bedrock and SageMaker as meters: their tables of metrics, and the states of SageMaker's endpoints.

https://docs.aws.amazon.com/bedrock/latest/userguide/monitoring-runtime-metrics.html
https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import Metric

from collectors.clouds.addresses import aws_url, cloudwatch_url
from collectors.clouds.aws.api import CLOUDWATCH, SAGEMAKER, AwsApi, Service
from collectors.clouds.aws.cloudwatch import CloudWatch, Namespace, Use
from collectors.clouds.aws.costs import COST_EXPLORER, COST_REGION, AwsCosts
from collectors.clouds.aws.identities import ACCESS_KEY, AwsKeys, keys_of
from collectors.clouds.aws.keys import KeyPlace
from collectors.clouds.aws.quotas import SERVICE_QUOTAS, AwsQuotas
from collectors.clouds.json_api import REQUEST_S, JsonApi
from collectors.clouds.metered.limits import RateLimit
from collectors.clouds.metered.periods import Span
from collectors.clouds.metered.source import MeteredSource, remarks
from collectors.clouds.metered.tally import COUNT, SUM, Measure, Reading
from collectors.clouds.report import Item
from collectors.errors import ExpositionError
from collectors.status.families import states
from collectors.target import Auth

BEDROCK_ENGINE, SAGEMAKER_ENGINE = "bedrock", "sagemaker"
ENGINES = (BEDROCK_ENGINE, SAGEMAKER_ENGINE)
STATES = (
    *("InService", "Creating", "Updating", "SystemUpdating", "RollingBack", "UpdateRollbackFailed"),
    *("OutOfService", "Deleting", "Failed"),
)
"""States of an endpoint, in AWS's words."""
_MS, _US = 1e-3, 1e-6


def _requests(outcome: str, reason: str = "") -> Use:
    return Use("Sum", Measure.REQUESTS, outcome, reason)


def _lasted(measure: Measure, factor: float) -> tuple[Use, ...]:
    return Use("Sum", measure, SUM, factor=factor), Use("SampleCount", measure, COUNT)


_BEDROCK = Namespace(
    "AWS/Bedrock",
    ("ModelId",),
    {
        # Each request is in one of these four: AWS counts neither errors nor throttled requests as invocations.
        "Invocations": (_requests("success"),),
        "InvocationClientErrors": (_requests("invalid", "client_error"),),
        "InvocationServerErrors": (_requests("error", "server_error"),),
        "InvocationThrottles": (_requests("rejected", "throttled"),),
        "InputTokenCount": (Use("Sum", Measure.TOKENS, "input"),),
        "OutputTokenCount": (Use("Sum", Measure.TOKENS, "output"),),
        "InvocationLatency": _lasted(Measure.DURATION, _MS),
        "TimeToFirstToken": _lasted(Measure.FIRST_TOKEN, _MS),
    },
)
_USED = {"EstimatedTPMQuotaUsage": (Use("Sum", Measure.QUOTA),)}
_VARIANT = ("EndpointName", "VariantName")


def _failed(outcome: str, reason: str) -> tuple[Use, ...]:
    # SageMaker counts failed requests among its invocations, too.
    return _requests(outcome, reason), Use("Sum", Measure.REQUESTS, "success", factor=-1)


_SAGEMAKER = (
    Namespace(
        "AWS/SageMaker",
        _VARIANT,
        {
            "Invocations": (_requests("success"),),
            "Invocation4XXErrors": _failed("invalid", "4xx"),
            "Invocation5XXErrors": _failed("error", "5xx"),
            "ModelLatency": _lasted(Measure.DURATION, _US),
            "OverheadLatency": (Use("Sum", Measure.DURATION, SUM, factor=_US),),
        },
    ),
    Namespace(
        "/aws/sagemaker/Endpoints",
        _VARIANT,
        {
            "GPUUtilization": (Use("Average", Measure.GPU_UTILIZATION, factor=0.01),),
            "GPUMemoryUtilization": (Use("Average", Measure.GPU_MEMORY, factor=0.01),),
        },
    ),
)


@dataclass(frozen=True)
class AwsPlace:
    """An account in a region."""

    region: str
    keys: KeyPlace
    costs: bool = False
    """Whether Cost Explorer is asked, for money."""
    identity: str = ACCESS_KEY
    """Name of the identity. `keys` is that of an access key."""
    quotas: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The codes of quotas of each ModelId."""


class AwsMeter:
    """Implements collectors.clouds.metered.source.Meter."""

    def __init__(
        self,
        api: JsonApi,
        keys: AwsKeys,
        cloudwatch: AwsApi,
        namespaces: Sequence[Namespace],
        endpoints: AwsApi | None,
        costs: AwsCosts | None,
        quotas: AwsQuotas | None = None,
    ) -> None:
        """`endpoints` is SageMaker's API, if there are endpoints. Without `costs` and `quotas`, none are read."""
        self._api, self._keys, self._endpoints, self._costs = api, keys, endpoints, costs
        self._quotas = quotas
        self._cloudwatch = CloudWatch(cloudwatch, namespaces)

    async def read(self, span: Span) -> list[Reading]:
        """Return the readings of a span. Raises ScrapeError."""
        return await self._cloudwatch.read(span)

    async def states(self) -> Iterable[Metric]:
        """Return the states of the endpoints. Raises ScrapeError, and ExpositionError for another list than AWS's."""
        if self._endpoints is None:
            return ()
        found: dict[str, str] = {}
        async for page in self._endpoints.pages("ListEndpoints", {"MaxResults": 100}):
            listed = page.get("Endpoints")
            if not isinstance(listed, list):
                raise ExpositionError("ListEndpoints: there is no list of endpoints", 0)
            for each in listed:
                name, state = (
                    (each.get("EndpointName"), each.get("EndpointStatus")) if isinstance(each, dict) else (0, 0)
                )
                if not (isinstance(name, str) and isinstance(state, str)):
                    raise ExpositionError("ListEndpoints: an endpoint has no name or no status", 0)
                found[name] = state
        return [states(found, STATES)] if found else ()

    async def costs(self) -> Sequence[Item]:
        """Return the costs of this month's days. Raises ScrapeError."""
        return await self._costs.value() if self._costs else ()

    async def limits(self) -> Sequence[RateLimit]:
        """Return the quotas of models. Raises ScrapeError."""
        return await self._quotas.value() if self._quotas else ()

    @property
    def remark(self) -> str:
        """Return what is used although it should have been read anew, with the cause; "": nothing."""
        return remarks(self._keys, self._costs, self._quotas)

    async def close(self) -> None:
        """Close the connections."""
        await self._keys.close()
        await self._api.close()


def aws_meter(
    engine: str,
    url: str,
    place: AwsPlace,
    auth: Auth | None = None,
    *,
    max_body_bytes: int = 16 * 2**20,
    request_s: float = REQUEST_S,
    wall: Callable[[], float] = time.time,
) -> AwsMeter:
    """Return the meter of an engine. `url` is the base of CloudWatch's API, or of a proxy for all of AWS's APIs."""
    api = JsonApi(auth, max_body_bytes, request_s)

    def base(service: str, region: str) -> str:
        return aws_url(service, region) if url == cloudwatch_url(place.region) else url

    keys = keys_of(place.identity, place.keys, base("sts", place.region), auth, wall)

    def asks(service: Service, region: str) -> AwsApi:
        return AwsApi(service, base(service.host, region), region, keys, api, wall)

    cloudwatch = asks(CLOUDWATCH, place.region)
    costs = AwsCosts(asks(COST_EXPLORER, COST_REGION), engine, wall) if place.costs else None
    if engine == BEDROCK_ENGINE:
        quotas = AwsQuotas(asks(SERVICE_QUOTAS, place.region), dict(place.quotas), wall) if place.quotas else None
        metrics = {**_BEDROCK.metrics, **_USED} if quotas else _BEDROCK.metrics
        return AwsMeter(api, keys, cloudwatch, (_BEDROCK._replace(metrics=metrics),), None, costs, quotas)
    return AwsMeter(api, keys, cloudwatch, _SAGEMAKER, asks(SAGEMAKER, place.region), costs)


def aws_source(
    engine: str, url: str, place: AwsPlace, auth: Auth | None = None, *, max_body_bytes: int
) -> MeteredSource:
    """Return the source of a target."""
    return MeteredSource(aws_meter(engine, url, place, auth, max_body_bytes=max_body_bytes))
