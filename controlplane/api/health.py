"""`/healthz` and `/readyz`: what a supervisor asks. They need no token and tell no secrets."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from controlplane.api.auth import GuardedRoute, public
from controlplane.api.services import ServicesDep

router = APIRouter(route_class=GuardedRoute, tags=["health"])


@router.get("/healthz")
@public
async def healthz() -> Response:
    """Answer 200 while the process serves requests at all."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
@public
def readyz(services: ServicesDep) -> Response:
    """Answer 200 when everything is ready, else 503 with what is not and why."""
    missing = dict(services.not_ready())
    if missing:
        return JSONResponse({"status": "not ready", "not_ready": missing}, 503, {"Retry-After": "5"})
    return JSONResponse({"status": "ready", "not_ready": {}})
