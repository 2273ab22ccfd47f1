"""API keys of the gateways' clients."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from controlplane.access.gateway_keys import GatewayKey, KeyProperties, KeyRole
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.models import NAME
from controlplane.api.services import ServicesDep
from controlplane.api.tokens import LIFETIME
from controlplane.config.vocabulary import Duration
from controlplane.fleet.view import View, instant, rfc3339
from controlplane.gateway.desired.document import LimitSpec

router = APIRouter(route_class=GuardedRoute, tags=["gateways"])

MOST_MODELS = 100
LARGEST = 2**53
"""Largest whole number of a limit: JSON readers keep it exactly."""
NameField = Annotated[str, Field(pattern=NAME)]
KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{8,32}$")]


def _whole(value: object) -> object:
    """Return 5 for 5.0, which is the same number in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, Field(gt=0, le=LARGEST, strict=True), BeforeValidator(_whole)]
Usd = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False, strict=True)]


class KeyLimits(BaseModel):
    """Limits of a key. null: no limit. Budgets count calendar days and months in UTC."""

    model_config = ConfigDict(extra="forbid")

    requests_per_minute: Whole | None = None
    tokens_per_minute: Whole | None = None
    concurrent: Whole | None = None
    daily_tokens: Whole | None = None
    monthly_tokens: Whole | None = None
    daily_usd: Usd | None = None
    monthly_usd: Usd | None = None


class LimitsChange(KeyLimits):
    """Limits to change. null removes a limit, and a limit that is not named stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _names_one(self) -> LimitsChange:
        if not self.model_fields_set:
            raise ValueError("name at least one limit")
        return self


class KeyRequest(BaseModel):
    """The properties of a new key."""

    model_config = ConfigDict(extra="forbid")

    name: NameField
    tenant: NameField
    role: KeyRole = KeyRole.USER
    models: Annotated[list[NameField], Field(min_length=1, max_length=MOST_MODELS)] | None = None
    """Names of models in fleet.yaml; null: all models."""
    limits: KeyLimits = KeyLimits()
    priority: Annotated[int, Field(ge=-100, le=100, strict=True), BeforeValidator(_whole)] = 0
    """Higher is served first. Below 0: shed first."""
    expires_in: Annotated[Duration, Field(gt=0, le=10 * 365 * 86400.0), WithJsonSchema(LIFETIME)] | None = None
    """A Prometheus duration, such as `30d`; null: the key never expires."""


class KeyView(View):
    """A key without its secret and without the digest of it."""

    id: str
    prefix: str
    """Beginning of the key's text."""
    name: str
    tenant: str
    role: KeyRole
    models: tuple[str, ...] | None
    limits: KeyLimits
    priority: int
    live: bool
    created_at: str
    created_by: str
    expires_at: str | None
    revoked_at: str | None


class NewKeyView(KeyView):
    """A new key with its text. No later answer contains the text."""

    key: str


class KeyList(BaseModel):
    """Keys, newest first."""

    items: tuple[KeyView, ...]


@router.get("/cp/v1/keys")
@requires(Role.VIEWER)
def keys(services: ServicesDep, tenant: Annotated[str | None, Query(pattern=NAME)] = None) -> KeyList:
    """List the keys of all tenants, or of one. Revoked and expired ones are included."""
    now = services.clock.now()
    return KeyList(items=tuple(KeyView(**_fields(key, now)) for key in services.keys.list(tenant)))


@router.post("/cp/v1/keys", status_code=201)
@requires(Role.ADMIN)
def create_key(services: ServicesDep, principal: PrincipalDep, wanted: KeyRequest) -> NewKeyView:
    """Create a key. Its text is in this answer and in no later one."""
    now = services.clock.now()
    properties = KeyProperties(
        name=wanted.name,
        tenant=wanted.tenant,
        role=wanted.role,
        models=None if wanted.models is None else tuple(dict.fromkeys(wanted.models)),
        limits=LimitSpec(**wanted.limits.model_dump()),
        priority=wanted.priority,
        expires_at=None if wanted.expires_in is None else now + wanted.expires_in,
    )
    key, text = services.keys.create(properties, now, by=principal.name)
    services.gateways.feed.wake()
    return NewKeyView(**_fields(key, now), key=text)


@router.get("/cp/v1/keys/{key_id}")
@requires(Role.VIEWER)
def key(services: ServicesDep, key_id: KeyId) -> KeyView:
    """Return one key."""
    return KeyView(**_fields(services.keys.get(key_id), services.clock.now()))


@router.post("/cp/v1/keys/{key_id}/limits")
@requires(Role.ADMIN)
def change_limits(services: ServicesDep, principal: PrincipalDep, key_id: KeyId, wanted: LimitsChange) -> KeyView:
    """Change limits of a key. What was used of them stays used."""
    now = services.clock.now()
    changes = wanted.model_dump(exclude_unset=True)
    changed = services.keys.change_limits(key_id, changes, now, by=principal.name)
    services.gateways.feed.wake()
    return KeyView(**_fields(changed, now))


@router.delete("/cp/v1/keys/{key_id}", status_code=204)
@requires(Role.ADMIN)
def revoke_key(services: ServicesDep, principal: PrincipalDep, key_id: KeyId) -> Response:
    """Revoke a key. Gateways refuse it when they have applied the next desired state."""
    services.keys.revoke(key_id, services.clock.now(), by=principal.name)
    services.gateways.feed.wake()
    return Response(status_code=204)


def _fields(key: GatewayKey, now: float) -> dict[str, Any]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "name": key.name,
        "tenant": key.tenant,
        "role": key.role,
        "models": key.models,
        "limits": KeyLimits(**asdict(key.limits)),
        "priority": key.priority,
        "live": key.live(now),
        "created_at": instant(key.created_at),
        "created_by": key.created_by,
        "expires_at": rfc3339(key.expires_at),
        "revoked_at": rfc3339(key.revoked_at),
    }
