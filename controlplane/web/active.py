"""The active alerts of pages that also show other things."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from controlplane.api.alerts import alerts as read_alerts
from controlplane.api.services import Services
from controlplane.errors import ControlPlaneError
from controlplane.fleet.views import AlertView

ALERTS = 500
"""Most alerts of such a page. Chosen: a browser redraws so many at every change without a delay."""


async def active_alerts(services: Services) -> Sequence[AlertView] | None:
    """Return the active alerts for people, firing ones first, ALERTS at most. Severity none is for machines.

    None: they cannot be read. The fleet's warnings say why.
    """
    try:
        found = await asyncio.to_thread(read_alerts, services, "active", ALERTS)
    except ControlPlaneError:
        return None
    return [alert for alert in found.items if alert.severity != "none"]
