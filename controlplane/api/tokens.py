"""Access: the caller's own token, all tokens, and the reload of the configuration."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from controlplane.access.roles import Role
from controlplane.access.tokens import Token
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.models import NAME
from controlplane.api.services import ServicesDep
from controlplane.config.vocabulary import Duration
from controlplane.fleet.view import View, instant, rfc3339

router = APIRouter(route_class=GuardedRoute, tags=["access"])


LIFETIME = {
    "type": "string",
    "format": "prometheus-lifetime",
    "description": "Such as 30d; ten years at most.",
}


class TokenRequest(BaseModel):
    """The properties of a new token."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=NAME)]
    role: Role
    expires_in: Annotated[Duration, Field(gt=0, le=10 * 365 * 86400.0), WithJsonSchema(LIFETIME)] | None = None
    """A Prometheus duration, such as `30d`; null: the token never expires."""


class TokenView(View):
    """A token without its secret."""

    id: str
    name: str
    role: Role
    live: bool
    created_at: str
    created_by: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class NewTokenView(TokenView):
    """A new token with its secret text. No later answer contains the text."""

    token: str


class TokenList(BaseModel):
    """Tokens, newest first."""

    items: tuple[TokenView, ...]


class WhoAmI(BaseModel):
    """The caller."""

    name: str
    role: Role
    token_id: str


class Reloaded(BaseModel):
    """The changes of a reload, a sentence each."""

    changes: tuple[str, ...]


@router.get("/cp/v1/whoami")
@requires(Role.VIEWER)
async def whoami(principal: PrincipalDep) -> WhoAmI:
    """Return the name, role and id of the caller's token."""
    return WhoAmI(name=principal.name, role=principal.role, token_id=principal.token_id)


@router.get("/cp/v1/tokens")
@requires(Role.ADMIN)
def tokens(services: ServicesDep) -> TokenList:
    """List the tokens, revoked and expired ones included."""
    now = services.clock.now()
    return TokenList(items=tuple(TokenView(**_fields(t, now)) for t in services.tokens.list()))


@router.post("/cp/v1/tokens", status_code=201)
@requires(Role.ADMIN)
def create_token(services: ServicesDep, principal: PrincipalDep, wanted: TokenRequest) -> NewTokenView:
    """Create a token. Its text is in this answer and in no later one."""
    now = services.clock.now()
    expires_at = None if wanted.expires_in is None else now + wanted.expires_in
    token, text = services.tokens.create(wanted.name, wanted.role, expires_at, now, by=principal.name)
    return NewTokenView(**_fields(token, now), token=text)


@router.delete("/cp/v1/tokens/{token_id}", status_code=204)
@requires(Role.ADMIN)
def revoke_token(
    services: ServicesDep, principal: PrincipalDep, token_id: Annotated[str, Path(pattern=r"^[0-9a-f]{8,32}$")]
) -> Response:
    """Revoke a token and its console sessions."""
    services.tokens.revoke(token_id, services.clock.now(), by=principal.name)
    return Response(status_code=204)


@router.post("/cp/v1/config/reload")
@requires(Role.ADMIN)
async def reload(services: ServicesDep, principal: PrincipalDep) -> Reloaded:
    """Read fleet.yaml again. After a bad file the old configuration stays, and the answer is 422 with every fault."""
    changes = await services.reload(principal.name)
    services.fleet.forget()
    return Reloaded(changes=tuple(changes))


def _fields(token: Token, now: float) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "live": token.live(now),
        "created_at": instant(token.created_at),
        "created_by": token.created_by,
        "expires_at": rfc3339(token.expires_at),
        "revoked_at": rfc3339(token.revoked_at),
        "last_used_at": rfc3339(token.last_used_at),
    }
