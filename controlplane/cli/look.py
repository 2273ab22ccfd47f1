"""Verbs that look: status, models, targets, version."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from controlplane import __version__
from controlplane.cli.client import ApiClient, connect, locate, place_name
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import (
    TABLE,
    age,
    ago,
    columns,
    emit,
    gibibytes,
    number,
    percent,
    say,
    tell,
    took,
)
from controlplane.cli.screens.screen import repeat
from controlplane.telling import FULL, counted, digits_of

WATCH_S = 2.0
GLANCE = 240
"""Most characters of a sentence in `status`: an engine's message can be long."""
_NEEDS = {
    "person": "NEEDS A PERSON",
    "waiting": "WAITS",
    "decision": "NEEDS A DECISION",
    "went_back": "WENT BACK",
    "engine_not_ready": "NOT READY",
    "gateway_silent": "SILENT",
    "gateway_refuses": "REFUSES",
    "gateway_shared": "ONE NAME",
    "gateway_behind": "BEHIND",
    "no_gateway": "NO GATEWAY",
}
MOST_REMARKS = 10
"""Most remarks on lists of targets that are printed. Chosen: a screen has room for the targets, too."""


def status(watch: bool, url: str | None, context: str | None, output: str) -> None:
    """Show the whole fleet on one screen: models, targets, alerts, GPUs. Raises WrongUsage for --watch with -o."""
    if watch and output != TABLE:
        raise WrongUsage(f"--watch draws a table: leave out either --watch or -o {output}")
    with connect(url, context) as client:
        if watch:
            repeat(lambda: _show_status(client), WATCH_S)
            return
        if output == TABLE:
            _show_status(client)
        else:
            emit(client.get("/cp/v1/fleet"), output, lambda: None)


def _show_status(client: ApiClient) -> None:
    fleet = client.get("/cp/v1/fleet")
    _print_status(fleet, client.get("/cp/v1/alerts", state="firing")["items"], place_name(client.place))


def _print_status(fleet: dict[str, Any], alerts: list[dict[str, Any]], place: str) -> None:
    say(f"fleet {fleet['name']} at {place}" + ("   observe-only: it never acts" if fleet["observe_only"] else ""))
    targets, counts = fleet["targets"], fleet["alerts"]
    unknown = f", {targets['unknown']} not scraped yet" if targets["unknown"] else ""
    told = "unknown" if counts is None else f"{counts['firing']} firing, {counts['pending']} pending"
    say(f"targets: {targets['up']} up, {targets['down']} down{unknown}   alerts: {told}")
    for warning in fleet["warnings"]:
        tell("  not known now: ", warning)
    for alert in (a for a in alerts if a["severity"] != "none"):
        mark = " (simulated)" if alert["simulated"] else ""
        what = f"{alert['name']} for {age(alert['fired_at'])}: {alert['annotations'].get('summary', '')}{mark}"
        tell("  FIRING ", what)
    for need in fleet["attention"]:
        what = _concerned(need)
        more = f"… (cp rollouts show {need['rollout']})" if need["rollout"] else "…"
        sentence = need["sentence"] if len(need["sentence"]) <= GLANCE else need["sentence"][:GLANCE].rstrip() + more
        tell(f"  {_NEEDS.get(need['need'], need['need'])}: ", f"{what}: {sentence}")
    print()
    print_models(fleet["models"])
    if fleet["gpus"]:
        print()
        print_gpus(fleet["gpus"])


def _concerned(need: dict[str, Any]) -> str:
    """Return the thing that needs attention, in words."""
    if need["rollout"]:
        return f"rollout {need['rollout']} of {need['model']}"
    if need["need"] == "engine_not_ready":
        return f"engine of {need['model']}"
    return f"gateways of {need['model']}" if need["model"] else "gateway"


def print_gpus(gpus: list[dict[str, Any]]) -> None:
    """Print one row a GPU."""
    rows = [
        [
            g["node"] or "-",
            gpu_name(g, gpus),
            percent(g["utilization_ratio"]),
            _memory(g),
            number(g["temperature_celsius"], " °C"),
            "simulated" if g["simulated"] else "",
        ]
        for g in gpus
    ]
    columns(["NODE", "GPU", "USE", "MEMORY", "TEMPERATURE", ""], rows, "no GPUs")


def _memory(gpu: dict[str, Any]) -> str:
    used, total = gpu["memory_used_bytes"], gpu["memory_total_bytes"]
    return f"{gibibytes(used).removesuffix(' GiB')} of {gibibytes(total)}" if used is not None else gibibytes(None)


def gpu_name(gpu: dict[str, Any], gpus: list[dict[str, Any]]) -> str:
    """Return a GPU's index on its node. Without one, return the start of its UUID that no other GPU has."""
    if gpu.get("index"):
        return str(gpu["index"])
    name, others = str(gpu["gpu"]), [str(g["gpu"]) for g in gpus if g["gpu"] != gpu["gpu"]]
    length = next((n for n in range(12, len(name)) if not any(o.startswith(name[:n]) for o in others)), len(name))
    return name[:length] + ("…" if length < len(name) else "")


def models(url: str | None, context: str | None, output: str) -> None:
    """List models, their versions and the traffic of each."""
    with connect(url, context) as client:
        data = client.get("/cp/v1/models")
    emit(data["items"], output, lambda: print_models(data["items"]))


def print_models(items: list[dict[str, Any]]) -> None:
    """Print one row a version, and a line a running rollout."""
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
                    latency(version),
                    percent(version["error_ratio"]) + _of(version["error_source"]),
                    number(version["running"]),
                    "simulated" if version["simulated"] else "",
                ]
            )
    header = ["MODEL", "VERSION", "ROLE", "STATE", "TRAFFIC", "REQ/S", "P99", "ERRORS", "RUN", ""]
    waiting = [n for n, row in enumerate(rows) if row[2:5] == ["idle", "unavailable", "0%"]]  # not loaded is normal
    columns(header, rows, "no models in fleet.yaml", calm=waiting)
    for model in items:
        if rollout := model["rollout"]:
            tell(f"rollout {rollout['id']}: ", f"{model['name']}: {rollout['phase']}: {rollout['sentence']}")


def latency(version: dict[str, Any]) -> str:
    """Return a version's P99 and its source. With few samples it is rounded, after `~`, and their count is named."""
    seconds, samples, source = (version.get(f"latency_{name}") for name in ("p99_seconds", "samples", "source"))
    about = "" if seconds is None else _of(source if digits_of(samples) == FULL else counted(samples or 0, source))
    return rough(seconds, samples) + about


def rough(seconds: float | None, samples: float | None) -> str:
    """Return a P99 with as many digits as its number of samples supports, or `-`."""
    digits = digits_of(samples)
    return number(seconds, " s", digits) if seconds is None or digits == FULL else "~" + number(seconds, " s", digits)


def _of(source: str | None) -> str:
    return f" ({source})" if source else ""


def _remark(target: Mapping[str, Any]) -> str:
    """Return what is wrong with a target, or noteworthy about it."""
    if target["last_error"]:
        return str(target["last_error"])
    found = ["simulated"] if target["simulated"] else []
    if target.get("remark"):  # an older server does not say
        found.append(str(target["remark"]))
    if target.get("missing") and not target.get("blind"):
        found.append(f"does not report {len(target['missing'])} expected metric(s): see -o json")
    if target.get("unknown_labels"):
        found.append(f"unknown labels keep series apart: {'; '.join(target['unknown_labels'])}")
    return ", ".join(found)


def _engine(target: Mapping[str, Any]) -> str:
    recognised = target.get("auto") and target["engine"] != "auto"
    return f"{target['engine']} (auto)" if recognised else str(target["engine"])


def targets(
    url: str | None,
    context: str | None,
    output: str,
    dropped: bool = False,
    search: str | None = None,
    limit: int = 100,
) -> None:
    """List the scrape targets and the result of their last scrape, or what `relabel_configs` drop, and why.

    Raises WrongUsage for a search without `dropped`.
    """
    if dropped:
        _dropped(url, context, output, search, limit)
        return
    if search:
        raise WrongUsage("--search is for --dropped; write --dropped --search TEXT")
    with connect(url, context) as client:
        answer = client.get("/cp/v1/targets")
    items, gone, faults = answer["items"], answer.get("dropped", 0), answer.get("faults", [])
    rows = [
        [
            t["job"],
            t["instance"],
            _engine(t),
            "blind" if t.get("blind") else t["health"],
            ago(t["last_scrape_at"]),
            took(t["duration_seconds"]),
            number(t["samples"]),
            _remark(t),
        ]
        for t in sorted(items, key=lambda one: one["health"] == "up" and not one.get("blind"))  # faults come first
    ]
    header = ["JOB", "INSTANCE", "ENGINE", "HEALTH", "SCRAPED", "TOOK", "SAMPLES", ""]
    emit(items, output, lambda: columns(header, rows, "no targets in fleet.yaml"))
    if gone:  # not among the rows, which scripts read
        print(f"{gone} more dropped by relabel_configs; targets --dropped says why", file=sys.stderr)
    for fault in faults:  # an older server names none
        print(f"fault of a list: {fault}", file=sys.stderr)
    remarks = answer.get("remarks", [])
    for remark in remarks[:MOST_REMARKS]:
        print(f"remark: {remark}", file=sys.stderr)
    if (more := len(remarks) - MOST_REMARKS) > 0:
        print(f"{more} more remarks; the console's page of targets has all", file=sys.stderr)


def _dropped(url: str | None, context: str | None, output: str, search: str | None, limit: int) -> None:
    with connect(url, context) as client:
        answer = client.get(f"/cp/v1/targets/dropped?{urlencode({'search': search or '', 'limit': limit})}")
    rows = [[each["job"], each["address"], each["reason"]] for each in answer["items"]]
    empty = f"relabel_configs drop no endpoint with {search!r}" if search else "relabel_configs drop no endpoint"
    emit(answer["items"], output, lambda: columns(["JOB", "ADDRESS", "DROPPED BY"], rows, empty))
    if (more := answer["total"] - len(rows)) > 0:
        print(f"{more} more; --search TEXT or --limit N shows them", file=sys.stderr)


def version(url: str | None, context: str | None, output: str) -> None:
    """Print the versions of this program and of the control plane."""
    found: dict[str, Any] = {"program": __version__}
    try:
        place = locate(url, context)
    except WrongUsage:
        if url or context:
            raise
        place = None  # no control plane is named: print the program's version alone
    if place is not None:
        with connect(url, context) as client:
            found |= {"url": place.url, "context": place.context, **client.get("/cp/v1/version")}
    emit(found, output, lambda: _print_version(found))


def _print_version(found: dict[str, Any]) -> None:
    say(f"controlplane {found['program']}")
    if "url" not in found:
        say("no control plane is named: there is no --url, no CP_URL and no current context")
        return
    where = f"{found['url']} (context {found['context']})" if found["context"] else found["url"]
    say(f"control plane {found['version']}, fleet {found['fleet']}, at {where}, up for {age(found['started_at'])}")
