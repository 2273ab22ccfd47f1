"""The HTTP application: routes, guards and middleware for the given services."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.middleware import Middleware

from controlplane.access.roles import Role
from controlplane.api import (
    alerts,
    events,
    health,
    metrics,
    models,
    notifications,
    operations,
    problems,
    prometheus,
    remote_write,
    slack,
    targets,
    tokens,
)
from controlplane.api.alerting import heartbeats, rotas, rules
from controlplane.api.alerting import route as alert_route
from controlplane.api.auth import GuardedRoute, include, requires
from controlplane.api.backups import routes as backups
from controlplane.api.bodies import BodyBudget
from controlplane.api.compression import Compression
from controlplane.api.forwarding import Forwarding
from controlplane.api.gateway import gateways, keys, usage
from controlplane.api.gateway import routes as gateway_routes
from controlplane.api.holding import routes as holding
from controlplane.api.interop import alertmanager, alertmanager_alerts, exports, server, silences, status
from controlplane.api.interop import targets as endpoints
from controlplane.api.itself import sessions, system
from controlplane.api.middleware import Counting, HeadAsGet, HostGuard, OneLength, QueryLimit, SecurityHeaders
from controlplane.api.openapi import complete
from controlplane.api.rollouts import listing, quarantine, steering, versions
from controlplane.api.services import Services

router = APIRouter(route_class=GuardedRoute, tags=["operations"])

LOCAL_NAMES = frozenset({"localhost"})


_PARTS = (
    health,
    metrics,
    models,
    targets,
    listing,
    steering,
    quarantine,
    versions,
    gateways,
    gateway_routes,
    keys,
    usage,
    sessions,
    system,
    alert_route,
    alerts,
    holding,
    notifications,
    heartbeats,
    rotas,
    rules,
    events,
    operations,
    backups,
    tokens,
    prometheus,
    status,
    alertmanager,
    alertmanager_alerts,
    silences,
    endpoints,
    remote_write,
    slack,
    exports,
    server,
)
"""Modules with routes."""


def create_api(services: Services) -> FastAPI:
    """Return the app. Its `state.events` is the EventHub: close it before the server stops."""
    own = metrics.OwnMetrics(services)
    app = FastAPI(
        title="Control plane for LLM fleets",
        version=services.version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[
            Middleware(Forwarding, trusted=lambda: services.config().trusted_proxies),
            Middleware(HeadAsGet),
            Middleware(Counting, metrics=own),
            Middleware(Compression, in_thread=services.pools.parsing.run),
            Middleware(SecurityHeaders),
            Middleware(HostGuard, allowed=lambda: LOCAL_NAMES | services.allowed_hosts()),
            Middleware(OneLength),
            Middleware(QueryLimit),
        ],
    )
    app.router.redirect_slashes = False
    app.state.services = services
    app.state.metrics = own
    app.state.bodies = BodyBudget()
    app.state.slack_bodies = slack.budget()
    app.state.writers = remote_write.Writers()
    app.state.events = events.EventHub(services.revisions, services.gatekeeper, services.clock)
    problems.install(app)
    for part in _PARTS:
        include(app, part.router)
    include(app, router)
    return app


def mount_web(
    app: FastAPI, console: APIRouter, sign_in_path: str, problem_page: problems.ProblemPage | None = None
) -> None:
    """Add the console's routes. They are guarded like those of the API.

    A browser without a session is redirected to `sign_in_path`. `problem_page` renders a problem for a browser.
    """
    include(app, console)
    app.state.sign_in_path = sign_in_path
    app.state.problem_page = problem_page


@router.get("/openapi.json", include_in_schema=False)
@requires(Role.VIEWER)
def document(request: Request) -> Response:
    """Return the OpenAPI document of this API."""
    app: FastAPI = request.app
    return JSONResponse(complete(app.openapi()))
