"""Sign-in: the user enters a token once. Then a session cookie, which scripts cannot read, replaces the token."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from controlplane.access.gatekeeper import MAX_CREDENTIAL_LENGTH, Attempt
from controlplane.access.roles import Role
from controlplane.access.sessions import SESSION_S
from controlplane.api.auth import FORM_BYTES, SESSION_COOKIE, client_of, public, requires, takes_body
from controlplane.api.problems import headers_of, problem_of
from controlplane.api.services import ServicesDep
from controlplane.config.model import Fleet
from controlplane.errors import Forbidden, Unauthenticated
from controlplane.web.dialog import led_to
from controlplane.web.render import Renderer

SIGN_IN = "/sign-in"
MAX_TARGET_LENGTH = 2048
"""Longest address of a page to return to, in characters. Chosen: the console's own addresses are shorter."""
Next = Annotated[str, Query(max_length=MAX_TARGET_LENGTH)]
"""Address of the page to open after the sign-in."""


class SignIn:
    """The endpoints around the session cookie."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @public
    async def page(self, request: Request, next: Next = "/") -> Response:
        """Show the form that asks for a token."""
        return self._render.page(request, "sign_in.html", next=_local(next), error="")

    @public
    @takes_body(FORM_BYTES)
    async def sign_in(
        self,
        request: Request,
        services: ServicesDep,
        token: Annotated[str, Form(max_length=MAX_CREDENTIAL_LENGTH)],
        next: Annotated[str, Form(max_length=MAX_TARGET_LENGTH)] = "/",
    ) -> Response:
        """Open a session for a token. After too many wrong tokens of one account and address, the next must wait.

        Raises Forbidden when another site's page sent the form: such a form could sign the user in with the attacker's
        token.
        """
        if not _is_ours(request, services.config()):
            raise Forbidden("another site sent this form: open the sign-in page here and try again")
        now = services.clock.now()
        try:
            attempt = Attempt(client_of(request), "the sign-in page")
            principal = await services.gatekeeper.by_token(token.strip(), attempt, now)
        except Unauthenticated as error:
            status = problem_of(error).status
            page = self._render.page(request, "sign_in.html", status, next=_local(next), error=str(error))
            page.headers.update(headers_of(error))
            return page
        cookie = await services.pools.access.run(services.sessions.open, principal, now)
        answer = RedirectResponse(_local(next), 303)
        answer.set_cookie(
            SESSION_COOKIE,
            cookie,
            max_age=int(SESSION_S),
            httponly=True,
            # Not strict: a link in a chat message must find the session. GET changes nothing; POST needs a CSRF token.
            samesite="lax",
            secure=is_https(request, services.config()),
        )
        return answer

    @requires(Role.VIEWER)
    async def sign_out(self, request: Request, services: ServicesDep) -> Response:
        """Close the session."""
        await services.pools.access.run(services.sessions.close, request.cookies.get(SESSION_COOKIE, ""))
        answer = led_to(SIGN_IN)
        answer.delete_cookie(SESSION_COOKIE)
        return answer


def is_https(request: Request, fleet: Fleet) -> bool:
    """Return whether the browser uses https. Behind a proxy that ends TLS, `external_url` in fleet.yaml says so."""
    return request.url.scheme == "https" or (fleet.fleet.external_url or "").startswith("https://")


def _is_ours(request: Request, fleet: Fleet) -> bool:
    """Return whether a page of this server sent the form, by the headers Sec-Fetch-Site and Origin if present."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        return False
    origin = request.headers.get("origin")
    if origin is None or origin == _origin_of(fleet.fleet.external_url or ""):
        return True
    own = _origin_of(f"https://{request.url.netloc}"), _origin_of(f"http://{request.url.netloc}")
    # Behind an untrusted proxy that ends TLS, the browser's scheme is unknown, so https is accepted as well.
    return origin == own[0] or (origin == own[1] and not is_https(request, fleet))


def _origin_of(url: str) -> str:
    """Return a URL's origin as browsers write it, without the scheme's default port."""
    parts = urlsplit(url)
    usual = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(usual)}"


def _local(target: str) -> str:
    """Return the target when it is a path of this server, else "/": the target must not lead to another site."""
    good = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if good and not target.startswith(SIGN_IN) else "/"
