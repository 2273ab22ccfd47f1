"""Verbs about alerts and notifications."""

from __future__ import annotations

import re
from typing import Any

from controlplane.cli.client import ApiClient, announce, connect, quoted
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import age, clock, columns, emit, number, say, tell
from controlplane.cli.verbs.grammar import hint
from controlplane.telling import happened

_MATCHER = re.compile(r"([^=!~\s]+)(=~|!~|!=|=)(.*)", re.DOTALL)
SHORT = 8
"""Fewest characters of an alert's id in `alerts list`. `alerts show` accepts such a short id."""


def alerts_list(matchers: list[str], state: str, limit: int, url: str | None, context: str | None, output: str) -> None:
    """List alerts, firing ones first: those whose labels match all matchers."""
    label = ",".join(map(_quoted, matchers)) or None
    with connect(url, context) as client:
        items = client.get("/cp/v1/alerts", state=state, limit=limit, label=label)["items"]
    items.sort(key=lambda a: a["severity"] == "none")  # severity none is for machines: last
    shown = short([a["fingerprint"] for a in items])
    rows = [
        [
            shown[a["fingerprint"]],
            a["name"],
            a["state"] + (", unknown" if a["unknown_since"] else "") + _kept_back(a),
            a["severity"] or "-",
            age(a["resolved_at"] or a["fired_at"] or a["active_at"]),
            number(a["value"]),
            _told(a, "summary") + (" (simulated)" if a["simulated"] else ""),
        ]
        for a in items
    ]
    header = ["ID", "ALERT", "STATE", "SEVERITY", "FOR", "VALUE", ""]
    calm = [n for n, a in enumerate(items) if a["severity"] == "none" or a["state"] == "resolved"]
    none = f"no {'' if state == 'all' else f'{state} '}alert has labels that match {','.join(matchers)}"
    empty = none if matchers else "no alerts: every rule that has data is inactive"
    emit(items, output, lambda: columns(header, rows, empty, calm=calm))


def _quoted(matcher: str) -> str:
    """Return a matcher with its value in quotes, so that commas and braces in it are its own."""
    found = _MATCHER.fullmatch(matcher)
    if not found or found[3].startswith('"'):
        return matcher
    escaped = found[3].replace("\\", "\\\\").replace('"', '\\"')
    return f'{found[1]}{found[2]}"{escaped}"'


def short(identifiers: list[str]) -> dict[str, str]:
    """Return a short form of each identifier: unique prefixes of one length, `SHORT` characters or more."""
    length = next(n for n in range(SHORT, 65) if len({i[:n] for i in identifiers}) == len(set(identifiers)))
    return {i: i[:length] for i in identifiers}


def alerts_show(alert: str, url: str | None, context: str | None, output: str) -> None:
    """Show one alert: its value, labels, runbook and history."""
    with connect(url, context) as client:
        found = client.get(f"/cp/v1/alerts/{quoted(alert_id(client, alert))}")
    emit(found, output, lambda: _print_alert(found))


def alert_id(client: ApiClient, alert: str) -> str:
    """Return the id of the one active alert with this name or start of an id. Raises WrongUsage for none or several."""
    is_id = all(c in "0123456789abcdef" for c in alert)
    if len(alert) == 16 and is_id:
        return alert
    items = client.get("/cp/v1/alerts", state="all")["items"]
    begun = [a for a in items if is_id and len(alert) >= 4 and a["fingerprint"].startswith(alert)]
    if len(begun) == 1:
        return str(begun[0]["fingerprint"])
    named = begun or [a for a in items if a["name"] == alert]
    active = begun or [a for a in named if a["state"] != "resolved"] or named[:1]
    if len(active) > 1:
        which = tuple(f"{a['fingerprint']}  {a['annotations'].get('summary', '')}" for a in active)
        alike = f"have an id that begins with {alert}" if begun else f"are called {alert}"
        raise WrongUsage(f"{len(active)} alerts {alike}; name one by its id", which)
    if not active:
        known = sorted({a["name"] for a in items})
        raise WrongUsage(f"no alert is called {alert}{hint(alert, known)}", ("`controlplane alerts list` names them",))
    return str(active[0]["fingerprint"])


def _print_alert(alert: dict[str, Any]) -> None:
    say(f"{alert['name']}: {alert['state']}" + (" (simulated)" if alert["simulated"] else ""))
    for key in ("summary", "description"):
        if text := _told(alert, key):
            tell("", text)
    if alert["unknown_since"]:
        away = ", ".join(alert["away"])
        why = f"no data from {away}; the alert keeps its state until there is data"
        tell(f"unknown since {clock(alert['unknown_since'])}: ", why)
    for line in _kept_lines(alert):
        tell("", line)
    tell("labels: ", ", ".join(f"{k}={v}" for k, v in sorted(alert["labels"].items())))
    say(f"value: {number(alert['value'])}   runbook: {alert['runbook'] or '-'}")
    print()
    rows = [[clock(h["at"]), _change(h), happened(h["sentence"])] for h in alert["history"]]
    columns(["AT", "CHANGE", ""], rows, "no history yet")


_WORDS = {
    "silence": "silenced",
    "inhibition": "inhibited",
    "acknowledgement": "acknowledged",
    "time interval": "not at this time",
}


def _kept_back(alert: dict[str, Any]) -> str:
    """Return in a word or two whether an alert flaps, and why it is not in notifications."""
    taken, reasons = alert.get("acknowledged"), alert.get("held_back", ())
    words = ["flapping"] if alert.get("flapping") else []
    words += [_WORDS.get(one["stage"], one["stage"]) for one in reasons]
    if taken is not None and taken["until"] is not None:
        words = ["snoozed" if word == "acknowledged" else word for word in words]
    return "".join(f", {word}" for word in dict.fromkeys(words))


def _kept_lines(alert: dict[str, Any]) -> list[str]:
    """Return a line that says how an alert flaps, and one for each reason that holds it back."""
    lines = [alert["flapping"]] if alert.get("flapping") else []
    lines += [one["sentence"] for one in alert.get("held_back", ()) if one["stage"] != "acknowledgement"]
    if taken := alert.get("acknowledged"):
        kind, until = ("acknowledged", "") if taken["until"] is None else ("snoozed", f" until {clock(taken['until'])}")
        comment = f": {taken['comment']}" if taken["comment"] else ""
        lines.append(f"{kind} by {taken['by']} since {clock(taken['at'])}{until}{comment}")
    return lines


def _told(alert: dict[str, Any], annotation: str) -> str:
    """Return an annotation of an alert; of a resolved alert with `was: ` before it."""
    text: str = alert["annotations"].get(annotation, "")
    return f"was: {text}" if text and alert["state"] == "resolved" else text


def _change(event: dict[str, Any]) -> str:
    before, after = event["before"], event["after"]
    return str(after) if before == after else f"{before} -> {after}"


def notifiers_test(name: str, url: str | None, context: str | None) -> None:
    """Send a test message and print the receiver's answer."""
    with connect(url, context) as client:
        announce(client)
        say(client.post(f"/cp/v1/notifiers/{quoted(name)}/test")["result"])
