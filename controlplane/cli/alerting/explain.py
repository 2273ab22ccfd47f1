"""The verb `alerts explain`: where an alert is between its rule and a person, and what changed around its start."""

from __future__ import annotations

from typing import Any

from controlplane.cli.client import connect, quoted
from controlplane.cli.render import clock, columns, emit, say, tell
from controlplane.cli.screens.watch import alert_id
from controlplane.telling import happened


def alerts_explain(alert: str, url: str | None, context: str | None, output: str) -> None:
    """Explain which notifier got an alert, which stage stopped it, and what changed around its start."""
    with connect(url, context) as client:
        found = client.get(f"/cp/v1/alerts/{quoted(alert_id(client, alert))}/explanation")
    emit(found, output, lambda: _print(found))


def _print(found: dict[str, Any]) -> None:
    alert = found["alert"]
    begun = clock(alert["fired_at"] or alert["active_at"])
    ended = alert["resolved_at"]
    say(
        f"{alert['name']}: {alert['state']}, "
        + (f"fired from {begun} to {clock(ended)}" if ended else f"since {begun}")
    )
    tell("labels: ", ", ".join(f"{k}={v}" for k, v in sorted(alert["labels"].items())))
    for leg in found["legs"]:
        print()
        _print_leg(leg)
    print()
    say("Around its start:")
    columns(
        ["AT", "WHAT", "SUBJECT", ""],
        [[clock(item["at"]), item["what"], item["subject"], _story(item)] for item in found["changes"]],
        "no rollout, no change of the configuration, no related alert, no change of a target or a GPU",
    )
    if fault := found.get("metrics_fault"):
        tell("changes of targets and GPUs are not known: ", fault)


def _delivered(delivery: dict[str, Any]) -> str:
    when = clock(delivery["at"])
    if not delivery.get("next_at"):  # an older server does not say
        return f"{delivery['status']} at {when}"
    tried = f"{delivery['attempts']} attempt" + ("s" if delivery["attempts"] != 1 else "")
    return f"{delivery['status']} since {when}, {tried}, the next one at {clock(delivery['next_at'])}"


def _story(item: dict[str, Any]) -> str:
    by = f", by {item['ref']}" if item["kind"] == "audit" else ""
    return happened(item["sentence"]) + by


def _print_leg(leg: dict[str, Any]) -> None:
    way = leg["notifier"] or leg["receiver"]
    by = f" by {leg['route']}" + (f" (line {leg['line']})" if leg["line"] else "") if leg["route"] else ""
    say(f"{way or 'nobody'}{by}: {leg['stage'].upper()}")
    tell("  ", leg["sentence"])
    for mute in leg["mutes"][1:]:
        tell(f"  also {mute['stage']}: ", mute["sentence"])
    if leg["group"]:
        tell("  group: ", leg["group"])
    if delivery := leg["delivery"]:
        error = f": {delivery['error']}" if delivery["error"] else ""
        tell("  last message: ", f"{_delivered(delivery)}{error}")
    if leg["due_at"]:
        tell("  next message: ", f"not before {clock(leg['due_at'])}")
