"""The verbs `alerts ack`, `alerts snooze` and `alerts unack`."""

from __future__ import annotations

from typing import Any

from controlplane.cli.client import announce, connect, quoted
from controlplane.cli.render import clock, emit, say_all
from controlplane.cli.screens.watch import alert_id


def alerts_ack(alerts: list[str], comment: str | None, url: str | None, context: str | None, output: str) -> None:
    """Note that you take care of firing alerts. They are not notified again until they have resolved."""
    _act(alerts, "acknowledge", {"comment": comment or ""}, url, context, output)


def alerts_snooze(
    alerts: list[str], for_: str, comment: str | None, url: str | None, context: str | None, output: str
) -> None:
    """Hold firing alerts back for a time. They are notified again after that."""
    _act(alerts, "snooze", {"for": for_, "comment": comment or ""}, url, context, output)


def alerts_unack(alerts: list[str], comment: str | None, url: str | None, context: str | None, output: str) -> None:
    """Take acknowledgements and snoozes back."""
    _act(alerts, "unacknowledge", {"comment": comment or ""}, url, context, output)


def _act(
    alerts: list[str], action: str, body: dict[str, Any], url: str | None, context: str | None, output: str
) -> None:
    with connect(url, context) as client:
        announce(client)
        named = [alert_id(client, alert) for alert in alerts]  # all of them, before one is changed
        views = [client.post(f"/cp/v1/alerts/{quoted(one)}/{action}", body) for one in named]
    emit(views, output, lambda: say_all(f"{view['name']} {view['fingerprint']}: {_standing(view)}" for view in views))


def _standing(view: dict[str, Any]) -> str:
    one = view["acknowledged"]
    if one is None:
        return f"{view['state']}, and nobody takes care of it"
    until = "until it resolves" if one["until"] is None else f"until {clock(one['until'])}"
    return f"{'acknowledged' if one['until'] is None else 'snoozed'} by {one['by']} {until}"
