"""The receiver of Prometheus's remote write 1.0: `POST /api/v1/write`. It answers in plain text, as Prometheus does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires, takes_body
from controlplane.api.bodies import read_body
from controlplane.api.problems import RETRY_AFTER_S
from controlplane.api.prometheus_document import PLAIN_ERROR
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import MalformedRequest, TooLarge, TooSlow, Unavailable
from controlplane.metrics.write.remote_write_codec import WriteLimits, WriteRequest, decode
from controlplane.pools import ThreadPool

PATH = "/api/v1/write"

router = APIRouter(route_class=GuardedRoute, tags=["prometheus"])

V1 = "prometheus.WriteRequest"

STORING = 4
"""Requests that are decoded or stored at a time. They hold at most STORING times `max_decoded_bytes` in memory."""
MIB = 2**20
READING_MIB = 64
"""MiB of bodies in memory at a time, each body rounded up to whole MiB. Prometheus's requests are below 1 MiB."""
WAITING = 256
"""Most requests that wait with their bodies unread: five Prometheus servers that catch up with 50 shards each."""
WAIT_S = 10.0
"""Longest wait for room, in seconds."""
INLINE_BYTES = 8 * 2**10
"""Largest body that is decoded in the event loop. Snappy compresses at most 21 to 1, so it takes some milliseconds."""

_log = logging.getLogger(__name__)


class Writers:
    """Bounds the memory of all write requests together. Further requests wait with their bodies unread.

    A writer that hangs keeps its room for reading, but no place for storing.
    """

    def __init__(self) -> None:
        self._storing = asyncio.Semaphore(STORING)
        self._mib = asyncio.Semaphore(READING_MIB)
        self._collecting = asyncio.Lock()
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def reading(self, declared: int) -> AsyncIterator[None]:
        """Hold room for a body of `declared` bytes. Raises Unavailable when too many wait, or after WAIT_S."""
        wanted, held = min(max(1, math.ceil(declared / MIB)), READING_MIB), 0
        if self._waiting >= WAITING:
            raise Unavailable(f"{WAITING} write requests are waiting already; send this one again later")
        self._waiting += 1
        try:
            try:
                async with _in_time(), self._collecting if wanted > 1 else contextlib.nullcontext():
                    # Only one request at a time collects more than 1 MiB: two could wait for each other for ever.
                    while held < wanted:
                        await self._mib.acquire()
                        held += 1
            finally:
                self._waiting -= 1
            yield
        finally:
            for _ in range(held):
                self._mib.release()

    @contextlib.asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        """Hold one of STORING places to decode and store. Raises Unavailable after WAIT_S."""
        async with _in_time():
            await self._storing.acquire()
        try:
            yield
        finally:
            self._storing.release()


@contextlib.asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(WAIT_S):
            yield
    except TimeoutError as error:
        raise Unavailable("other write requests are being stored; send this one again later") from error


_DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "description": "A prometheus.WriteRequest, compressed with snappy's block format.",
        "required": True,
        "content": {"application/x-protobuf": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(PATH, status_code=204, response_class=Response, openapi_extra=_DOCUMENT, responses=PLAIN_ERROR)
@requires(Role.OPERATOR)
@takes_body(0)
async def write(request: Request, services: ServicesDep, principal: PrincipalDep) -> Response:
    """Store the samples of a remote-write 1.0 request (snappy, protobuf)."""
    if elsewhere := services.config().metrics.query_url:
        # Queries go to metrics.query_url, so samples that are stored here would never be read.
        return _text(f"the samples are stored at metrics.query_url, {elsewhere}: write them there", 404)
    if wrong := _wrong_type(request):
        return _text(wrong, 415)
    try:
        return await _store(request, services, principal.token_id)
    except Unavailable as error:
        return _text(str(error), 503, {"Retry-After": str(RETRY_AFTER_S)})
    except TooSlow as error:
        return _text(str(error), 408)
    except TooLarge as error:
        return _text(f"{error}; the limits are metrics.receive in fleet.yaml", 413)
    except MalformedRequest as error:
        return _text(str(error), 400)


async def _store(request: Request, services: Services, token_id: str) -> Response:
    limits = _limits(services)
    writers: Writers = request.app.state.writers
    declared = request.headers.get("content-length", "")
    size = int(declared) if re.fullmatch(r"[0-9]{1,15}", declared) else limits.max_body_bytes
    async with writers.reading(min(size, limits.max_body_bytes)):
        body = await read_body(request.scope, request.receive, limits.max_body_bytes)
        if body is None:
            return Response(status_code=204)  # the client has disconnected
        async with writers.storing():
            report = await services.ingest.write(await _decoded(body, limits, services.pools.parsing))
    refused = report.refused.total()
    _log.debug("remote write by token %s: %d samples stored, %d refused", token_id, report.stored, refused)
    return _text(report.sentence, 400) if refused else Response(status_code=204)


async def _decoded(body: bytes, limits: WriteLimits, pool: ThreadPool) -> WriteRequest:
    if len(body) <= INLINE_BYTES:
        return decode(body, limits)
    return await pool.run(decode, body, limits)


def _limits(services: Services) -> WriteLimits:
    receive = services.config().metrics.receive
    return WriteLimits(
        max_body_bytes=receive.max_body_bytes,
        max_decoded_bytes=receive.max_decoded_bytes,
        max_series=receive.max_series,
        max_samples=receive.max_samples,
    )


def _wrong_type(request: Request) -> str:
    """Return why the headers are not those of remote write 1.0, or "". Absent headers pass, as in Prometheus."""
    given = request.headers.get("content-type", "").strip()
    kind, *parameters = (part.strip() for part in given.split(";"))
    if kind.lower() not in ("", "application/x-protobuf"):
        return f"expected application/x-protobuf as the first (media) part, got {given[:100]} content-type"
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "proto" and value.strip('"') != V1:
            return f"{value[:100]} protobuf message is not accepted by this server; only {V1} is acceptable"
    encoding = request.headers.get("content-encoding", "")
    if encoding.lower() not in ("", "snappy"):
        return f"{encoding[:100]} encoding (compression) is not accepted by this server; only snappy is acceptable"
    return ""


def _text(message: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{message}\n", status, headers)
