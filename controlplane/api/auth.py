"""Who may call what: every route declares its role, and a route that does not cannot be registered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute, APIRouter
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from controlplane.access.roles import Principal, Role, require
from controlplane.access.sessions import check_csrf
from controlplane.api.openapi import describe
from controlplane.api.services import Services
from controlplane.errors import Unauthenticated

SESSION_COOKIE = "cp_session"
CSRF_HEADER = "X-CSRF-Token"
MAX_CREDENTIAL_LENGTH = 512
"""No token or session id of ours is longer; longer ones are refused before they reach the database."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_ACCESS: Final = "__controlplane_access__"

F = TypeVar("F", bound=Callable[..., Any])


class Public(Enum):
    """The mark of a route that answers without a token."""

    YES = "public"


Access = Role | Public


def requires(role: Role) -> Callable[[F], F]:
    """Declare the least role that may call the endpoint. Goes below the router's decorator."""
    return _declare(role)


def public(endpoint: F) -> F:
    """Declare that the endpoint answers without a token. Goes below the router's decorator."""
    return _declare(Public.YES)(endpoint)


def access_of(endpoint: Callable[..., Any]) -> Access | None:
    """Return what the endpoint declared."""
    found: Access | None = getattr(endpoint, _ACCESS, None)
    return found


class GuardedRoute(APIRoute):
    """A route that refuses to exist without a declared role, and authorizes before it reads the request's body."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        declared = access_of(endpoint)
        if declared is None:
            raise TypeError(f"route {path} declares no role: put @requires(Role.…) or @public below its decorator")
        self.access: Access = declared
        role = declared.value if isinstance(declared, Role) else None
        super().__init__(path, endpoint, **describe(role, options))

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler of FastAPI in the guard."""
        inner = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            if isinstance(self.access, Role):
                request.state.principal = await authorize(request, self.access)
            return await inner(request)

        return guarded


def include(app: FastAPI, router: APIRouter) -> None:
    """Add a router's routes to the app. Raises TypeError for a route that is not guarded."""
    check(router.routes)
    app.router.routes.extend(router.routes)


def check(routes: list[BaseRoute]) -> None:
    """Raise TypeError unless every route is guarded; static files are the only mount without a token."""
    for route in routes:
        static = isinstance(route, Mount) and isinstance(route.app, StaticFiles)
        if not isinstance(route, GuardedRoute) and not static:
            raise TypeError(f"{route!r} is not guarded: use APIRouter(route_class=GuardedRoute)")


async def authorize(request: Request, role: Role) -> Principal:
    """Return who calls. Raises Unauthenticated and Forbidden."""
    services: Services = request.app.state.services
    header = request.headers.get("authorization")
    cookie = request.cookies.get(SESSION_COOKIE)
    if header is not None:
        now = services.clock.now()
        principal = await asyncio.to_thread(services.tokens.authenticate, _bearer(header), now)
    elif cookie:
        principal = await _by_session(request, services, cookie)
    else:
        raise Unauthenticated("send a token as `Authorization: Bearer cp_…`; `controlplane token create` makes one")
    require(principal, role)
    return principal


async def current_principal(request: Request) -> Principal:
    """Return who the guard let in."""
    principal: Principal = request.state.principal
    return principal


PrincipalDep = Annotated[Principal, Depends(current_principal)]


async def _by_session(request: Request, services: Services, cookie: str) -> Principal:
    if len(cookie) > MAX_CREDENTIAL_LENGTH:
        raise Unauthenticated("the session is not valid; sign in again")
    principal = await asyncio.to_thread(services.sessions.authenticate, cookie, services.clock.now())
    if request.method not in SAFE_METHODS:
        check_csrf(cookie, request.headers.get(CSRF_HEADER, ""))
    return principal


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_CREDENTIAL_LENGTH:
        raise Unauthenticated("the Authorization header must be `Bearer cp_<id>_<secret>`")
    return token


def _declare(access: Access) -> Callable[[F], F]:
    def mark(endpoint: F) -> F:
        setattr(endpoint, _ACCESS, access)
        return endpoint

    return mark
