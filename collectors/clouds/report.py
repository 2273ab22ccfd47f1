"""Reports of a provider on an account: where they are, the numbers in them, and the sums of these. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from typing import Any, NamedTuple

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from collectors.errors import ExpositionError

MAX_SERIES = 5000
"""Models times projects of one account. More are refused: the names come from outside (chosen)."""


class Quantity(StrEnum):
    """Kind of a report's number, as the suffix of a metric."""

    TOKENS = "tokens"
    REQUESTS = "requests"
    COST = "cost_usd"


class Item(NamedTuple):
    """One number of a report, of one day."""

    quantity: Quantity
    day: float
    """Start of the day in unix seconds (UTC)."""
    model: str
    """The provider's name of the model; of costs that belong to none, what they are for."""
    project: str
    kind: str
    """input, output or input_cached for tokens; "" for the rest."""
    value: float


@dataclass(frozen=True)
class Report:
    """One report of a provider: where it is, and how a page of it is read."""

    path: str
    query: tuple[tuple[str, str], ...]
    """Parameters of the first page. Later pages add `page`."""
    items: Callable[[Mapping[str, Any]], Iterable[Item]]
    """Reads the items of one bucket of a page. Raises ValueError for a bucket of another form."""


class Provider(NamedTuple):
    """A provider with an API for usage and costs."""

    name: str
    url: str
    """Base of its API."""
    reports: Callable[[datetime], tuple[Report, ...]]
    """Returns the reports from a moment on."""
    headers: Callable[[str], dict[str, str]]
    """Returns the headers of a request, from the value of the Authorization header."""
    key: str
    """Kind of key that is needed, for messages."""


def month_start(now: float) -> datetime:
    """Return the start of the month (UTC) that holds a moment in unix seconds."""
    return datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def day_start(now: float) -> float:
    """Return the start of the day (UTC) that holds a moment. Both in unix seconds."""
    return datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def text_of(result: Mapping[str, Any], field: str) -> str:
    """Return a text of a result; "" for null or a missing one. Raises ValueError for another type."""
    value = result.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{field} is not text")
    return value


def number_of(result: Mapping[str, Any], field: str) -> float:
    """Return a number of a result; 0 for null or a missing one. Raises ValueError for another type."""
    value = result.get(field)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{field} is not a number")
    return float(value)


def results_of(bucket: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the results of a bucket. Raises ValueError for another form."""
    results = bucket.get("results")
    if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
        raise ValueError("a bucket has no list of results")
    yield from results


def families(items: Iterable[Item], month: float, day: float, read_at: float) -> list[Metric]:
    """Return the sums of a month and of a day so far, by model and project. Times are unix seconds.

    Raises ExpositionError for too many models and projects.
    """
    sums: dict[Quantity, dict[tuple[str, ...], float]] = {quantity: {} for quantity in Quantity}
    for item in items:
        for window, start in (("month", month), ("day", day)):
            if item.day >= start:
                key = (item.model, window, item.project, *([item.kind] if item.quantity is Quantity.TOKENS else []))
                of_quantity = sums[item.quantity]
                of_quantity[key] = of_quantity.get(key, 0.0) + item.value
    if (count := sum(map(len, sums.values()))) > MAX_SERIES:
        raise ExpositionError(f"the account has {count} sums of models and projects; {MAX_SERIES} are read at most", 0)
    made: list[Metric] = []
    for quantity, values in sums.items():
        labels = ["served_model", "window", "project", *(["type"] if quantity is Quantity.TOKENS else [])]
        family = GaugeMetricFamily(
            f"llm_account_{quantity}", "As the provider counts, this day or month.", labels=labels
        )
        for key, value in values.items():
            family.add_metric(list(key), value)
        made.append(family)
    made.append(
        GaugeMetricFamily("llm_account_read_timestamp_seconds", "When the provider's reports were read.", value=read_at)
    )
    return [family for family in made if family.samples]
