"""Prometheus's query API: `query`, `query_range`, `series`, `labels`, `label/<name>/values`, `metadata`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path
from fastapi.responses import JSONResponse, Response

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.prometheus_params import Params, bad, params_of
from controlplane.api.services import ServicesDep
from controlplane.errors import QueryError
from controlplane.metrics import api_views
from controlplane.metrics.values import QueryValue

router = APIRouter(route_class=GuardedRoute, tags=["prometheus"])

QUERY_TIMEOUT_S = 30.0
"""Longest that a query of this API runs, whatever its caller allows."""
TRUNCATED = "results truncated due to limit"
_SAYS_ITS_PLACE = ("invalid parameter ", "invalid expression type ", "exceeded ")

Found = TypeVar("Found")
ParamsDep = Annotated[Params, Depends(params_of)]


@router.get("/api/v1/query")
@router.post("/api/v1/query")
@requires(Role.VIEWER)
async def query(services: ServicesDep, params: ParamsDep) -> Response:
    """Evaluate PromQL at one instant (`query`, `time`, `timeout`, `limit`)."""
    limit = params.limit()
    at = params.time_or_none("time")
    at = services.clock.now() if at is None else at
    timeout = params.timeout(QUERY_TIMEOUT_S)
    return await _answer(services.queries.instant_value(params.expr(), at), timeout, limit)


@router.get("/api/v1/query_range")
@router.post("/api/v1/query_range")
@requires(Role.VIEWER)
async def query_range(services: ServicesDep, params: ParamsDep) -> Response:
    """Evaluate PromQL over a range (`query`, `start`, `end`, `step`, `timeout`, `limit`)."""
    limit = params.limit()
    start, end, step = params.range()
    timeout = params.timeout(QUERY_TIMEOUT_S)
    return await _answer(services.queries.range_value(params.expr(), start, end, step), timeout, limit)


@router.get("/api/v1/series")
@router.post("/api/v1/series")
@requires(Role.VIEWER)
def series(services: ServicesDep, params: ParamsDep) -> Response:
    """List series (`match[]` at least once, `start`, `end`, `limit`)."""
    selectors = params.all("match[]")
    if not selectors:
        raise QueryError("bad_data", "no match[] parameter provided")
    start, end = params.interval()
    found = _of_selectors(lambda: api_views.series(services.series_store, selectors, start, end))
    return _listing(found, params.limit())


@router.get("/api/v1/labels")
@router.post("/api/v1/labels")
@requires(Role.VIEWER)
def labels(services: ServicesDep, params: ParamsDep) -> Response:
    """List label names (`match[]`, `start`, `end`, `limit`)."""
    selectors, (start, end) = params.all("match[]"), params.interval()
    names = _of_selectors(lambda: api_views.label_names(services.series_store, selectors, start, end))
    return _listing(names, params.limit())


@router.get("/api/v1/label/{name}/values")
@requires(Role.VIEWER)
def label_values(
    services: ServicesDep, params: ParamsDep, name: Annotated[str, Path(min_length=1, max_length=256)]
) -> Response:
    """List the values of a label (`match[]`, `start`, `end`, `limit`)."""
    selectors, (start, end) = params.all("match[]"), params.interval()
    values = _of_selectors(lambda: api_views.label_values(services.series_store, name, selectors, start, end))
    return _listing(values, params.limit())


@router.get("/api/v1/metadata")
@requires(Role.VIEWER)
def metadata(services: ServicesDep, params: ParamsDep) -> Response:
    """Return type and help of metrics (`metric`, `limit`)."""
    # Here, and only here, Prometheus's own default is -1 and 0 means nothing.
    text = params.get("limit") or "-1"
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise QueryError("bad_data", "limit must be a number")
    limit = int(text)
    return success(api_views.metadata(services.series_store, params.get("metric"), limit))


def success(data: object, warnings: Sequence[str] = ()) -> Response:
    """Return Prometheus's envelope."""
    body: dict[str, object] = {"status": "success", "data": data}
    if warnings:
        body["warnings"] = list(warnings)
    return JSONResponse(body)


async def _answer(query: Awaitable[QueryValue], within_s: float, limit: int) -> Response:
    try:
        async with asyncio.timeout(within_s):
            value = await query
    except QueryError as error:
        if error.kind == "bad_data" and not str(error).startswith(_SAYS_ITS_PLACE):
            raise bad("query", str(error)) from error
        raise
    except TimeoutError as error:
        raise QueryError("timeout", f"query timed out in query execution after {within_s:g}s") from error
    # A range of many series is megabytes of JSON: written in a thread, so that the loop goes on scraping.
    return await asyncio.to_thread(_render, value, limit)


def _render(value: QueryValue, limit: int) -> Response:
    data = value.to_prometheus_json()
    result = data["result"]
    if limit and data["resultType"] in ("vector", "matrix") and len(result) > limit:
        return success({**data, "result": result[:limit]}, [TRUNCATED])
    return success(data)


def _of_selectors(find: Callable[[], Found]) -> Found:
    try:
        return find()
    except QueryError as error:
        raise bad("match[]", str(error)) from error


def _listing(found: Sequence[object], limit: int) -> Response:
    if limit and len(found) > limit:
        return success(found[:limit], [TRUNCATED])
    return success(found)
