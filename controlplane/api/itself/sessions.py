"""The console's sessions: browsers that are signed in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.access.sessions import ID_DIGITS
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.services import ServicesDep
from controlplane.fleet.view import View, instant

router = APIRouter(route_class=GuardedRoute, tags=["access"])

SessionId = Annotated[str, Path(pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$")]


class SessionView(View):
    """One signed-in browser."""

    id: str
    token_id: str
    token_name: str
    role: Role
    created_at: str
    expires_at: str
    own: bool
    """Whether it is the session that asks."""


class SessionList(BaseModel):
    """Sessions that go on, newest first."""

    items: tuple[SessionView, ...]


@router.get("/cp/v1/sessions")
@requires(Role.ADMIN)
def sessions(services: ServicesDep, principal: PrincipalDep) -> SessionList:
    """List the console's sessions that go on."""
    return SessionList(
        items=tuple(
            SessionView(
                id=found.id,
                token_id=found.token_id,
                token_name=found.token_name,
                role=Role(found.role),
                created_at=instant(found.created_at),
                expires_at=instant(found.expires_at),
                own=bool(principal.session) and principal.session.startswith(found.id),
            )
            for found in services.sessions.list(services.clock.now())
        )
    )


@router.delete("/cp/v1/sessions/{session_id}", status_code=204)
@requires(Role.ADMIN)
def end_session(services: ServicesDep, principal: PrincipalDep, session_id: SessionId) -> Response:
    """End a session: its browser must sign in again. Raises NotFound when it has ended."""
    services.sessions.end(session_id, services.clock.now(), by=principal.name)
    return Response(status_code=204)
