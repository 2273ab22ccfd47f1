"""The verbs `backup jobs`, `backup run` and `backup drill`: the backups that the control plane makes and tries."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from controlplane.cli.client import connect
from controlplane.cli.render import clock, columns, emit, say, size
from controlplane.cli.table import UNKNOWN
from controlplane.telling import lasting


def jobs(url: str | None, context: str | None, output: str) -> None:
    """List the backup jobs: what runs, the last run and its result, the next run, the age of the newest good one."""
    with connect(url, context) as client:
        items = client.get("/cp/v1/backups")["items"]
    rows = [_row(item) for item in items]
    header = ("JOB", "SOURCE", "NOW", "LAST", "RESULT", "NEXT", "AGE")
    emit(items, output, lambda: columns(header, rows, "no backup jobs: fleet.yaml has no backup:"))


def run(job: str, url: str | None, context: str | None) -> None:
    """Let the control plane make a backup now. Raises Conflict while a run of the job waits or runs."""
    with connect(url, context) as client:
        client.post(f"/cp/v1/backups/{quote(job, safe='')}/runs", {})
    say(f"a run of the backup {job} will begin: `controlplane backup jobs` shows it")


def drill(job: str, url: str | None, context: str | None) -> None:
    """Let the control plane try the newest snapshot of a job now. Raises Conflict while a drill of it waits or runs."""
    with connect(url, context) as client:
        client.post(f"/cp/v1/backups/{quote(f'drill-{job}', safe='')}/runs", {})
    say(f"a drill of {job} will begin: `controlplane backup jobs` shows it as drill-{job}")


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    last = item["last"]
    return (
        item["job"],
        item["source"],
        _now(item["open"]),
        UNKNOWN if last is None or last["finished_at"] is None else clock(last["finished_at"]),
        "not run yet" if last is None else _result(last),
        UNKNOWN if item["next_at"] is None else clock(item["next_at"]),
        _age(item),
    )


def _now(found: dict[str, Any] | None) -> str:
    if found is None:
        return UNKNOWN
    if found["state"] == "waiting" or found["total_bytes"] is None:
        return str(found["state"])
    return f"{size(found['done_bytes'])} of {size(found['total_bytes'])}"


def _result(last: dict[str, Any]) -> str:
    words = [last["outcome"]]
    if last["bytes"] is not None and last["new_bytes"] is not None:
        words.append(f"{size(last['bytes'])}, {size(last['new_bytes'])} new")
    if last["words"]:
        words.append(last["words"])
    return ": ".join(words)


def _age(item: dict[str, Any]) -> str:
    age = "never" if item["age_seconds"] is None else lasting(item["age_seconds"])
    return f"{age} !" if item["too_old"] else age
