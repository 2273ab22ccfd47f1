"""The verb `top`: requests, latency, cache and GPUs on one screen that is refreshed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from controlplane.cli.client import ApiClient, connect, place_name
from controlplane.cli.errors import CliError, ServerUnreachable, WrongUsage
from controlplane.cli.look import print_gpus, rough
from controlplane.cli.query import seconds_of
from controlplane.cli.render import TABLE, columns, emit, is_terminal, number, percent, say, tell
from controlplane.cli.screens.screen import repeat

LEAST_INTERVAL_S = 1.0
"""Shortest interval, in seconds: the control plane caches an answer for this time."""
QUERIES = {
    "ttft_p99_seconds": "histogram_quantile(0.99, "
    "sum by (model, version, le) (rate(llm_time_to_first_token_seconds_bucket{source!='probe'}[1m])))",
    "kv_cache_usage_ratio": "max by (model, version) (llm_kv_cache_usage_ratio)",
    "output_tokens_per_second": "sum by (model, version) (rate(llm_tokens_total{type='output',source!='probe'}[1m]))",
}
"""PromQL for the numbers that `/cp/v1/fleet` lacks, by their field in the output."""

HEADER = ("MODEL", "VERSION", "STATE", "TRAFFIC", "REQ/S", "P99", "TTFT P99", "TOK/S", "KV", "RUN", "WAIT", "ERRORS")


def top(interval: str, once: bool, url: str | None, context: str | None, output: str) -> None:
    """Show requests, latency, cache and GPUs as they change; once when piped. Raises WrongUsage for a bad interval."""
    seconds = seconds_of(interval, "--interval")
    if seconds < LEAST_INTERVAL_S:
        raise WrongUsage(f"--interval {interval}: expected 1s or longer, because the numbers change once a second")
    with connect(url, context) as client:
        if output != TABLE:
            emit(look(client), output, lambda: None)
        elif once or not is_terminal(sys.stdout):
            _draw(client)
        else:
            repeat(lambda: _draw(client), seconds)


def look(client: ApiClient) -> dict[str, Any]:
    """Return the versions and GPUs with their numbers; None is unknown. Raises CliError."""
    fleet = client.get("/cp/v1/fleet")
    extra, unknown = {}, []
    for name, expression in QUERIES.items():
        try:
            extra[name] = _by_version(client.get("/api/v1/query", query=expression)["data"]["result"])
        except ServerUnreachable:
            raise
        except CliError as error:
            unknown.append(f"{name}: {error}")
    versions = [
        {
            "model": model["name"],
            **{key: value for key, value in version.items() if key != "backends"},
            **{name: found.get((model["name"], version["version"])) for name, found in extra.items()},
        }
        for model in fleet["models"]
        for version in model["versions"]
    ]
    return {
        "fleet": fleet["name"],
        "at": fleet["generated_at"],
        "targets": fleet["targets"],
        "alerts": fleet["alerts"],
        "versions": versions,
        "gpus": fleet["gpus"],
        "warnings": [*fleet["warnings"], *unknown],
    }


def _by_version(result: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    found = {}
    for series in result:
        value = float(series["value"][1])
        if value == value and abs(value) != float("inf"):
            found[series["metric"].get("model", ""), series["metric"].get("version", "")] = value
    return found


def _draw(client: ApiClient) -> None:
    seen = look(client)
    alerts = "unknown" if seen["alerts"] is None else f"{seen['alerts']['firing']} firing"
    targets = seen["targets"]
    say(f"fleet {seen['fleet']} at {place_name(client.place)}   {datetime.now(UTC):%H:%M:%SZ}")
    say(f"targets: {targets['up']} up, {targets['down']} down   alerts: {alerts}")
    for warning in seen["warnings"]:
        tell("  not known now: ", warning)
    print()
    busy = sorted(seen["versions"], key=lambda v: -(v["requests_per_second"] or 0.0))
    rows = [
        [
            v["model"],
            v["version"],
            v["state"],
            percent(v["traffic_share"]),
            number(v["requests_per_second"]),
            rough(v["latency_p99_seconds"], v.get("latency_samples")),
            number(v.get("ttft_p99_seconds"), " s", 2),
            number(v.get("output_tokens_per_second")),
            percent(v.get("kv_cache_usage_ratio")),
            number(v["running"]),
            number(v["waiting"]),
            percent(v["error_ratio"]),
        ]
        for v in busy
    ]
    idle = [n for n, v in enumerate(busy) if v["role"] == "idle" and v["state"] == "unavailable"]
    columns(HEADER, rows, "no models in fleet.yaml", calm=idle)
    if seen["gpus"]:
        print()
        print_gpus(seen["gpus"])
