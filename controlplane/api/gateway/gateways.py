"""Gateways: their desired state by long poll, their reports, and the list for people."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires, takes_body
from controlplane.api.models import NAME
from controlplane.api.services import ServicesDep
from controlplane.errors import Unauthenticated
from controlplane.fleet.gateways import GatewayView
from controlplane.store.gateways import ModelReport, Report

router = APIRouter(route_class=GuardedRoute, tags=["gateways"])

MAX_WAIT_S = 30.0
"""Longest wait for a change, in seconds. Chosen: shorter than the idle time of common proxies."""
REPORT_BYTES = 2**20
"""Largest report: thousands of models, or of limits with a demand."""
Count = Annotated[int, Field(ge=0, le=2**53)]
ModelKey = Annotated[str, Field(pattern=NAME)]
VersionKey = Annotated[str, Field(pattern=NAME)]
LimitKey = Annotated[str, Field(min_length=1, max_length=256)]
Word = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ModelReportRequest(BaseModel):
    """One model at a gateway."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    generation: Count
    requests: Annotated[dict[VersionKey, Count], Field(max_length=64)] = {}
    open: Annotated[dict[VersionKey, Count], Field(max_length=64)] = {}


class ReportRequest(BaseModel):
    """A gateway's report. Fields that this release does not know are ignored, so that a newer gateway stays live."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    format: Literal[1]
    name: Annotated[str, Field(pattern=NAME)]
    incarnation: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
    version: Word = ""
    listen: Word = ""
    workers: Annotated[int, Field(ge=0, le=4096)] = 0
    ready: bool = False
    leaving: bool = False
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = ""
    models: Annotated[dict[ModelKey, ModelReportRequest], Field(max_length=1000)] = {}
    open_streams: Count = 0
    demand: Annotated[dict[LimitKey, Annotated[float, Field(ge=0)]], Field(max_length=20_000)] = {}
    fault: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")] = ""


class ReportAnswer(BaseModel):
    """The answer to a gateway's report."""

    shares: dict[str, float]
    """The gateway's shares of limits that several gateways share, by limit id. Others are wholly its own."""
    spent: dict[str, float]
    """Amounts that it had spent of budgets before its last start and does not report, by the budget's id."""


class GatewayList(BaseModel):
    """Gateways by name."""

    items: tuple[GatewayView, ...]


@router.get("/cp/v1/gateways")
@requires(Role.VIEWER)
def gateways(services: ServicesDep) -> GatewayList:
    """List the gateways that reported within the last day."""
    return GatewayList(items=services.gateways.views())


@router.get("/cp/v1/gateways/desired", responses={204: {"description": "Nothing changed"}})
@requires(Role.GATEWAY)
async def desired(
    services: ServicesDep,
    principal: PrincipalDep,
    name: Annotated[str, Query(pattern=NAME)],
    revision: Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = "",
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, allow_inf_nan=False)] = 0.0,
) -> Response:
    """Return the desired state of a gateway (200) when it is not `revision`; wait up to `wait` seconds, then 204.

    Raises Unauthenticated when the token was revoked during the wait.
    """
    body = await services.gateways.feed.after(revision, wait)
    if wait and await services.gatekeeper.over({principal}, services.clock.now()):
        raise Unauthenticated("the token was revoked or has expired")
    return Response(status_code=204) if body is None else Response(body, media_type="application/json")


@router.post("/cp/v1/gateways/report")
@requires(Role.GATEWAY)
@takes_body(REPORT_BYTES)
async def report(services: ServicesDep, sent: ReportRequest) -> ReportAnswer:
    """Store a gateway's report, and return its shares of limits and what it has forgotten to have spent."""
    models = {name: ModelReport(m.generation, m.requests, m.open) for name, m in sent.models.items()}
    taken = Report(
        name=sent.name,
        incarnation=sent.incarnation,
        version=sent.version,
        listen=sent.listen,
        workers=sent.workers,
        ready=sent.ready,
        revision=sent.revision,
        models=models,
        open_streams=sent.open_streams,
        demand=sent.demand,
        fault=sent.fault,
    )
    answer = await services.gateways.report(taken, leaving=sent.leaving)
    return ReportAnswer(shares=dict(answer.shares), spent=dict(answer.spent))
