"""Verbs about alerts and notifications."""

from __future__ import annotations

from typing import Any

from controlplane.cli.client import Client, announce, connect, quoted
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import age, clock, columns, emit, number, say
from controlplane.cli.verbs.grammar import hint


def alerts_list(state: str, limit: int, url: str | None, context: str | None, output: str) -> None:
    """List alerts, firing ones first."""
    with connect(url, context) as client:
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


def alerts_show(alert: str, url: str | None, context: str | None, output: str) -> None:
    """Show one alert: its value, labels, runbook and history."""
    with connect(url, context) as client:
        found = client.get(f"/cp/v1/alerts/{quoted(_fingerprint(client, alert))}")
    emit(found, output, lambda: _print_alert(found))


def _fingerprint(client: Client, alert: str) -> str:
    """Return the id of the one active alert of that name, or what was given. Raises WrongUsage for several."""
    if len(alert) == 16 and all(c in "0123456789abcdef" for c in alert):
        return alert
    items = client.get("/cp/v1/alerts", state="all")["items"]
    named = [a for a in items if a["name"] == alert]
    active = [a for a in named if a["state"] != "resolved"] or named[:1]
    if len(active) > 1:
        which = tuple(f"{a['fingerprint']}  {a['annotations'].get('summary', '')}" for a in active)
        raise WrongUsage(f"{len(active)} alerts are called {alert}; name one by its id", which)
    if not active:
        known = sorted({a["name"] for a in items})
        raise WrongUsage(f"no alert is called {alert}{hint(alert, known)}", ("`controlplane alerts list` names them",))
    return str(active[0]["fingerprint"])


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
    rows = [[clock(h["at"]), _change(h), h["sentence"]] for h in alert["history"]]
    columns(["AT", "CHANGE", ""], rows, "no history yet")


def _told(alert: dict[str, Any], annotation: str) -> str:
    """Return what an alert says; of one that is over, that this was so."""
    text: str = alert["annotations"].get(annotation, "")
    return f"was: {text}" if text and alert["state"] == "resolved" else text


def _change(event: dict[str, Any]) -> str:
    before, after = event["before"], event["after"]
    return str(after) if before == after else f"{before} -> {after}"


def notifiers_test(name: str, url: str | None, context: str | None) -> None:
    """Send a test message and say what came back."""
    with connect(url, context) as client:
        announce(client)
        say(client.post(f"/cp/v1/notifiers/{quoted(name)}/test")["result"])
