"""Verbs that look: status, targets, models, query."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from controlplane.cli.client import connect
from controlplane.cli.errors import WrongUsage
from controlplane.cli.options import As, Url
from controlplane.cli.render import Output, age, columns, emit, gibibytes, number, percent, say
from controlplane.config.vocabulary import duration_seconds

_NEEDS = {"person": "NEEDS A PERSON", "waiting": "WAITS", "went_back": "WENT BACK", "engine_not_ready": "NOT READY"}


def status(url: Url = None, output: As = Output.TABLE) -> None:
    """Show the whole fleet on one screen: models, targets, alerts, GPUs."""
    with connect(url) as client:
        fleet = client.get("/cp/v1/fleet")
        alerts = client.get("/cp/v1/alerts", state="firing")["items"] if output is Output.TABLE else []
    emit(fleet, output, lambda: _print_status(fleet, alerts))


def _print_status(fleet: dict[str, Any], alerts: list[dict[str, Any]]) -> None:
    targets, counts = fleet["targets"], fleet["alerts"]
    unknown = f", {targets['unknown']} not scraped yet" if targets["unknown"] else ""
    mode = "  observe-only" if fleet["observe_only"] else ""
    say(
        f"fleet {fleet['name']}{mode}   targets: {targets['up']} up, {targets['down']} down{unknown}   "
        f"alerts: {counts['firing']} firing, {counts['pending']} pending"
    )
    for alert in (a for a in alerts if a["severity"] != "none"):
        mark = " (simulated)" if alert["simulated"] else ""
        say(f"  FIRING {alert['name']}: {alert['annotations'].get('summary', '')}{mark}")
    for need in fleet["attention"]:
        what = f"rollout {need['rollout']} of {need['model']}" if need["rollout"] else f"engine of {need['model']}"
        say(f"  {_NEEDS.get(need['need'], need['need'])}: {what}: {need['sentence']}")
    print()
    _print_models(fleet["models"])
    if fleet["gpus"]:
        print()
        rows = [
            [
                g["node"],
                g["gpu"],
                percent(g["utilization_ratio"]),
                f"{gibibytes(g['memory_used_bytes'])} of {gibibytes(g['memory_total_bytes'])}",
                number(g["temperature_celsius"], " °C"),
                "simulated" if g["simulated"] else "",
            ]
            for g in fleet["gpus"]
        ]
        columns(["NODE", "GPU", "USE", "MEMORY", "TEMPERATURE", ""], rows, "no GPUs")


def models(url: Url = None, output: As = Output.TABLE) -> None:
    """List models, their versions and the traffic of each."""
    with connect(url) as client:
        data = client.get("/cp/v1/models")
    emit(data["items"], output, lambda: _print_models(data["items"]))


def _print_models(items: list[dict[str, Any]]) -> None:
    rows = []
    for model in items:
        for version in model["versions"]:
            rows.append(
                [
                    model["name"],
                    version["version"],
                    version["role"],
                    version["state"],
                    percent(version["traffic_share"]),
                    number(version["requests_per_second"]),
                    number(version["latency_p99_seconds"], "s") + _of(version["latency_source"]),
                    percent(version["error_ratio"]) + _of(version["error_source"]),
                    number(version["running"]),
                    "simulated" if version["simulated"] else "",
                ]
            )
    header = ["MODEL", "VERSION", "ROLE", "STATE", "TRAFFIC", "REQ/S", "P99", "ERRORS", "RUNNING", ""]
    waiting = [n for n, row in enumerate(rows) if row[2] == "idle" and row[4] == "0%"]  # as it should: not loaded
    columns(header, rows, "no models in fleet.yaml", calm=waiting)
    for model in items:
        if rollout := model["rollout"]:
            say(f"rollout {rollout['id']} of {model['name']}: {rollout['phase']}: {rollout['sentence']}")


def _of(source: str | None) -> str:
    return f" ({source})" if source else ""


def targets(url: Url = None, output: As = Output.TABLE) -> None:
    """List scraped targets and how their last scrape went."""
    with connect(url) as client:
        items = client.get("/cp/v1/targets")["items"]
    rows = [
        [
            t["job"],
            t["instance"],
            t["health"],
            age(t["last_scrape_at"]),
            number(t["duration_seconds"], "s", 2),
            number(t["samples"]),
            t["last_error"] or ("simulated" if t["simulated"] else ""),
        ]
        for t in items
    ]
    header = ["JOB", "INSTANCE", "HEALTH", "SCRAPED", "TOOK", "SAMPLES", ""]
    emit(items, output, lambda: columns(header, rows, "no targets in fleet.yaml"))


def query(
    expression: Annotated[str, typer.Argument(metavar="EXPR", help="PromQL.")],
    at: Annotated[
        str | None, typer.Option("--at", help="Time: RFC 3339, unix seconds, or a duration ago (5m).")
    ] = None,
    range_: Annotated[
        str | None, typer.Option("--range", help="Evaluate over this long up to --at, such as 1h.")
    ] = None,
    step: Annotated[str | None, typer.Option("--step", help="Resolution of --range; by default 60 points.")] = None,
    url: Url = None,
    output: As = Output.TABLE,
) -> None:
    """Evaluate PromQL."""
    end = _instant(at)
    with connect(url) as client:
        if range_ is None:
            data = client.get("/api/v1/query", query=expression, time=end)["data"]
        else:
            length = _duration(range_, "--range")
            data = client.get(
                "/api/v1/query_range",
                query=expression,
                start=end - length,
                end=end,
                step=_duration(step, "--step") if step else max(length / 60, 1),
            )["data"]
    emit(data, output, lambda: _print_result(data))


def _print_result(data: dict[str, Any]) -> None:
    kind, result = data["resultType"], data["result"]
    if kind in ("scalar", "string"):
        say(result[1])
    elif kind == "vector":
        # The value first: label sets are longer than a terminal is wide.
        rows = [[s["value"][1], _series(s["metric"])] for s in result]
        columns(["VALUE", "SERIES"], rows, "no series: unknown, not zero")
    else:
        rows = [
            [datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), v, _series(s["metric"])]
            for s in result
            for t, v in s["values"]
        ]
        columns(["TIME", "VALUE", "SERIES"], rows, "no series: unknown, not zero")


def _series(metric: dict[str, str]) -> str:
    name = metric.get("__name__", "")
    labels = ", ".join(f'{k}="{_escaped(v)}"' for k, v in sorted(metric.items()) if k != "__name__")
    return f"{name}{{{labels}}}" if labels or not name else name


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _instant(text: str | None) -> float:
    if text is None or text == "now":
        return time.time()
    if re.fullmatch(r"\d{9,}(\.\d+)?", text):
        return float(text)
    try:
        return time.time() - duration_seconds(text)
    except ValueError:
        pass
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsage(f"--at {text!r}: expected RFC 3339, unix seconds, or a duration ago such as 5m") from None
    return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()


def _duration(text: str, option: str) -> float:
    try:
        seconds = duration_seconds(text)
    except ValueError as error:
        raise WrongUsage(f"{option}: {error}") from None
    if seconds <= 0:
        raise WrongUsage(f"{option}: expected a duration above zero")
    return seconds
