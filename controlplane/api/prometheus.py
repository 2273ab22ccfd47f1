"""Prometheus's query API: `query`, `query_range`, `series`, `labels`, `label/<name>/values`, `metadata` and others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path
from fastapi.responses import JSONResponse, Response

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.interop.asker import Asker, AskerDep
from controlplane.api.interop.label_names import unescape
from controlplane.api.prometheus_params import Params, bad, params_of
from controlplane.api.services import ServicesDep
from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.tree import parse
from controlplane.metrics.query.exports.prettify import prettify
from controlplane.metrics.query.exports.syntax_tree import syntax_tree
from controlplane.metrics.query.render import TRUNCATED, Rendered

router = APIRouter(route_class=GuardedRoute, tags=["prometheus"])

QUERY_TIMEOUT_S = 30.0
"""Longest duration of a query, in seconds, even if the caller's `timeout` is longer."""
_SAYS_ITS_PLACE = ("invalid parameter ", "exceeded ")

Found = TypeVar("Found")
ParamsDep = Annotated[Params, Depends(params_of)]


@router.get("/api/v1/query")
@router.post("/api/v1/query")
@requires(Role.VIEWER)
async def query(services: ServicesDep, asker: AskerDep, params: ParamsDep) -> Response:
    """Evaluate PromQL at one instant (`query`, `time`, `timeout`, `limit`, `lookback_delta`)."""
    limit = params.limit()
    at = params.time_or_none("time")
    at = services.clock.now() if at is None else at
    timeout, lookback = params.timeout(QUERY_TIMEOUT_S), params.lookback()
    asked = services.queries.instant_json(
        params.expr(), at, limit=limit, timeout_s=timeout, lookback_s=lookback, asker=asker.id
    )
    return await _answer(asker, asked, timeout)


@router.get("/api/v1/query_range")
@router.post("/api/v1/query_range")
@requires(Role.VIEWER)
async def query_range(services: ServicesDep, asker: AskerDep, params: ParamsDep) -> Response:
    """Evaluate PromQL over a range (`query`, `start`, `end`, `step`, `timeout`, `limit`, `lookback_delta`)."""
    limit = params.limit()
    start, end, step = params.range()
    timeout, lookback = params.timeout(QUERY_TIMEOUT_S), params.lookback()
    asked = services.queries.range_json(
        params.expr(), start, end, step, limit=limit, timeout_s=timeout, lookback_s=lookback, asker=asker.id
    )
    return await _answer(asker, asked, timeout)


@router.get("/api/v1/query_exemplars")
@router.post("/api/v1/query_exemplars")
@requires(Role.VIEWER)
def query_exemplars(params: ParamsDep) -> Response:
    """Return an empty list, because no exemplars are stored (`query`, `start`, `end`).

    Raises QueryError(bad_data) for a wrong parameter.
    """
    start, end = params.interval()
    if start is not None and end is not None and end < start:
        raise QueryError("bad_data", "end timestamp must not be before start timestamp")
    parse(params.expr())
    return success([])


@router.get("/api/v1/format_query")
@router.post("/api/v1/format_query")
@requires(Role.VIEWER)
def format_query(params: ParamsDep) -> Response:
    """Return PromQL in Prometheus's own style (`query`)."""
    expr = params.expr()
    try:
        return success(prettify(expr))
    except QueryError as error:
        raise bad("query", str(error)) from error


@router.get("/api/v1/parse_query")
@router.post("/api/v1/parse_query")
@requires(Role.VIEWER)
def parse_query(params: ParamsDep) -> Response:
    """Return the syntax tree of PromQL (`query`)."""
    expr = params.expr()
    try:
        return success(syntax_tree(expr))
    except QueryError as error:
        raise bad("query", str(error)) from error


@router.get("/api/v1/series")
@router.post("/api/v1/series")
@requires(Role.VIEWER)
async def series(services: ServicesDep, asker: AskerDep, params: ParamsDep) -> Response:
    """List series (`match[]` at least once, `start`, `end`, `limit`). Raises QueryError(bad_data) without `match[]`."""
    selectors = params.all("match[]")
    if not selectors:
        raise QueryError("bad_data", "no match[] parameter provided")
    start, end = params.interval()
    found = await _of_selectors(asker, services.queries.series(selectors, start, end, asker=asker.id))
    return _listing(found, params.limit())


@router.get("/api/v1/labels")
@router.post("/api/v1/labels")
@requires(Role.VIEWER)
async def labels(services: ServicesDep, asker: AskerDep, params: ParamsDep) -> Response:
    """List label names (`match[]`, `start`, `end`, `limit`)."""
    selectors, (start, end) = params.all("match[]"), params.interval()
    names = await _of_selectors(asker, services.queries.label_names(selectors, start, end, asker=asker.id))
    return _listing(names, params.limit())


@router.get("/api/v1/label/{name}/values")
@requires(Role.VIEWER)
async def label_values(
    services: ServicesDep, asker: AskerDep, params: ParamsDep, name: Annotated[str, Path(min_length=1, max_length=256)]
) -> Response:
    """List the values of a label (`match[]`, `start`, `end`, `limit`). A UTF-8 name may be escaped (`U__…`).

    Raises QueryError(bad_data) for an empty name.
    """
    name = unescape(name)
    if not name:
        raise QueryError("bad_data", 'invalid label name: ""')
    selectors, (start, end) = params.all("match[]"), params.interval()
    asked = services.queries.label_values(name, selectors, start, end, asker=asker.id)
    values = await _of_selectors(asker, asked)
    return _listing(values, params.limit())


@router.get("/api/v1/metadata")
@requires(Role.VIEWER)
async def metadata(services: ServicesDep, params: ParamsDep) -> Response:
    """Return type and help of metrics (`metric`, `limit`)."""
    return success(await services.queries.metadata(params.get("metric"), params.family_limit()))


def success(data: object, warnings: Sequence[str] = ()) -> Response:
    """Return an answer in Prometheus's envelope: status, data and warnings."""
    body: dict[str, object] = {"status": "success", "data": data}
    if warnings:
        body["warnings"] = list(warnings)
    return JSONResponse(body)


async def _answer(asker: Asker, query: Awaitable[Rendered], within_s: float) -> Response:
    try:
        async with asyncio.timeout(within_s):
            data, warnings, infos = await asker.wait_for(query)
    except QueryError as error:
        if error.kind == "bad_data" and not str(error).startswith(_SAYS_ITS_PLACE):
            raise bad("query", str(error)) from error
        raise
    except TimeoutError as error:
        raise QueryError("timeout", f"query timed out in query execution after {within_s:g}s") from error
    notes = (("warnings", warnings), ("infos", infos))
    told = "".join(f',"{name}":{json.dumps(said, ensure_ascii=False)}' for name, said in notes if said).encode()
    return Response(b'{"status":"success","data":' + data + told + b"}", media_type="application/json")


async def _of_selectors(asker: Asker, found: Awaitable[Found]) -> Found:
    try:
        return await asker.wait_for(found)
    except QueryError as error:
        raise (bad("match[]", str(error)) if error.kind == "bad_data" else error) from error


def _listing(found: Sequence[object], limit: int) -> Response:
    if limit and len(found) > limit:
        return success(found[:limit], [TRUNCATED])
    return success(found)
