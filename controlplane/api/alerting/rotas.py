"""Rotas: who is on call now and next, and the metrics that the rules on their calendars read."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter
from prometheus_client.core import GaugeMetricFamily, Metric
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.services import Services, ServicesDep
from controlplane.fleet.rota.desk import RotaView

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])


class RotaList(BaseModel):
    """All rotas, in the order of fleet.yaml."""

    items: tuple[RotaView, ...]


@router.get("/cp/v1/rotas")
@requires(Role.VIEWER)
def rotas(services: ServicesDep) -> RotaList:
    """List the rotas: who is on call now and next, until when, and what is wrong with their calendars."""
    return RotaList(items=services.rotas.all())


def rota_metrics(services: Services) -> Iterable[Metric]:
    """Yield the age of each rota's calendar, how many people are on call, and how long its shifts last."""
    age = GaugeMetricFamily(
        "controlplane_rota_calendar_age_seconds",
        "Seconds since a rota's calendar was last read well; before the first time, since this process waits for it.",
        labels=("rota",),
    )
    on_call = GaugeMetricFamily(
        "controlplane_rota_on_call", "People who are on call now by a rota's calendar.", labels=("rota",)
    )
    left = GaugeMetricFamily(
        "controlplane_rota_shifts_left_seconds",
        "Seconds until the last shift of a rota's calendar ends, which is read five weeks ahead; 0: none is left.",
        labels=("rota",),
    )
    for one in services.rotas.readings():
        age.add_metric((one.name,), one.age_s)
        if one.on_call is not None and one.left_s is not None:
            on_call.add_metric((one.name,), one.on_call)
            left.add_metric((one.name,), one.left_s)
    yield from (age, on_call, left)
