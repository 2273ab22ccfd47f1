"""The page of one model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import Request
from fastapi.responses import Response

from alerts.packs import threshold_values
from controlplane.access.roles import Role
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.models import ModelName
from controlplane.api.rollouts.listing import rollout as read_rollout
from controlplane.api.rollouts.listing import rollouts as read_rollouts
from controlplane.api.rollouts.quarantine import quarantine as read_quarantine
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import ControlPlaneError
from controlplane.fleet.rollout_views import RolloutView
from controlplane.fleet.views import AlertView, ModelView
from controlplane.web.active import active_alerts
from controlplane.web.models.charts import Scope, of_model
from controlplane.web.models.comparison import compared
from controlplane.web.render import Renderer
from controlplane.web.slos import known_slos

ROLLOUTS = 10
CALM = ("ready", "idle")
"""States of a backend that come last."""


class ModelPage:
    """The endpoint. It needs the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def page(self, request: Request, services: ServicesDep, principal: PrincipalDep, name: ModelName) -> Response:
        """Show one model: charts, its versions side by side, those in quarantine, alerts, backends and rollouts."""
        model = await services.fleet.model(name)
        past, active, kept, slos, rows, running = await asyncio.gather(
            read_rollouts(services, name, ROLLOUTS),
            _alerts(services, name),
            read_quarantine(services, name),
            known_slos(services, name),
            compared(services, model),
            _running(services, model),
        )
        config = services.config()
        return self._render.page(
            request,
            "models/model.html",
            model=model,
            versions=tuple(v.version for v in model.versions),
            rows=rows,
            scrape=config.scrape.interval,
            charts=of_model(
                Scope(name, limits=threshold_values(config.thresholds)),
                model.driver,
                streams=any(row.cells["ttft"].value is not None for row in rows) or model.driver != "triton",
            ),
            backends=backends(model),
            past=past.items,
            running=running,
            active=active,
            slos=slos,
            quarantined=kept.items,
            may_lift=principal.role.includes(Role.ADMIN),
        )


def backends(model: ModelView) -> Sequence[tuple[str, bool, str, str, str]]:
    """Return (version, simulated, url, state, reason) of each backend; those that are not ready come first."""
    every = [(v.version, v.simulated, b.url, b.state, b.reason) for v in model.versions for b in v.backends]
    return sorted(every, key=lambda backend: backend[3] in CALM)


async def _alerts(services: Services, model: str) -> Sequence[AlertView]:
    """Return the model's active alerts for people. When they cannot be read, return none: the fleet page says so."""
    return [alert for alert in await active_alerts(services) or () if alert.labels.get("model") == model]


async def _running(services: Services, model: ModelView) -> RolloutView | None:
    """Return the rollout that runs, with its progress; as in lists when that cannot be read."""
    if model.rollout is None:
        return None
    try:
        return await read_rollout(services, model.rollout.id)
    except ControlPlaneError:
        return model.rollout
