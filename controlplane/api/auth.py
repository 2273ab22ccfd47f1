"""Authorization of routes: every route declares the role that it needs. A route without one cannot be registered."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute, APIRouter
from starlette.routing import BaseRoute, Match, Mount
from starlette.staticfiles import StaticFiles

from controlplane.access.gatekeeper import Attempt
from controlplane.access.roles import Principal, Role, require
from controlplane.access.sessions import check_csrf
from controlplane.api.bodies import MAX_BODY_BYTES, BodyBudget, Unanswered, read_body, replay
from controlplane.api.openapi import describe
from controlplane.api.services import Services
from controlplane.errors import Unauthenticated

SESSION_COOKIE = "cp_session"
CSRF_HEADER = "X-CSRF-Token"
FORM_BYTES = 4 * 2**10
"""Largest body that is read from a client without credentials: the sign-in form, a token and an address. Chosen."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_ACCESS: Final = "__controlplane_access__"
_BODY: Final = "__controlplane_body__"

F = TypeVar("F", bound=Callable[..., Any])


class Public(Enum):
    """The mark of a route that answers without a token."""

    YES = "public"


Access = Role | Public


def requires(role: Role) -> Callable[[F], F]:
    """Declare the lowest role that may call the endpoint. Put it below the router's decorator."""
    return _declare(role)


def public(endpoint: F) -> F:
    """Declare that the endpoint answers without a token. Put it below the router's decorator."""
    return _declare(Public.YES)(endpoint)


def takes_body(limit: int) -> Callable[[F], F]:
    """Declare the endpoint's largest body in bytes. 0: the guard reads no body; the endpoint may read it itself.

    Without this declaration a route that needs a token accepts MAX_BODY_BYTES, and a public route accepts no body.
    """

    def mark(endpoint: F) -> F:
        setattr(endpoint, _BODY, limit)
        return endpoint

    return mark


def access_of(endpoint: Callable[..., Any]) -> Access | None:
    """Return the access that the endpoint declared; None: it declared none."""
    found: Access | None = getattr(endpoint, _ACCESS, None)
    return found


class GuardedRoute(APIRoute):
    """A route with a declared role. Without one, its construction raises TypeError.

    The headers identify the sender. The body is read after that, within limits. The body of an unknown sender is read
    only on a public route that declares a form of at most FORM_BYTES.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        declared = access_of(endpoint)
        if declared is None:
            raise TypeError(f"route {path} declares no role: put @requires(Role.…) or @public below its decorator")
        self.access: Access = declared
        role = declared.value if isinstance(declared, Role) else None
        self._largest: int = getattr(endpoint, _BODY, MAX_BODY_BYTES if role else 0)
        if role is None and self._largest > FORM_BYTES:
            raise TypeError(f"route {path} is public and accepts a body of more than {FORM_BYTES} bytes")
        super().__init__(path, endpoint, **describe(path, role, options))

    def answering(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers once the sender may ask: FastAPI's handler."""
        return super().get_route_handler()

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return `answering` with the guard before it."""
        inner = self.answering()

        async def guarded(request: Request) -> Response:
            sender = client_of(request)
            if isinstance(self.access, Role):
                request.state.principal = await authorize(request, self.access)
                sender = request.state.principal.token_id
            if not self._largest or request.method in SAFE_METHODS:
                return await inner(request)
            budget: BodyBudget = request.app.state.bodies
            with budget.of(sender) as hold:
                body = await read_body(request.scope, request.receive, self._largest, hold)
                if body is None:
                    return Unanswered()
                return await inner(Request(request.scope, replay(body, request.receive)))

        return guarded


def include(app: FastAPI, router: APIRouter) -> None:
    """Add a router's routes to the app. Raises TypeError for a route that is not guarded."""
    check(router.routes)
    app.router.routes.extend(router.routes)


def check(routes: list[BaseRoute]) -> None:
    """Raise TypeError unless every route is guarded. A mount of static files is the only exception."""
    for route in routes:
        static = isinstance(route, Mount) and isinstance(route.app, StaticFiles)
        if not isinstance(route, GuardedRoute) and not static:
            raise TypeError(f"{route!r} is not guarded: use APIRouter(route_class=GuardedRoute)")


async def authorize(request: Request, role: Role) -> Principal:
    """Return the caller of a request. Raises Unauthenticated, Throttled, Forbidden and Unavailable."""
    services: Services = request.app.state.services
    header = request.headers.get("authorization")
    cookie = request.cookies.get(SESSION_COOKIE)
    now = services.clock.now()
    if header is not None:
        attempt = Attempt(client_of(request), "the API")
        principal = await services.gatekeeper.by_token(_bearer(header), attempt, now)
    elif cookie:
        principal = await services.gatekeeper.by_session(cookie, now)
        if request.method not in SAFE_METHODS:
            check_csrf(cookie, request.headers.get(CSRF_HEADER, ""))
    else:
        raise Unauthenticated("send a token as `Authorization: Bearer cp_…`; `controlplane token create` makes one")
    require(principal, role)
    return principal


def methods_of(request: Request) -> tuple[frozenset[str], bool]:
    """Return the methods of the routes with the request's path, and whether one of those routes is public."""
    app: FastAPI = request.app
    if request.scope.get("root_path"):  # below a mount, which holds static files
        return frozenset({"GET", "HEAD"}), True
    matching = [route for route in app.router.routes if route.matches(request.scope)[0] != Match.NONE]
    methods: set[str] = set()
    for route in matching:
        methods |= getattr(route, "methods", None) or set()
    if "GET" in methods:
        methods.add("HEAD")
    return frozenset(methods), any(getattr(route, "access", Public.YES) is Public.YES for route in matching)


def client_of(request: Request) -> str:
    """Return the client's address; behind trusted proxies the address that they report."""
    return request.client.host if request.client else "unknown"


async def current_principal(request: Request) -> Principal:
    """Return the caller that the guard has authorized."""
    principal: Principal = request.state.principal
    return principal


PrincipalDep = Annotated[Principal, Depends(current_principal)]


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("the Authorization header must be `Bearer cp_<id>_<secret>`")
    return token


def _declare(access: Access) -> Callable[[F], F]:
    def mark(endpoint: F) -> F:
        setattr(endpoint, _ACCESS, access)
        return endpoint

    return mark
