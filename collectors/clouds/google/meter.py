"""Cloud Monitoring's numbers of Vertex AI's models in one project.

https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list
https://cloud.google.com/monitoring/api/metrics_gcp_a_b#gcp-aiplatform
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any, NamedTuple

from prometheus_client import Metric
from yarl import URL

from collectors.clouds.addresses import BIGQUERY_URL, GOOGLE_URL
from collectors.clouds.bearer_api import BearerApi
from collectors.clouds.google.costs import SCOPE as COSTS
from collectors.clouds.google.costs import GoogleCosts
from collectors.clouds.google.identities import GoogleIdentity, tokens_of
from collectors.clouds.google.token import MONITORING
from collectors.clouds.json_api import REQUEST_S, JsonApi, Told
from collectors.clouds.metered.limits import RateLimit
from collectors.clouds.metered.periods import Span, Step, rfc3339, steps
from collectors.clouds.metered.source import MeteredSource, remarks
from collectors.clouds.metered.tally import COUNT, SUM, Key, Measure, Reading, outcome_of
from collectors.clouds.report import Item
from collectors.clouds.waiting import Limited
from collectors.errors import ExpositionError, ScrapeError, UnexpectedStatus
from collectors.target import Auth

MAX_PAGES = 200
_MODEL = "model_user_id"


class _Question(NamedTuple):
    metric: str
    measure: Measure
    label: str = ""
    """Label of the metric by which its series are kept apart."""

    @property
    def type(self) -> str:
        return f"aiplatform.googleapis.com/publisher/online_serving/{self.metric}"


_QUESTIONS = (
    _Question("model_invocation_count", Measure.REQUESTS, "response_code"),
    _Question("token_count", Measure.TOKENS, "type"),
    _Question("model_invocation_latencies", Measure.DURATION),
    _Question("first_token_latencies", Measure.FIRST_TOKEN),
)


class GoogleMeter:
    """Implements collectors.clouds.metered.source.Meter for a project.

    `url` is the base of Cloud Monitoring's API, or of a proxy for all of Google's APIs.
    """

    def __init__(
        self,
        url: str,
        project: str,
        identity: GoogleIdentity,
        auth: Auth | None = None,
        *,
        billing_table: str = "",
        max_body_bytes: int = 16 * 2**20,
        request_s: float = REQUEST_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._project, self._wall = url.rstrip("/"), project, wall
        api = JsonApi(auth, max_body_bytes, request_s)
        scopes = (MONITORING, COSTS) if billing_table else (MONITORING,)
        self._api = BearerApi(api, tokens_of(identity, api, wall, scopes))
        bigquery = BIGQUERY_URL if url == GOOGLE_URL else url
        self._costs = GoogleCosts(self._api, bigquery, project, billing_table, wall) if billing_table else None

    async def read(self, span: Span) -> list[Reading]:
        """Return the readings of a span. Raises ScrapeError."""
        return [
            reading
            for step in steps(span.start, span.end)
            for question in _QUESTIONS
            for reading in await self._numbers(question, step)
        ]

    async def states(self) -> Iterable[Metric]:
        """Return nothing: Google's own models have no states."""
        return ()

    async def costs(self) -> Sequence[Item]:
        """Return the costs of this month's days; none if they are not asked for. Raises ScrapeError."""
        return await self._costs.value() if self._costs else ()

    async def limits(self) -> Sequence[RateLimit]:
        """Return none: Google shares its models' capacity dynamically."""
        return ()

    @property
    def remark(self) -> str:
        """Return what is used although it should have been read anew, with the cause; "": nothing."""
        return remarks(self._api, self._costs)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _numbers(self, question: _Question, step: Step) -> list[Reading]:
        query = [
            ("filter", f'metric.type = "{question.type}"'),
            ("interval.startTime", rfc3339(step.start)),
            ("interval.endTime", rfc3339(step.end)),
            ("aggregation.alignmentPeriod", f"{step.period_s:.0f}s"),
            ("aggregation.perSeriesAligner", "ALIGN_DELTA"),
            ("aggregation.crossSeriesReducer", "REDUCE_SUM"),
            ("aggregation.groupByFields", f"resource.label.{_MODEL}"),
            *([("aggregation.groupByFields", f"metric.label.{question.label}")] if question.label else []),
        ]
        readings: list[Reading] = []
        token = ""
        for _ in range(MAX_PAGES):
            page = await self._page([*query, *([("pageToken", token)] if token else [])])
            readings += _readings(page, question, step)
            before, token = token, page.get("nextPageToken") or ""
            if not token:
                return readings
            if not isinstance(token, str) or token == before:
                break
        raise ExpositionError("timeSeries.list: the pages do not end", 0)

    async def _page(self, query: list[tuple[str, str]]) -> dict[str, Any]:
        url = URL(f"{self._url}/v3/projects/{self._project}/timeSeries").with_query(query)
        told = await self._api.get(url)
        if told.status != 200:
            raise self._refused(told)
        page = told.data("timeSeries.list")
        if page.get("executionErrors"):
            raise UnexpectedStatus("timeSeries.list: Google gave a part of the numbers only")
        return page

    def _refused(self, told: Told) -> ScrapeError:
        said = f"timeSeries.list: status {told.status}"
        match told.status:
            case 429:
                return Limited(said, told.headers.get("retry-after", ""), self._wall())
            case 403:
                return UnexpectedStatus(
                    f"{said}: the service account lacks monitoring.timeSeries.list; give it the role "
                    f"roles/monitoring.viewer in {self._project}"
                )
            case 404:
                return UnexpectedStatus(f"{said}: there is no project {self._project}; correct google.project")
        return UnexpectedStatus(said)


def _readings(page: Mapping[str, Any], question: _Question, step: Step) -> Iterator[Reading]:
    try:
        for series in page.get("timeSeries", ()):
            model = str(series["resource"]["labels"][_MODEL])
            label = str(series["metric"]["labels"][question.label]) if question.label else ""
            for point in series["points"]:
                at = datetime.fromisoformat(point["interval"]["endTime"]).timestamp() - step.period_s
                if step.start <= at < step.end:
                    yield from (Reading(at, key, value) for key, value in _values(question, model, label, point))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        raise ExpositionError("timeSeries.list: the answer has another form than Cloud Monitoring's", 0) from None


def _values(question: _Question, model: str, label: str, point: Mapping[str, Any]) -> Iterator[tuple[Key, float]]:
    if not question.label:
        found = point["value"]["distributionValue"]
        count = _number(found.get("count", 0))
        yield Key(question.measure, model, COUNT), count
        yield Key(question.measure, model, SUM), count * _number(found.get("mean", 0)) / 1000
        return
    value = _number(point["value"]["int64Value"])
    if question.measure is Measure.TOKENS:
        yield Key(Measure.TOKENS, model, label), value
    else:
        outcome = outcome_of(label)
        yield Key(Measure.REQUESTS, model, outcome, "" if outcome == "success" else label), value


def _number(value: object) -> float:
    """Return a number; whole ones come as text. Raises ValueError for another value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not isfinite(float(value)):
        raise ValueError
    return float(value)


def google_source(
    url: str, project: str, identity: GoogleIdentity, auth: Auth | None, *, billing_table: str, max_body_bytes: int
) -> MeteredSource:
    """Return the source of a target."""
    meter = GoogleMeter(url, project, identity, auth, billing_table=billing_table, max_body_bytes=max_body_bytes)
    return MeteredSource(meter)
