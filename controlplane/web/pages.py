"""The pages that only show something. Each renders an answer of the API on the server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import Request
from fastapi.responses import Response

from alerts.dispatch import has_cause
from controlplane.access.roles import Role
from controlplane.api.alerts import Fingerprint, State
from controlplane.api.alerts import alert as read_alert
from controlplane.api.alerts import alerts as read_alerts
from controlplane.api.alerts import explanation as read_explanation
from controlplane.api.auth import requires
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import ControlPlaneError
from controlplane.fleet.alerting.explanations import ExplanationView
from controlplane.fleet.views import AlertView
from controlplane.web.render import Renderer

MOST_ALERTS = 10_000
"""Most alerts among which the alerts page looks for a label: as many as the API lists."""
ALERTS = 500
"""Most rows of the alerts page. Chosen: a browser redraws so many at every change without a delay."""


class Pages:
    """The endpoints. All of them need the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def alerts(self, request: Request, services: ServicesDep, state: State = "all", label: str = "") -> Response:
        """Show alerts, firing ones first. Alerts of severity none are listed below the table.

        `label`: `node=n1` shows the alerts with this value of a label, as storms of alerts are told apart.
        """
        name, _, value = label.partition("=")
        most = MOST_ALERTS if label else ALERTS + 1
        found: Sequence[AlertView] = (await asyncio.to_thread(read_alerts, services, state, most)).items
        if label:
            found = [alert for alert in found if has_cause(tuple(alert.labels.items()), (name, value))]
        shown = found[:ALERTS]
        return self._render.page(
            request,
            "alerts/list.html",
            alerts=[a for a in shown if _for_people(a)],
            heartbeats=[a for a in shown if not _for_people(a)],
            truncated=len(found) > ALERTS,
            selected=state,
            label=label,
        )

    @requires(Role.VIEWER)
    async def alert(self, request: Request, services: ServicesDep, fingerprint: Fingerprint) -> Response:
        """Show one alert, the way to each notifier, what changed around its start, and its history."""
        found, explained = await asyncio.gather(
            asyncio.to_thread(read_alert, services, fingerprint), _explained(services, fingerprint)
        )
        return self._render.page(request, "alerts/alert.html", alert=found, explained=explained)


async def active_alerts(services: Services) -> Sequence[AlertView]:
    """Return the active alerts for people, firing ones first, ALERTS at most.

    When they cannot be read, return none: the fleet's warnings say so.
    """
    try:
        found = await asyncio.to_thread(read_alerts, services, "active", ALERTS)
    except ControlPlaneError:
        return ()
    return [a for a in found.items if _for_people(a)]


async def _explained(services: Services, fingerprint: str) -> ExplanationView | None:
    """Return the explanation of an alert; None when it cannot be read: the alert itself may still be shown."""
    try:
        return await read_explanation(services, fingerprint)
    except ControlPlaneError:
        return None


def _for_people(alert: AlertView) -> bool:
    """Return whether the alert is for people. Severity none (the Watchdog) is for machines: counts omit it too."""
    return alert.severity != "none"
