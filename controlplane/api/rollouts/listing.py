"""Rollouts: promote, roll back, abort, watch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.models import NAME, ModelName
from controlplane.api.services import Services, ServicesDep
from controlplane.fleet.rollouts import plan_view, rollout_view
from controlplane.fleet.views import PlanView, RolloutView
from controlplane.rollout.model import Plan, Rollout

router = APIRouter(route_class=GuardedRoute, tags=["rollouts"])

RolloutId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class PromoteRequest(BaseModel):
    """The model and the version of a promotion, and its options."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, Field(pattern=NAME)]
    strategy: Literal["blue-green", "canary"] = "blue-green"
    dry_run: bool = False


class RollbackRequest(BaseModel):
    """The options of a rollback."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


class RolloutList(BaseModel):
    """Rollouts, newest first, without their events."""

    items: tuple[RolloutView, ...]


KeyDep = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
ACCEPTED: dict[int | str, dict[str, Any]] = {200: {"model": PlanView, "description": "The plan of a dry run"}}


@router.get("/cp/v1/rollouts")
@requires(Role.VIEWER)
async def rollouts(
    services: ServicesDep,
    model: Annotated[str | None, Query(pattern=NAME)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> RolloutList:
    """List rollouts, of one model or of all."""
    found = await services.rollouts.list(model, limit)
    return RolloutList(items=tuple(rollout_view(recorded.rollout) for recorded in found))


@router.get("/cp/v1/rollouts/{rollout_id}")
@requires(Role.VIEWER)
async def rollout(services: ServicesDep, rollout_id: RolloutId) -> RolloutView:
    """Return one rollout with its events."""
    recorded = await services.rollouts.show(rollout_id)
    return rollout_view(recorded.rollout, recorded.events)


@router.post("/cp/v1/rollouts", status_code=202, response_model=RolloutView, responses=ACCEPTED)
@requires(Role.OPERATOR)
async def promote(
    services: ServicesDep, principal: PrincipalDep, wanted: PromoteRequest, key: KeyDep = None
) -> Response:
    """Start to move a model to a version (202), or return the plan of it (`dry_run`, 200)."""
    if wanted.dry_run:
        return _planned(await services.rollouts.plan(wanted.model, wanted.version, wanted.strategy))
    started = await services.rollouts.start(
        wanted.model, wanted.version, wanted.strategy, actor=principal.name, idempotency_key=key
    )
    return _accepted(services, started)


@router.post("/cp/v1/models/{name}/rollback", status_code=202, response_model=RolloutView, responses=ACCEPTED)
@requires(Role.OPERATOR)
async def rollback(
    services: ServicesDep,
    principal: PrincipalDep,
    name: ModelName,
    wanted: RollbackRequest | None = None,
    key: KeyDep = None,
) -> Response:
    """Start the rollback to the model's previous version (202), or return the plan of it (`dry_run`, 200)."""
    if wanted is not None and wanted.dry_run:
        return _planned(await services.rollouts.plan_rollback(name))
    return _accepted(services, await services.rollouts.rollback(name, actor=principal.name, idempotency_key=key))


@router.post("/cp/v1/rollouts/{rollout_id}/abort", status_code=202, response_model=RolloutView)
@requires(Role.OPERATOR)
async def abort(services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId) -> Response:
    """Abort a rollout and restore the version that served before it."""
    return _accepted(services, await services.rollouts.abort(rollout_id, actor=principal.name))


@router.post("/cp/v1/rollouts/{rollout_id}/close", status_code=202, response_model=RolloutView)
@requires(Role.OPERATOR)
async def close(services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId) -> Response:
    """Close a rollout whose record cannot be read, so that another one can begin. No engine is called."""
    return _accepted(services, await services.rollouts.close(rollout_id, actor=principal.name))


def _planned(plan: Plan) -> Response:
    return Response(plan_view(plan).model_dump_json(by_alias=True), 200, media_type="application/json")


def _accepted(services: Services, rollout: Rollout) -> Response:
    services.fleet.forget()
    headers = {"Location": f"/cp/v1/rollouts/{rollout.id}"}
    return Response(rollout_view(rollout).model_dump_json(by_alias=True), 202, headers, media_type="application/json")
