"""Pages that look. Each is the server's rendering of what the API would answer."""

from __future__ import annotations

import asyncio

from fastapi import Request
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.alerts import Fingerprint, State
from controlplane.api.alerts import alert as read_alert
from controlplane.api.alerts import alerts as read_alerts
from controlplane.api.auth import requires
from controlplane.api.models import ModelName
from controlplane.api.notifications import notifications as read_notifications
from controlplane.api.rollouts import RolloutId
from controlplane.api.rollouts import rollout as read_rollout
from controlplane.api.rollouts import rollouts as read_rollouts
from controlplane.api.services import ServicesDep
from controlplane.web.render import Renderer


class Pages:
    """The endpoints, all for viewers."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def overview(self, request: Request, services: ServicesDep) -> Response:
        """Show the whole fleet."""
        fleet = await services.fleet.fleet()
        firing = await asyncio.to_thread(read_alerts, services, "firing", 20)
        return self._render.page(request, "overview.html", fleet=fleet, firing=firing.items)

    @requires(Role.VIEWER)
    async def model(self, request: Request, services: ServicesDep, name: ModelName) -> Response:
        """Show one model: its versions, charts and past rollouts."""
        model, past = await asyncio.gather(services.fleet.model(name), read_rollouts(services, name, 10))
        return self._render.page(request, "model.html", model=model, past=past.items)

    @requires(Role.VIEWER)
    async def targets(self, request: Request, services: ServicesDep) -> Response:
        """Show what is scraped, and how well."""
        return self._render.page(request, "targets.html", targets=services.fleet.targets())

    @requires(Role.VIEWER)
    async def alerts(self, request: Request, services: ServicesDep, state: State = "all") -> Response:
        """Show alerts, firing ones first."""
        found = await asyncio.to_thread(read_alerts, services, state, 500)
        return self._render.page(request, "alerts.html", alerts=found.items, selected=state)

    @requires(Role.VIEWER)
    async def alert(self, request: Request, services: ServicesDep, fingerprint: Fingerprint) -> Response:
        """Show one alert and its history."""
        found = await asyncio.to_thread(read_alert, services, fingerprint)
        return self._render.page(request, "alert.html", alert=found)

    @requires(Role.VIEWER)
    async def rollouts(self, request: Request, services: ServicesDep) -> Response:
        """Show rollouts, newest first."""
        found = await read_rollouts(services, None, 100)
        return self._render.page(request, "rollouts.html", rollouts=found.items)

    @requires(Role.VIEWER)
    async def rollout(self, request: Request, services: ServicesDep, rollout_id: RolloutId) -> Response:
        """Show one rollout and everything that it did."""
        found = await read_rollout(services, rollout_id)
        return self._render.page(request, "rollout.html", rollout=found)

    @requires(Role.VIEWER)
    async def notifications(self, request: Request, services: ServicesDep) -> Response:
        """Show what was sent to whom, and what could not be."""
        found = await asyncio.to_thread(read_notifications, services, 200)
        return self._render.page(request, "notifications.html", notifications=found.items)
