"""The verb `gateways`: the gateways and what each applies."""

from __future__ import annotations

from typing import Any

from controlplane.cli.client import connect
from controlplane.cli.render import ago, columns, emit


def gateways(url: str | None, context: str | None, output: str) -> None:
    """List the gateways: state, release, workers, and the generation of each model that they apply."""
    with connect(url, context) as client:
        items = client.get("/cp/v1/gateways")["items"]
    emit(items, output, lambda: _print(items))


def _print(items: list[dict[str, Any]]) -> None:
    rows = [
        [
            i["name"],
            _state(i),
            ago(i["seen_at"]),
            i["listen"] or "-",
            i["version"] or "-",
            str(i["workers"]),
            str(i["open_streams"]),
            ", ".join(map(_applied, i["models"])) or "-",
            i["fault"] or "-",
        ]
        for i in items
    ]
    header = ["NAME", "STATE", "SEEN", "LISTEN", "VERSION", "WORKERS", "STREAMS", "APPLIES", "FAULT"]
    columns(header, rows, "no gateway has reported; start one: controlplane gateway -c fleet.yaml")


def _state(item: dict[str, Any]) -> str:
    if item.get("processes", 1) > 1:
        return f"{item['processes']} processes"
    return str(item["state"]) if item["ready"] or item["state"] != "live" else "not ready"


def _applied(model: dict[str, Any]) -> str:
    """Return the generation that is applied, and the assigned one where it differs: `chat 4 of 5 (v1 90, v2 10)`."""
    behind = model["assigned"] not in (None, model["generation"])
    generation = f"{model['generation']} of {model['assigned']}" if behind else f"{model['generation']}"
    counted = ", ".join(f"{version} {count}" for version, count in sorted(model["requests"].items()))
    return f"{model['model']} {generation}{f' ({counted})' if counted else ''}"
