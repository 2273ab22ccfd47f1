"""The verb `query`: PromQL over the Prometheus HTTP API."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from controlplane.cli.client import connect
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import clock, columns, emit, say

LARGE = 1e5
"""Values from here on are shown without fractions. Chosen: five significant digits."""


def query(
    expression: str,
    at: str | None,
    range: str | None,
    step: str | None,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Evaluate PromQL."""
    end = time.time() if at is None or at == "now" else instant_of(at, "--at")
    with connect(url, context) as client:
        if range is None:
            answer = client.get("/api/v1/query", query=expression, time=end)
        else:
            length = seconds_of(range, "--range")
            answer = client.get(
                "/api/v1/query_range",
                query=expression,
                start=end - length,
                end=end,
                step=seconds_of(step, "--step") if step else max(length / 60, 1),
            )
    data = answer["data"]
    for said in (*answer.get("warnings", ()), *answer.get("infos", ())):
        say(said, sys.stderr)
    emit(data, output, lambda: _print_result(data))


def _print_result(data: dict[str, Any]) -> None:
    kind, result = data["resultType"], data["result"]
    if kind in ("scalar", "string"):
        say(result[1])
    elif kind == "vector":
        # The value comes first: a label set may be wider than the terminal.
        rows = [[shown(s["value"][1]), _series(s["metric"])] for s in result]
        columns(["VALUE", "SERIES"], rows, "no series: unknown, not zero")
    else:
        rows = [[clock(t), shown(v), _series(s["metric"])] for s in result for t, v in s["values"]]
        columns(["TIME", "VALUE", "SERIES"], rows, "no series: unknown, not zero")


def shown(value: str) -> str:
    """Return a value with five significant digits: `0.123456` → `0.12346`. Whole and large numbers have no fractions.

    JSON and YAML output keep all digits.
    """
    try:
        exact = float(value)
    except ValueError:
        return value
    if not math.isfinite(exact):
        return value
    if exact.is_integer() or abs(exact) >= LARGE:
        return f"{exact:.0f}" if abs(exact) < 1e15 else value
    return f"{exact:.5g}"


def _series(metric: dict[str, str]) -> str:
    name = metric.get("__name__", "")
    labels = ", ".join(f'{k}="{_escaped(v)}"' for k, v in sorted(metric.items()) if k != "__name__")
    return f"{name}{{{labels}}}" if labels or not name else name


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def instant_of(text: str, option: str) -> float:
    """Return the unix seconds of an option's instant. Raises WrongUsage."""
    from controlplane.config.durations import instant_seconds

    try:
        return instant_seconds(text, time.time())
    except ValueError as error:
        raise WrongUsage(f"{option} {text!r}: {error}") from None


def seconds_of(text: str, option: str) -> float:
    """Return the seconds of an option's duration. Raises WrongUsage unless it is above zero."""
    from controlplane.config.durations import duration_seconds

    try:
        seconds = duration_seconds(text)
    except ValueError as error:
        raise WrongUsage(f"{option}: {error}") from None
    if seconds <= 0:
        raise WrongUsage(f"{option}: expected a duration above zero")
    return seconds
