"""Verbs about alerts and notifications."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from controlplane.cli.client import connect
from controlplane.cli.options import As, Limit, Url
from controlplane.cli.render import Output, age, columns, emit, number, say

alerts = typer.Typer(help="See what is wrong.", no_args_is_help=True)
notifiers = typer.Typer(help="Check where notifications go.", no_args_is_help=True)


@alerts.command("list")
def alerts_list(
    state: Annotated[str, typer.Option("--state", help="active, pending, firing, resolved or all.")] = "active",
    limit: Limit = 100,
    url: Url = None,
    output: As = Output.TABLE,
) -> None:
    """List alerts, firing ones first."""
    with connect(url) as client:
        items = client.get("/cp/v1/alerts", state=state, limit=limit)["items"]
    rows = [
        [
            a["fingerprint"],
            a["name"],
            a["state"] + (", unknown" if a["unknown_since"] else ""),
            a["severity"] or "-",
            age(a["resolved_at"] or a["fired_at"] or a["active_at"]),
            number(a["value"]),
            _told(a, "summary") + (" (simulated)" if a["simulated"] else ""),
        ]
        for a in items
    ]
    header = ["ID", "ALERT", "STATE", "SEVERITY", "FOR", "VALUE", ""]
    emit(items, output, lambda: columns(header, rows, "no alerts: every rule that has data is content"))


@alerts.command("show")
def alerts_show(
    fingerprint: Annotated[str, typer.Argument(metavar="ID", help="The id that `alerts list` prints.")],
    url: Url = None,
    output: As = Output.TABLE,
) -> None:
    """Show one alert: its value, labels, runbook and history."""
    with connect(url) as client:
        alert = client.get(f"/cp/v1/alerts/{quote(fingerprint, safe='')}")
    emit(alert, output, lambda: _print_alert(alert))


def _print_alert(alert: dict[str, Any]) -> None:
    say(f"{alert['name']}: {alert['state']}" + (" (simulated)" if alert["simulated"] else ""))
    for key in ("summary", "description"):
        if text := _told(alert, key):
            say(text)
    if alert["unknown_since"]:
        away = ", ".join(alert["away"])
        say(
            f"unknown since {alert['unknown_since']}: no data from {away}; it keeps its state until data says otherwise"
        )
    say("labels: " + ", ".join(f"{k}={v}" for k, v in sorted(alert["labels"].items())))
    say(f"value: {number(alert['value'])}   runbook: {alert['runbook'] or '-'}")
    print()
    rows = [[h["at"], _change(h), h["sentence"]] for h in alert["history"]]
    columns(["AT", "CHANGE", ""], rows, "no history yet")


def _told(alert: dict[str, Any], annotation: str) -> str:
    """Return what an alert says; of one that is over, that this was so."""
    text: str = alert["annotations"].get(annotation, "")
    return f"was: {text}" if text and alert["state"] == "resolved" else text


def _change(event: dict[str, Any]) -> str:
    before, after = event["before"], event["after"]
    return str(after) if before == after else f"{before} -> {after}"


@notifiers.command("test")
def notifiers_test(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The notifier's name in fleet.yaml.")], url: Url = None
) -> None:
    """Send a test message and say what came back."""
    with connect(url) as client:
        say(client.post(f"/cp/v1/notifiers/{quote(name, safe='')}/test")["result"])
