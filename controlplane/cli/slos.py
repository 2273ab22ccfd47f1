"""The verb `slo`: objectives and what is left of their error budgets."""

from __future__ import annotations

from typing import Any

from controlplane.cli.client import connect
from controlplane.cli.render import clock, columns, emit, number, percent

DAY_S = 86400.0
WHOLE = 0.95
"""Share of the window from which on it is not said that the history is shorter."""
HEADER = ["MODEL", "SLO", "OBJECTIVE", "WINDOW", "STATE", "BUDGET LEFT", "BURN RATE", "SPENT AT", "GOOD REQUEST"]


def slo(url: str | None, context: str | None, output: str, model: str | None) -> None:
    """List the objectives: window, what is left of the error budget, burn rate, and when it is spent at this rate."""
    with connect(url, context) as client:
        items = client.get("/cp/v1/slos", model=model)["items"]
    rows = [_row(item) for item in items]
    emit(items, output, lambda: columns(HEADER, rows, "no SLOs in fleet.yaml (models[].slos)"))


def _row(slo: dict[str, Any]) -> list[str]:
    at = slo["exhausted_at"]
    return [
        slo["model"],
        slo["name"],
        f"{slo['objective_percent']:g}%",
        _days(slo["window_seconds"]),
        slo["state"],
        _left(slo),
        number(slo["burn_rate"]),
        "-" if at is None else clock(at),
        slo["meaning"],
    ]


def _left(slo: dict[str, Any]) -> str:
    left = percent(slo["budget_remaining_ratio"])
    seen, window = slo["observed_seconds"], slo["window_seconds"]
    if slo["budget_remaining_ratio"] is None or seen >= WHOLE * window:
        return left
    return f"{left} (over the last {_days(seen)})"


def _days(seconds: float) -> str:
    if seconds >= DAY_S:
        return f"{seconds / DAY_S:.3g}d"
    return f"{seconds / 3600:.2g}h" if seconds >= 3600 else f"{seconds / 60:.0f}min"
