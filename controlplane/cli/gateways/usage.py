"""The verb `usage`: requests, tokens and money of tenants and models through the gateways."""

from __future__ import annotations

import sys
from typing import Any

from controlplane.cli.client import connect
from controlplane.cli.errors import WrongUsage
from controlplane.cli.query import instant_of
from controlplane.cli.render import clock, columns, emit, say, took
from controlplane.cli.table import UNKNOWN
from controlplane.plain_text import csv_cell

CSV = "csv"
BY = ("tenant", "key", "model", "version", "outcome", "hour", "day")
_SUMS = (
    *("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "estimated_requests", "usd"),
    *("mean_duration_seconds", "mean_first_token_seconds"),
)
_HEADER = ("REQUESTS", "INPUT", "OUTPUT", "CACHED", "USD", "MEAN", "FIRST TOKEN")


def usage(
    by: str,
    since: str,
    until: str | None,
    limit: int,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Print usage. Raises WrongUsage for a wrong word or time."""
    words = by.split(",") if by else []
    if unknown := [word for word in words if word not in BY]:
        raise WrongUsage(f"--by {by}: {unknown[0]!r} is not one of {', '.join(BY)}")
    start = instant_of(since, "--since")
    end = None if until is None else instant_of(until, "--until")
    with connect(url, context) as client:
        page = client.get("/cp/v1/usage", by=by, limit=limit, since=start, until=end)
    if output == CSV:
        _print_csv(page["items"], words)
    else:
        emit(page["items"], output, lambda: _print(page["items"], words))
    if page["truncated"]:
        say(f"there are more rows than --limit {limit}", sys.stderr)


def _print(items: list[dict[str, Any]], words: list[str]) -> None:
    rows = [[*(_name(item, word) for word in words), *_numbers(item)] for item in items]
    columns([*(word.upper() for word in words), *_HEADER], rows, "no usage in this time")


def _name(item: dict[str, Any], word: str) -> str:
    value = item[word]
    if word in ("hour", "day"):
        return clock(value)[: 10 if word == "day" else 16]
    return value or UNKNOWN


def _numbers(item: dict[str, Any]) -> list[str]:
    tokens = [str(item[name]) for name in ("requests", "prompt_tokens", "completion_tokens", "cached_tokens")]
    usd = UNKNOWN if item["usd"] is None else f"{item['usd']:.2f}"
    return [*tokens, usd, took(item["mean_duration_seconds"]), took(item["mean_first_token_seconds"])]


def _print_csv(items: list[dict[str, Any]], words: list[str]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*words, *_SUMS])
    for item in items:
        writer.writerow([csv_cell(item[name]) for name in (*words, *_SUMS)])
