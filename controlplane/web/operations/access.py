"""The page of access: tokens, browser sessions, and attempts that were refused. For admins only.

The dialogs send the same bodies as the API, and its models check them: the page has no rules of its own.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Depends, Form, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import ValidationError

from controlplane.access.roles import Role
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.itself.sessions import SessionId, SessionView, end_session
from controlplane.api.itself.sessions import sessions as read_sessions
from controlplane.api.services import Services, ServicesDep
from controlplane.api.tokens import NewTokenView, TokenRequest, TokenView, create_token, revoke_token
from controlplane.api.tokens import tokens as read_tokens
from controlplane.errors import ControlPlaneError, NotFound
from controlplane.store.audit import REFUSED, AuditFilter
from controlplane.web.csv_answer import csv_answer
from controlplane.web.dialog import led_to, opened_directly
from controlplane.web.faults import faults_of
from controlplane.web.languages import noted
from controlplane.web.operations.expiry import STATES, state_of
from controlplane.web.render import Renderer

PATH = "/access"
REFUSALS = 100
"""Most refused attempts of the page. Chosen: the audit trail has all."""
REFUSALS_S = 86_400.0
HEADER = ("id", "name", "role", "state", "created_at", "created_by", "expires_at", "revoked_at", "last_used_at")
ROLES = {
    Role.VIEWER: noted("viewer"),
    Role.OPERATOR: noted("operator"),
    Role.ADMIN: noted("admin"),
    Role.GATEWAY: noted("gateway"),
    Role.ALERT_SENDER: noted("alert-sender"),
}
MAY = {
    Role.VIEWER: noted("may read everything but the log and the audit trail"),
    Role.OPERATOR: noted("may also promote, roll back, silence, and run backups"),
    Role.ADMIN: noted("may also manage access and reload the configuration"),
    Role.GATEWAY: noted("may only fetch the gateways' state, report, and post usage"),
    Role.ALERT_SENDER: noted("may only send alerts and heartbeats"),
}
"""Rights of a token of each role."""
TokenId = Annotated[str, Path(pattern=r"^[0-9a-f]{8,32}$")]
Typed = Annotated[str, Form(max_length=200)]


class TokenForm(NamedTuple):
    """A new token as it was typed."""

    name: str
    role: str
    expires_in: str
    """"": never."""


def _form(name: Typed = "", role: Typed = "viewer", expires_in: Typed = "") -> TokenForm:
    return TokenForm(*(text.strip() for text in (name, role, expires_in)))


class AccessPage:
    """The endpoints. All need the role admin, as in the API."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def add_to(self, router: APIRouter) -> None:
        """Add the endpoints' routes."""
        router.get(PATH)(self.page)
        router.get(f"{PATH}/new")(self.ask_new)
        router.post(f"{PATH}/new")(self.create)
        router.get(f"{PATH}/tokens/{{token_id}}/revoke")(self.ask_revoke)
        router.post(f"{PATH}/tokens/{{token_id}}/revoke")(self.revoke)
        router.get(f"{PATH}/sessions/{{session_id}}/end")(self.ask_end)
        router.post(f"{PATH}/sessions/{{session_id}}/end")(self.end)

    @requires(Role.ADMIN)
    async def page(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, format: Literal["", "csv"] = ""
    ) -> Response:
        """Show live tokens first, then the sessions, and the refused attempts of the last day."""
        now = services.clock.now()
        found = (await run_in_threadpool(read_tokens, services)).items
        rows = sorted(((token, state_of(token, now)) for token in found), key=lambda row: not row[0].live)
        if format == "csv":
            fields = {name: name for name in HEADER if name != "state"}
            cells = ([state if name not in fields else getattr(t, name) for name in HEADER] for t, state in rows)
            return csv_answer("tokens", HEADER, cells)
        wanted = AuditFilter(actions=(REFUSED,), since=now - REFUSALS_S)
        sessions, (refused, more) = await asyncio.gather(
            run_in_threadpool(read_sessions, services, principal),
            run_in_threadpool(services.history.acts, wanted, REFUSALS),
        )
        return self._render.page(
            request,
            "operations/access.html",
            tokens=rows,
            sessions=sessions.items,
            refused=refused,
            more=more,
            counts={word: sum(state == word for _, state in rows) for word in STATES},
        )

    @requires(Role.ADMIN)
    async def ask_new(self, request: Request) -> Response:
        """Show the form of a new token."""
        return self._dialog(request, form=_form())

    @requires(Role.ADMIN)
    async def create(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        form: Annotated[TokenForm, Depends(_form)],
    ) -> Response:
        """Make the token and show it, once; or show the form again with what is wrong."""
        try:
            wanted = TokenRequest.model_validate(
                {"name": form.name, "role": form.role, "expires_in": form.expires_in or None}
            )
            made = await run_in_threadpool(create_token, services, principal, wanted)
        except (ValidationError, ControlPlaneError) as error:
            return self._dialog(request, form=form, faults=faults_of(error))
        return self._dialog(request, made=made)

    @requires(Role.ADMIN)
    async def ask_revoke(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, token_id: TokenId
    ) -> Response:
        """Ask whether to revoke a token, and tell what ends with it."""
        token = await run_in_threadpool(_token, services, token_id)
        open_ones = (await run_in_threadpool(read_sessions, services, principal)).items
        return self._dialog(
            request,
            revoking=token,
            open_sessions=sum(one.token_id == token_id for one in open_ones),
            own=token_id == principal.token_id,
        )

    @requires(Role.ADMIN)
    async def revoke(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, token_id: TokenId
    ) -> Response:
        """Revoke the token. The last admin token is refused, which the dialog tells."""
        try:
            await run_in_threadpool(revoke_token, services, principal, token_id)
        except ControlPlaneError as error:
            token = await run_in_threadpool(_token, services, token_id)
            return self._dialog(request, revoking=token, faults=faults_of(error))
        return led_to(PATH)

    @requires(Role.ADMIN)
    async def ask_end(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, session_id: SessionId
    ) -> Response:
        """Ask whether to end a session. Raises NotFound when it has ended."""
        found = (await run_in_threadpool(read_sessions, services, principal)).items
        one = next((session for session in found if session.id == session_id), None)
        if one is None:
            raise NotFound(f"there is no session {session_id}: it has ended")
        return self._dialog(request, ending=one, own=one.own)

    @requires(Role.ADMIN)
    async def end(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, session_id: SessionId
    ) -> Response:
        """End the session."""
        await run_in_threadpool(end_session, services, principal, session_id)
        return led_to(PATH)

    def _dialog(
        self,
        request: Request,
        *,
        form: TokenForm | None = None,
        made: NewTokenView | None = None,
        revoking: TokenView | None = None,
        ending: SessionView | None = None,
        open_sessions: int = 0,
        own: bool = False,
        faults: tuple[str, ...] = (),
    ) -> Response:
        if opened := opened_directly(request, PATH):
            return opened
        return self._render.page(
            request,
            "operations/access_dialog.html",
            form=form,
            made=made,
            revoking=revoking,
            ending=ending,
            open_sessions=open_sessions,
            own=own,
            faults=faults,
            roles=ROLES,
            may=MAY,
        )


def _token(services: Services, token_id: str) -> TokenView:
    for token in read_tokens(services).items:
        if token.id == token_id:
            return token
    raise NotFound(f"there is no token {token_id}")
