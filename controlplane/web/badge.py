"""The number of firing alerts that the title of every page shows."""

from __future__ import annotations

import asyncio

from fastapi import Request

from alerts.interfaces import AlertState
from controlplane.api.services import Services
from controlplane.errors import ControlPlaneError

FRESH_S = 1.0
"""Seconds for which a count is used again. Chosen: as long as the fleet's snapshot, so that both say the same."""


class AlertBadge:
    """Counts firing alerts once for all open pages. A dependency of the console's routes."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._at, self._firing = float("-inf"), None  # type: float, int | None

    async def __call__(self, request: Request) -> None:
        """Set `request.state.firing`: the number, or None when the alerts cannot be read or nobody is signed in."""
        request.state.firing = None
        if request.method != "GET" or getattr(request.state, "principal", None) is None:
            return
        services: Services = request.app.state.services
        async with self._lock:
            if not 0 <= services.clock.now() - self._at < FRESH_S:
                self._firing = await _firing(services)
                self._at = services.clock.now()  # after the read: those who waited for a slow one share it
        request.state.firing = self._firing


async def _firing(services: Services) -> int | None:
    try:
        counts = await asyncio.to_thread(services.alerts.counts)
    except ControlPlaneError:
        return None
    return counts.get(AlertState.FIRING, 0)
