"""The page of the gateways: their reports, the routes that they apply, and what they refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from fastapi import Request
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.api.gateway.gateways import gateways as read_gateways
from controlplane.api.gateway.routes import routes as read_routes
from controlplane.api.services import Services, ServicesDep
from controlplane.config.model import Fleet
from controlplane.config.traffic.gateway import GatewayTraffic
from controlplane.errors import ControlPlaneError
from controlplane.fleet.gateways import GatewayView
from controlplane.fleet.operations.routes import RouteList, RouteModelView
from controlplane.gateway.errors import BadDesired
from controlplane.web.csv_answer import csv_answer
from controlplane.web.languages import noted
from controlplane.web.render import Renderer

PATH = "/gateway"
HEADER = (
    *("model", "version", "weight", "requests_per_second", "error_ratio", "latency_p99_seconds"),
    *("backend", "engine", "open_requests", "most_open", "ejected", "vetoed", "draining"),
)
STATES = (
    noted("ejected"),
    noted("full"),
    noted("draining"),
    noted("not ready"),
    noted("live", "gateway"),
    noted("silent"),
    noted("left", "gateway"),
    noted("refuses"),
    noted("shared name"),
    noted("behind"),
)
KINDS = {
    "malformed": noted("not a request that the gateway understands"),
    "unauthenticated": noted("no key, or a wrong, expired or revoked one"),
    "forbidden": noted("the key may not use this model or version"),
    "unknown_model": noted("no model of this name"),
    "unknown_path": noted("no operation at this path"),
    "bad_method": noted("the path has no such method"),
    "too_slow": noted("the client sent its request too slowly"),
    "too_large": noted("the body is larger than the limit"),
    "head_too_large": noted("the header is larger than the limit"),
    "rate_limited": noted("above a limit of requests, tokens or open requests"),
    "budget_spent": noted("the budget of the day or month is spent"),
    "overloaded": noted("the queue is full, or the wait was too long"),
    "no_capacity": noted("no backend of the version could be used"),
    "stopping": noted("the gateway was ending"),
    "upstream_failed": noted("the engine could not be reached, or broke off"),
    "upstream_timeout": noted("the engine sent nothing in time"),
    "broken": noted("a fault of the gateway"),
}
"""Meaning of each kind of refusal."""
OF_CALLERS = frozenset({"rate_limited", "budget_spent", "unauthenticated", "forbidden"})
"""Kinds that a key's limits or rights cause: the page of keys helps."""


class GatewayPage:
    """The endpoint. Viewers may read it."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def page(
        self, request: Request, services: ServicesDep, format: Literal["", "csv"] = "", model: str = ""
    ) -> Response:
        """Show the gateways, and the routes of every model or of `model`."""
        found, attention = await asyncio.gather(
            asyncio.to_thread(read_gateways, services), asyncio.to_thread(services.gateways.attention)
        )
        routes, fault = await _routes(services)
        models = [one for one in routes.models if model in ("", one.model)] if routes else []
        if format == "csv":
            return csv_answer("routes", HEADER, rows_of(models))
        return self._render.page(
            request,
            "operations/gateway.html",
            gateways=[(gateway, state_of(gateway)) for gateway in sorted(found.items, key=_worst_first)],
            attention=attention,
            configured=_is_configured(services.config()),
            routes=routes,
            models=models,
            model=model,
            fault=fault,
            kinds=KINDS,
            of_callers=OF_CALLERS,
        )


def _is_configured(fleet: Fleet) -> bool:
    """Return whether fleet.yaml names a gateway, or a model whose traffic a gateway splits."""
    return fleet.gateway.control_plane is not None or any(
        isinstance(model.traffic, GatewayTraffic) for model in fleet.models
    )


def state_of(gateway: GatewayView) -> str:
    """Return the state of a gateway in one word, one of STATES."""
    if not gateway.live:
        return gateway.state
    if gateway.fault:
        return "refuses"
    if gateway.processes > 1:
        return "shared name"
    late = any(one.assigned is not None and one.generation != one.assigned for one in gateway.models)
    return "behind" if late else "live"


def rows_of(models: Iterable[RouteModelView]) -> Iterator[Sequence[object]]:
    """Return a row for each backend, by HEADER. A version without a backend has one row."""
    for model in models:
        for version in model.versions:
            of_version = (
                *(model.model, version.version, version.weight, version.requests_per_second),
                *(version.error_ratio, version.latency_p99_seconds),
            )
            for one in version.backends:
                places = (one.url, one.engine, one.open_requests, one.most_open, one.ejected, one.vetoed, one.draining)
                yield *of_version, *places
            if not version.backends:
                yield *of_version, *(None,) * 7


async def _routes(services: Services) -> tuple[RouteList | None, str]:
    """Return the routes, or why they are not known: the reports are shown all the same."""
    try:
        return await read_routes(services), ""
    except (ControlPlaneError, BadDesired) as error:
        return None, str(error)


def _worst_first(gateway: GatewayView) -> tuple[int, str]:
    order = ("silent", "refuses", "shared name", "behind", "live", "left")
    return order.index(state_of(gateway)), gateway.name
