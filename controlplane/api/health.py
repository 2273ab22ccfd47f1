"""Health checks for a supervisor: `/healthz` and `/readyz`, and Prometheus's `/-/healthy` and `/-/ready`.

They need no token. Without a token they give no reasons.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, authorize, public
from controlplane.api.problems import RETRY_AFTER_S
from controlplane.api.services import ServicesDep
from controlplane.errors import ControlPlaneError

UNTOLD = "not ready; send a token to get the reason, or see the log"

router = APIRouter(route_class=GuardedRoute, tags=["health"])


@router.get("/healthz")
@public
async def healthz() -> Response:
    """Answer 200 while the process serves requests."""
    return JSONResponse({"status": "ok"})


@router.get("/-/healthy", response_class=PlainTextResponse)
@public
async def prometheus_healthy() -> Response:
    """Answer as Prometheus does while the process serves requests."""
    return PlainTextResponse("Control plane is Healthy.\n")


@router.get("/-/ready", response_class=PlainTextResponse)
@public
async def prometheus_ready(services: ServicesDep) -> Response:
    """Answer as Prometheus does: 200 when everything is ready, else 503. `/readyz` names the parts."""
    if await asyncio.to_thread(services.not_ready):
        return PlainTextResponse(
            "Service Unavailable", HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(RETRY_AFTER_S)}
        )
    return PlainTextResponse("Control plane is Ready.\n")


@router.get("/readyz")
@public
async def readyz(request: Request, services: ServicesDep) -> Response:
    """Answer 200 when everything is ready, else 503 with the parts that are not.

    The reasons are given only with a token, because they hold addresses and users of databases and servers.
    """
    missing = dict(await asyncio.to_thread(services.not_ready))
    if not missing:
        return JSONResponse({"status": "ready", "not_ready": {}})
    try:
        await authorize(request, Role.VIEWER)
    except ControlPlaneError:
        missing = dict.fromkeys(missing, UNTOLD)
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return JSONResponse({"status": "not ready", "not_ready": missing}, HTTPStatus.SERVICE_UNAVAILABLE, headers)
