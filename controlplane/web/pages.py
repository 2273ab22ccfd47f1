"""The pages that only show something. Each renders an answer of the API on the server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import Request
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.alerts import alerts as read_alerts
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.models import ModelName
from controlplane.api.rollouts.bodies import RolloutId
from controlplane.api.rollouts.listing import findings as read_findings
from controlplane.api.rollouts.listing import rollout as read_rollout
from controlplane.api.rollouts.listing import rollouts as read_rollouts
from controlplane.api.rollouts.quarantine import quarantine as read_quarantine
from controlplane.api.services import Services, ServicesDep
from controlplane.api.targets import dropped_groups
from controlplane.errors import ControlPlaneError
from controlplane.fleet.slos import SloView
from controlplane.fleet.views import AlertView
from controlplane.web.render import Renderer

DROPPED_GROUPS = 50
"""Most reasons of dropped endpoints on the page of targets."""
ALERTS = 500
"""Most alerts of a page that also shows other things."""
ROLLOUTS, ROLLOUTS_OF_MODEL, FINDINGS = 100, 10, 200


class Pages:
    """The endpoints. All of them need the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def overview(self, request: Request, services: ServicesDep) -> Response:
        """Show the whole fleet. The page names the parts that cannot be read, and shows the others."""
        fleet, active = await asyncio.gather(services.fleet.fleet(), _attention(services))
        return self._render.page(request, "overview.html", fleet=fleet, active=active)

    @requires(Role.VIEWER)
    async def model(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, name: ModelName
    ) -> Response:
        """Show one model: its versions, those in quarantine, alerts, charts and past rollouts."""
        model = await services.fleet.model(name)
        past, active, kept, slos = await asyncio.gather(
            read_rollouts(services, name, ROLLOUTS_OF_MODEL),
            _attention(services),
            read_quarantine(services, name),
            _slos(services, name),
        )
        mine = [a for a in active if a.labels.get("model") == name]
        return self._render.page(
            request,
            "model.html",
            model=model,
            past=past.items,
            active=mine,
            slos=slos,
            quarantined=kept.items,
            may_lift=principal.role.includes(Role.ADMIN),
        )

    @requires(Role.VIEWER)
    async def targets(self, request: Request, services: ServicesDep) -> Response:
        """Show the targets and their last scrape. Targets that are not up come first."""
        targets = sorted(services.fleet.targets(), key=lambda t: (t.health == "up", t.job, t.instance))
        dropped = await asyncio.to_thread(dropped_groups, services.dropped_targets())
        return self._render.page(
            request,
            "targets.html",
            targets=targets,
            faults=services.discovery_faults(),
            remarks=services.discovery_remarks(),
            dropped=dropped[:DROPPED_GROUPS],
            dropped_more=len(dropped[DROPPED_GROUPS:]),
        )

    @requires(Role.VIEWER)
    async def rollouts(self, request: Request, services: ServicesDep) -> Response:
        """Show rollouts, newest first."""
        found = await read_rollouts(services, None, ROLLOUTS)
        return self._render.page(request, "rollouts.html", rollouts=found.items)

    @requires(Role.VIEWER)
    async def rollout(self, request: Request, services: ServicesDep, rollout_id: RolloutId) -> Response:
        """Show one rollout: its steps, verdicts and events, and what it waits for."""
        found, past = await asyncio.gather(
            read_rollout(services, rollout_id), read_findings(services, rollout_id, FINDINGS)
        )
        return self._render.page(request, "rollout.html", rollout=found, findings=past.items, most_findings=FINDINGS)


async def _attention(services: Services) -> Sequence[AlertView]:
    """Return the active alerts for people. When they cannot be read, return none: the fleet's warnings say so."""
    try:
        found = await asyncio.to_thread(read_alerts, services, "active", ALERTS)
    except ControlPlaneError:
        return ()
    return [a for a in found.items if _for_people(a)]


def _for_people(alert: AlertView) -> bool:
    """Return whether the alert is for people. Severity none (the Watchdog) is for machines: counts omit it too."""
    return alert.severity != "none"


async def _slos(services: Services, model: str) -> Sequence[SloView] | None:
    """Return a model's SLOs, or None when their numbers cannot be read: the page shows everything else."""
    try:
        return (await services.slos.slos(model)).items
    except ControlPlaneError:
        return None
