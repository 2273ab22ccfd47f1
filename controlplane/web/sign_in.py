"""Signing in: a token is shown once, and a cookie that only this server can read stands for it from then on."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from controlplane.access.roles import Role
from controlplane.access.sessions import SESSION_S
from controlplane.access.throttle import SignInThrottle, Throttled
from controlplane.api.auth import MAX_CREDENTIAL_LENGTH, SESSION_COOKIE, public, requires
from controlplane.api.problems import problem_of
from controlplane.api.services import ServicesDep
from controlplane.config.model import Fleet
from controlplane.errors import Forbidden, Unauthenticated
from controlplane.web.render import Renderer

SIGN_IN = "/sign-in"
MAX_TARGET_LENGTH = 2048
"""No page of ours has a longer address."""
Next = Annotated[str, Query(max_length=MAX_TARGET_LENGTH)]
"""Where to go on to."""


class SignIn:
    """The endpoints around the session cookie."""

    def __init__(self, render: Renderer) -> None:
        self._render = render
        self._throttle = SignInThrottle()

    @public
    async def page(self, request: Request, next: Next = "/") -> Response:
        """Ask for a token."""
        return self._render.page(request, "sign_in.html", next=_local(next), error="")

    @public
    async def sign_in(
        self,
        request: Request,
        services: ServicesDep,
        token: Annotated[str, Form(max_length=MAX_CREDENTIAL_LENGTH)],
        next: Annotated[str, Form(max_length=MAX_TARGET_LENGTH)] = "/",
    ) -> Response:
        """Open a session for a token; too many wrong ones from one address have to wait.

        Raises Forbidden when another site's page sent the form: it would sign a person in as somebody else.
        """
        if request.headers.get("sec-fetch-site") == "cross-site":
            raise Forbidden("another site sent this form: open the sign-in page here and try again")
        now = services.clock.now()
        client = request.client.host if request.client else "unknown"
        try:
            self._throttle.check(client, now)
            principal = await asyncio.to_thread(services.tokens.authenticate, token.strip(), now)
        except Unauthenticated as error:
            if not isinstance(error, Throttled):
                self._throttle.failed(client, now)
            status = problem_of(error).status
            return self._render.page(request, "sign_in.html", status, next=_local(next), error=str(error))
        self._throttle.succeeded(client)
        cookie = await asyncio.to_thread(services.sessions.open, principal, now)
        answer = RedirectResponse(_local(next), 303)
        answer.set_cookie(
            SESSION_COOKIE,
            cookie,
            max_age=int(SESSION_S),
            httponly=True,
            # Not strict: a link in a message must find the session. Nothing is changed by GET, and POST needs a token.
            samesite="lax",
            secure=is_https(request, services.config()),
        )
        return answer

    @requires(Role.VIEWER)
    async def sign_out(self, request: Request, services: ServicesDep) -> Response:
        """Close the session."""
        await asyncio.to_thread(services.sessions.close, request.cookies.get(SESSION_COOKIE, ""))
        answer = Response(status_code=204, headers={"HX-Redirect": SIGN_IN})
        answer.delete_cookie(SESSION_COOKIE)
        return answer


def is_https(request: Request, fleet: Fleet) -> bool:
    """Behind a proxy that ends TLS, only fleet.yaml's `external_url` knows that browsers come by https."""
    return request.url.scheme == "https" or (fleet.fleet.external_url or "").startswith("https://")


def _local(target: str) -> str:
    """Return a path of ours: anything that could lead to another site becomes the first page."""
    good = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if good and not target.startswith(SIGN_IN) else "/"
