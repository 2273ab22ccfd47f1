"""OpenAI's usage and costs of an organization. Pure.

https://platform.openai.com/docs/api-reference/usage. One page holds 31 days at most, which is the longest month.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from collectors.clouds.report import Item, Provider, Quantity, Report, number_of, results_of, text_of
from collectors.http.credentials import authorized

_DAYS = "31"


def _reports(start: datetime) -> tuple[Report, ...]:
    since = (("start_time", str(int(start.timestamp()))), ("bucket_width", "1d"), ("limit", _DAYS))
    usage = (*since, ("group_by", "model"), ("group_by", "project_id"))
    costs = (*since, ("group_by", "line_item"), ("group_by", "project_id"))
    return (
        Report("/v1/organization/usage/completions", usage, _usage),
        Report("/v1/organization/usage/embeddings", usage, _usage),
        Report("/v1/organization/costs", costs, _costs),
    )


def _usage(bucket: Mapping[str, Any]) -> Iterator[Item]:
    day = number_of(bucket, "start_time")
    for result in results_of(bucket):
        model, project = text_of(result, "model"), text_of(result, "project_id")
        yield Item(Quantity.REQUESTS, day, model, project, "", number_of(result, "num_model_requests"))
        for kind in ("input", "output", "input_cached"):
            if result.get(f"{kind}_tokens") is not None:
                yield Item(Quantity.TOKENS, day, model, project, kind, number_of(result, f"{kind}_tokens"))


def _costs(bucket: Mapping[str, Any]) -> Iterator[Item]:
    day = number_of(bucket, "start_time")
    for result in results_of(bucket):
        amount = result.get("amount")
        if not isinstance(amount, dict):
            raise ValueError("a cost has no amount")
        if text_of(amount, "currency").lower() not in ("", "usd"):
            raise ValueError("a cost is not in US dollars")
        # A line item is `gpt-4o-mini-2024-07-18, input`, or a name without a comma for what is no model.
        item = text_of(result, "line_item").partition(",")[0].strip()
        yield Item(Quantity.COST, day, item, text_of(result, "project_id"), "", number_of(amount, "value"))


OPENAI = Provider(
    "openai",
    "https://api.openai.com",
    _reports,
    authorized,
    "an admin key of the organization (sk-admin-…), which only its owners can create",
)
