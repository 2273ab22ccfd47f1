"""CloudWatch's numbers of hosted models: which metrics, and how they are read.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from collectors.clouds.aws.api import AwsApi
from collectors.clouds.metered.periods import Span, Step, steps
from collectors.clouds.metered.tally import Key, Measure, Reading
from collectors.errors import ExpositionError, UnexpectedStatus

MAX_QUERIES = 500
"""Queries of one request, which is AWS's limit."""
_GOOD = "Complete"


class Use(NamedTuple):
    """One statistic of a metric, and what its numbers are."""

    stat: str
    measure: Measure
    kind: str = ""
    reason: str = ""
    factor: float = 1.0
    """To the measure's unit."""


class Namespace(NamedTuple):
    """Metrics of one service."""

    name: str
    dimensions: tuple[str, ...]
    """Names of the dimensions of the series that are read: the model's, and the version's if there are two."""
    metrics: Mapping[str, tuple[Use, ...]]


class Query(NamedTuple):
    """One series of numbers."""

    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    use: Use

    def asked(self, number: int, period_s: float) -> dict[str, Any]:
        """Return its part of a request."""
        dimensions = [{"Name": name, "Value": value} for name, value in self.dimensions]
        metric = {"Namespace": self.namespace, "MetricName": self.metric, "Dimensions": dimensions}
        return {"Id": f"q{number}", "MetricStat": {"Metric": metric, "Period": int(period_s), "Stat": self.use.stat}}

    def reading(self, at: float, value: float) -> Reading:
        """Return a number as a reading."""
        values = [value for _, value in self.dimensions]
        version = values[1] if len(values) > 1 else ""
        key = Key(self.use.measure, values[0], self.use.kind, self.use.reason, version)
        return Reading(at, key, value * self.use.factor)


class CloudWatch:
    """Reads the metrics of some namespaces. A series that is new is read from the start of the month."""

    def __init__(self, api: AwsApi, namespaces: Sequence[Namespace]) -> None:
        self._api, self._namespaces = api, namespaces
        self._known: frozenset[Query] = frozenset()
        self._month = 0.0

    async def read(self, span: Span) -> list[Reading]:
        """Return the readings of a span. Raises ScrapeError."""
        known = self._known if span.month == self._month else frozenset()
        found = [query for space in self._namespaces async for query in self._queries(space)]
        readings: list[Reading] = []
        for start, queries in (
            (span.month, [query for query in found if query not in known]),
            (span.start, [query for query in found if query in known]),
        ):
            for step in steps(start, span.end):
                for first in range(0, len(queries), MAX_QUERIES):
                    readings += await self._numbers(queries[first : first + MAX_QUERIES], step)
        # A series that CloudWatch no longer lists may come back: what is known stays so.
        self._known, self._month = known | frozenset(found), span.month
        return readings

    async def _queries(self, space: Namespace) -> AsyncIterator[Query]:
        async for page in self._api.pages("ListMetrics", {"Namespace": space.name}):
            for query in _listed(page, space):
                yield query

    async def _numbers(self, queries: Sequence[Query], step: Step) -> list[Reading]:
        asked = {
            "MetricDataQueries": [query.asked(number, step.period_s) for number, query in enumerate(queries)],
            "StartTime": step.start,
            "EndTime": step.end,
            "ScanBy": "TimestampAscending",
        }
        readings: list[Reading] = []
        states: dict[str, str] = {}
        async for page in self._api.pages("GetMetricData", asked):
            for result in _dicts(page, "MetricDataResults", "GetMetricData"):
                query = _asked_for(result, queries)
                states[str(result["Id"])] = str(result.get("StatusCode") or _GOOD)
                readings += [query.reading(at, value) for at, value in _points(result) if step.start <= at < step.end]
        if bad := next((state for state in states.values() if state != _GOOD), None):
            raise UnexpectedStatus(f"GetMetricData: CloudWatch gave a part of the numbers only ({bad[:40]})")
        return readings


def _listed(page: Mapping[str, Any], space: Namespace) -> Iterator[Query]:
    for metric in _dicts(page, "Metrics", "ListMetrics"):
        found = {each.get("Name"): each.get("Value") for each in _dicts(metric, "Dimensions", "ListMetrics")}
        name = metric.get("MetricName")
        if found.keys() != set(space.dimensions) or not isinstance(name, str):
            continue
        if not all(isinstance(value, str) for value in found.values()):
            raise ExpositionError("ListMetrics: a dimension is no text", 0)
        dimensions = tuple((each, str(found[each])) for each in space.dimensions)
        for use in space.metrics.get(name, ()):
            yield Query(space.name, name, dimensions, use)


def _dicts(found: Mapping[str, Any], field: str, action: str) -> Iterable[dict[str, Any]]:
    values = found.get(field, [])
    if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
        raise ExpositionError(f"{action}: {field} is no list of objects", 0)
    return values


def _asked_for(result: Mapping[str, Any], queries: Sequence[Query]) -> Query:
    number = str(result.get("Id", "")).removeprefix("q")
    if not (number.isascii() and number.isdigit() and len(number) < 4 and int(number) < len(queries)):
        raise ExpositionError("GetMetricData: a result has an Id that was not asked for", 0)
    return queries[int(number)]


def _points(result: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    times, values = result.get("Timestamps", []), result.get("Values", [])
    if not (isinstance(times, list) and isinstance(values, list) and len(times) == len(values)):
        raise ExpositionError("GetMetricData: a result has other numbers of times and values", 0)
    for at, value in zip(times, values, strict=True):
        if not (_number(at) and _number(value)):
            raise ExpositionError("GetMetricData: a time or value is not a number", 0)
        yield float(at), float(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
