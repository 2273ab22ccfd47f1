"""Samples for other servers: `/federate` for a server that scrapes this one, `/api/v1/read` for remote read."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.interop.asker import AskerDep
from controlplane.api.prometheus import ParamsDep
from controlplane.api.prometheus_document import PLAIN_ERROR
from controlplane.api.prometheus_params import bad
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import MalformedRequest, NotFound, QueryError, TooLarge
from controlplane.metrics.promql.syntax.tree import parse_selector
from controlplane.metrics.query.exports.calls import args_of
from controlplane.metrics.query.exports.remote_read import decode
from controlplane.metrics.series.budget import LOOKBACK_S

router = APIRouter(route_class=GuardedRoute, tags=["prometheus"])

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/federate", response_class=PlainTextResponse)
@requires(Role.VIEWER)
async def federate(services: ServicesDep, asker: AskerDep, params: ParamsDep) -> Response:
    """Return the last sample of every series that a selector (`match[]`) matches, as text exposition."""
    _refuse_elsewhere(services)
    selectors = list(params.all("match[]"))
    for selector in selectors:
        try:
            parse_selector(selector)
        except QueryError as error:
            raise bad("match[]", str(error)) from error
    args = [selectors, services.clock.now(), LOOKBACK_S]
    found = await asker.wait_for(services.exports.export("federate", args, asker=asker.id))
    return Response(found, headers={"Content-Type": EXPOSITION})


_DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "description": "A prometheus.ReadRequest, compressed with snappy's block format.",
        "required": True,
        "content": {"application/x-protobuf": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/api/v1/read", response_class=Response, openapi_extra=_DOCUMENT, responses=PLAIN_ERROR)
@requires(Role.VIEWER)
async def read(request: Request, services: ServicesDep, asker: AskerDep) -> Response:
    """Return the samples for a remote-read request, as one answer of the type SAMPLES."""
    try:
        _refuse_elsewhere(services)
        queries = decode(await request.body())
        found = await asker.wait_for(services.exports.export("remote_read", args_of(queries), asker=asker.id))
    except NotFound as error:
        return PlainTextResponse(f"{error}\n", HTTPStatus.NOT_FOUND)
    except TooLarge as error:
        return PlainTextResponse(f"{error}\n", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    except MalformedRequest as error:
        return PlainTextResponse(f"{error}\n", HTTPStatus.BAD_REQUEST)
    return Response(found, headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"})


def _refuse_elsewhere(services: Services) -> None:
    if elsewhere := services.config().metrics.query_url:
        # With metrics.query_url only about the last hour of samples is kept here.
        raise NotFound(f"the samples are stored at metrics.query_url, {elsewhere}: send this request there")
