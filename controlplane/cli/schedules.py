"""The verb `schedules`: the scheduled jobs."""

from __future__ import annotations

from typing import Any

from controlplane.cli.client import connect
from controlplane.cli.render import clock, columns, emit


def schedules(url: str | None, context: str | None, output: str) -> None:
    """List the scheduled jobs: next run, last run and its result."""
    with connect(url, context) as client:
        items = client.get("/cp/v1/schedules")["items"]
    emit(items, output, lambda: _print(items))


def _print(items: list[dict[str, Any]]) -> None:
    rows = [
        [i["name"], i["cron"], i["timezone"], _time(i["next_at"]), *_last(i["last"]), str(i["missed"])] for i in items
    ]
    columns(["NAME", "SCHEDULE", "TIMEZONE", "NEXT", "LAST", "RESULT", "MISSED"], rows, "no scheduled jobs")


def _last(run: dict[str, Any] | None) -> list[str]:
    if run is None:
        return ["-", "not run yet"]
    result = run["outcome"] if run["error"] is None else f"{run['outcome']}: {run['error']}"
    return [_time(run["due_at"]), result]


def _time(at: str | None) -> str:
    return "-" if at is None else clock(at)
