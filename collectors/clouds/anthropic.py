"""Anthropic's usage and cost reports of an organization. Pure.

https://docs.anthropic.com/en/api/usage-cost-api. One page holds 31 days at most, which is the longest month.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from math import isfinite, nan
from typing import Any

from collectors.clouds.report import Item, Provider, Quantity, Report, number_of, results_of, text_of
from collectors.http.credentials import keyed
from collectors.probe.anthropic import VERSION

_DAYS = "31"


def _reports(start: datetime) -> tuple[Report, ...]:
    since = (("starting_at", start.strftime("%Y-%m-%dT%H:%M:%SZ")), ("bucket_width", "1d"), ("limit", _DAYS))
    return (
        Report(
            "/v1/organizations/usage_report/messages",
            (*since, ("group_by[]", "model"), ("group_by[]", "workspace_id")),
            _usage,
        ),
        Report(
            "/v1/organizations/cost_report",
            (*since, ("group_by[]", "description"), ("group_by[]", "workspace_id")),
            _costs,
        ),
    )


def _usage(bucket: Mapping[str, Any]) -> Iterator[Item]:
    day = _day(bucket)
    for result in results_of(bucket):
        model, project = text_of(result, "model"), text_of(result, "workspace_id")
        created = result.get("cache_creation")
        written = sum(number_of(created, field) for field in created) if isinstance(created, dict) else 0.0
        cached = number_of(result, "cache_read_input_tokens")
        # The API's parts of the input exclude each other, while input_cached is a part of input.
        whole = number_of(result, "uncached_input_tokens") + written + cached
        for kind, value in (("input", whole), ("output", number_of(result, "output_tokens")), ("input_cached", cached)):
            yield Item(Quantity.TOKENS, day, model, project, kind, value)


def _costs(bucket: Mapping[str, Any]) -> Iterator[Item]:
    day = _day(bucket)
    for result in results_of(bucket):
        if text_of(result, "currency").upper() not in ("", "USD"):
            raise ValueError("a cost is not in US dollars")
        model = text_of(result, "model") or text_of(result, "description")
        yield Item(Quantity.COST, day, model, text_of(result, "workspace_id"), "", _dollars(text_of(result, "amount")))


def _day(bucket: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(text_of(bucket, "starting_at")).timestamp()


def _dollars(cents: str) -> float:
    """Return the dollars of an amount, which is a decimal number of cents: "123.45" is 1.2345."""
    try:
        amount = float(cents)
    except ValueError:
        amount = nan
    if not isfinite(amount):
        raise ValueError("the amount of a cost is not a number")
    return amount / 100


def _headers(authorization: str) -> dict[str, str]:
    return {"anthropic-version": VERSION, **keyed("x-api-key", authorization)}


ANTHROPIC = Provider(
    "anthropic",
    "https://api.anthropic.com",
    _reports,
    _headers,
    "an admin key of the organization (sk-ant-admin…), which only its admins can create",
)
