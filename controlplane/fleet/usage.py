"""Usage through gateways as people and bills see it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from controlplane.config.gateway import PriceSection
from controlplane.config.model import Fleet
from controlplane.fleet.view import View, instant
from controlplane.plain_text import csv_cell
from controlplane.store.usage import NAMES, TIMES, Money, UsageSums

BY = (*NAMES, *TIMES)
"""Words that usage can be summed by."""
SUMS = (
    *("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "estimated_requests", "usd"),
    *("mean_duration_seconds", "mean_first_token_seconds"),
)


class UsageView(View):
    """Usage of one group. Only the names and times that were asked are there."""

    tenant: str | None = None
    key: str | None = None
    """Id of the API key; "" without authentication."""
    model: str | None = None
    version: str | None = None
    """"" for requests that no version took."""
    outcome: str | None = None
    hour: str | None = None
    """Start of the hour. Usage that is older than 62 days has the start of its day."""
    day: str | None = None
    """Start of the day in UTC."""
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Prompt tokens that came from a prefix cache. They are among the prompt tokens."""
    estimated_requests: int
    """Requests whose tokens were estimated, because the engine reported none."""
    usd: float | None
    """By the prices when the usage arrived; null: no model of the group had a price."""
    mean_duration_seconds: float | None
    mean_first_token_seconds: float | None
    """null: no request of the group had a first token."""


def usage_view(row: Mapping[str, Any], by: Sequence[str]) -> UsageView:
    """Return the view of a row of the store."""
    names = {word: instant(row[word]) if word in TIMES else row[word] for word in by}
    tokens = {name: row[name] for name in SUMS[:4]}
    return UsageView(
        **names,
        **tokens,
        estimated_requests=row["estimated"],
        usd=None if row["usd"] is None else round(row["usd"], 6),
        mean_duration_seconds=_mean(row["duration_s"], row["requests"]),
        mean_first_token_seconds=_mean(row["first_s"], row["streams"]),
    )


def usage_csv(views: Sequence[UsageView], by: Sequence[str]) -> str:
    """Return the views as CSV with a header line. An unknown number is an empty field. No cell is a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow((*by, *SUMS))
    for view in views:
        writer.writerow([csv_cell(getattr(view, name)) for name in (*by, *SUMS)])
    return out.getvalue()


def money_of(fleet: Fleet) -> Money:
    """Return the price of sums by the prices of fleet.yaml."""
    prices = {model.name: model.gateway.price for model in fleet.models if model.gateway.price is not None}

    def money(sums: UsageSums) -> float | None:
        price = prices.get(sums.model)
        return None if price is None else _usd(sums, price)

    return money


def _usd(sums: UsageSums, price: PriceSection) -> float:
    cached = min(sums.cached_tokens, sums.prompt_tokens)
    of_cached = price.input_usd if price.cached_usd is None else price.cached_usd
    of_prompt = (sums.prompt_tokens - cached) * price.input_usd + cached * of_cached
    return (of_prompt + sums.completion_tokens * price.output_usd) / 1e6


def _mean(total: float, number: int) -> float | None:
    return round(total / number, 6) if number else None
