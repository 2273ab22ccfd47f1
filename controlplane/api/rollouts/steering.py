"""Rollouts: promote, roll back, pause, resume, approve, abort, retry, close."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.models import ModelName
from controlplane.api.rollouts.bodies import KeyDep, PromoteRequest, RollbackRequest, RolloutId, Steering
from controlplane.api.rollouts.listing import known_of
from controlplane.api.services import Services, ServicesDep
from controlplane.fleet.rollout_views import PlanView, RolloutView
from controlplane.fleet.rollouts import plan_view, rollout_view, turning_back_view
from controlplane.rollout.model import Plan, Rollout, RolloutKind

router = APIRouter(route_class=GuardedRoute, tags=["rollouts"])

ACCEPTED: dict[int | str, dict[str, Any]] = {200: {"model": PlanView, "description": "The plan of a dry run"}}


@router.post("/cp/v1/rollouts", status_code=202, response_model=RolloutView, responses=ACCEPTED)
@requires(Role.OPERATOR)
async def promote(
    services: ServicesDep, principal: PrincipalDep, wanted: PromoteRequest, key: KeyDep = None
) -> Response:
    """Start to move a model to a version (202), or return the plan of it (`dry_run`, 200)."""
    overrides, role = wanted.overrides(), principal.role.value
    if wanted.dry_run:
        plan = await services.rollouts.plan(
            wanted.model, wanted.version, wanted.strategy, overrides=overrides, actor=principal.name, role=role
        )
        return await _planned(services, plan)
    started = await services.rollouts.start(
        wanted.model,
        wanted.version,
        wanted.strategy,
        overrides=overrides,
        actor=principal.name,
        role=role,
        idempotency_key=key,
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
    """Start the rollback to the previous or a named version (202), or return the plan of it (`dry_run`, 200).

    A running promotion is turned back, if no other version than the one that it comes from is named.
    """
    wanted = wanted or RollbackRequest()
    if wanted.dry_run:
        running = (await services.rollouts.model(name)).rollout
        if running is not None and turns_back(running, wanted.to):
            return _plan(turning_back_view(running, *await known_of(services, name)))
        plan = await services.rollouts.plan_rollback(name, wanted.to, quarantine=wanted.quarantine)
        return await _planned(services, plan)
    started = await services.rollouts.rollback(
        name,
        wanted.to,
        actor=principal.name,
        role=principal.role.value,
        reason=wanted.reason.strip(),
        quarantine=wanted.quarantine,
        idempotency_key=key,
    )
    return _accepted(services, started)


@router.post("/cp/v1/rollouts/{rollout_id}/pause", status_code=202, response_model=RolloutView)
@requires(Role.OPERATOR)
async def pause(
    services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId, wanted: Steering | None = None
) -> Response:
    """Stop a running rollout before its next step. A paused rollout stays paused."""
    steer = services.rollouts.pause(rollout_id, actor=principal.name, role=principal.role.value, reason=_reason(wanted))
    return _accepted(services, await steer)


@router.post("/cp/v1/rollouts/{rollout_id}/resume", status_code=202, response_model=RolloutView)
@requires(Role.OPERATOR)
async def resume(
    services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId, wanted: Steering | None = None
) -> Response:
    """End a pause by an operator or a hook, or a timed pause before its time."""
    steer = services.rollouts.resume(
        rollout_id, actor=principal.name, role=principal.role.value, reason=_reason(wanted)
    )
    return _accepted(services, await steer)


@router.post("/cp/v1/rollouts/{rollout_id}/approve", status_code=202, response_model=RolloutView)
@requires(Role.OPERATOR)
async def approve(
    services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId, wanted: Steering | None = None
) -> Response:
    """Approve the step that a rollout waits for. A second approval by the same person changes nothing."""
    steer = services.rollouts.approve(
        rollout_id, actor=principal.name, role=principal.role.value, reason=_reason(wanted)
    )
    return _accepted(services, await steer)


@router.post("/cp/v1/rollouts/{rollout_id}/full", status_code=202, response_model=RolloutView)
@requires(Role.OPERATOR)
async def full(
    services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId, wanted: Steering | None = None
) -> Response:
    """Skip the pauses and analyses that remain: the candidate gets every request at once."""
    steer = services.rollouts.full(rollout_id, actor=principal.name, role=principal.role.value, reason=_reason(wanted))
    return _accepted(services, await steer)


@router.post("/cp/v1/rollouts/{rollout_id}/abort", status_code=202, response_model=RolloutView)
@requires(Role.OPERATOR)
async def abort(
    services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId, wanted: Steering | None = None
) -> Response:
    """Abort a rollout and restore the version that served before it."""
    aborted = await services.rollouts.abort(rollout_id, actor=principal.name, reason=_reason(wanted))
    return _accepted(services, aborted)


@router.post("/cp/v1/rollouts/{rollout_id}/retry", status_code=202, response_model=RolloutView)
@requires(Role.OPERATOR)
async def retry(services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId, key: KeyDep = None) -> Response:
    """Start the request of a rollout that has ended again, as a new rollout."""
    again = await services.rollouts.retry(
        rollout_id, actor=principal.name, role=principal.role.value, idempotency_key=key
    )
    return _accepted(services, again)


@router.post("/cp/v1/rollouts/{rollout_id}/close", status_code=202, response_model=RolloutView)
@requires(Role.OPERATOR)
async def close(services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId) -> Response:
    """Close a rollout whose record cannot be read, so that another one can begin. No engine is called."""
    return _accepted(services, await services.rollouts.close(rollout_id, actor=principal.name))


def _reason(wanted: Steering | None) -> str:
    return wanted.reason.strip() if wanted else ""


def turns_back(running: Rollout, to: str | None) -> bool:
    """Return whether a rollback to a version (None: the previous one) reverses the running rollout."""
    return running.plan.kind is RolloutKind.PROMOTE and to in (None, running.plan.from_version)


async def _planned(services: Services, plan: Plan) -> Response:
    return _plan(plan_view(plan, *await known_of(services, plan.model)))


def _plan(view: PlanView) -> Response:
    return Response(view.model_dump_json(by_alias=True), 200, media_type="application/json")


def _accepted(services: Services, rollout: Rollout) -> Response:
    services.fleet.forget()
    headers = {"Location": f"/cp/v1/rollouts/{rollout.id}"}
    return Response(rollout_view(rollout).model_dump_json(by_alias=True), 202, headers, media_type="application/json")
