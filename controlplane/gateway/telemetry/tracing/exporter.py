"""Sends spans by OTLP over HTTP, in batches from a bounded queue. A collector that is away delays no request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from urllib.parse import urlsplit

import orjson

from controlplane.errors import Unavailable
from controlplane.gateway.backoff import Backoff
from controlplane.gateway.recording import Trace, UsageRecord
from controlplane.gateway.telemetry import families as f
from controlplane.gateway.telemetry.meters import Meters
from controlplane.gateway.telemetry.tracing.span import document, span_json
from controlplane.gateway.telemetry.tracing.tracer import OpenSpan
from controlplane.remote_client import Server

QUEUE_BYTES = 8 * 2**20
"""Most bytes of spans that wait: some 7,000 without content."""
BATCH_BYTES = 512 * 2**10
"""Bytes after which a batch is sent. OpenTelemetry's collector accepts 20 MB."""
PAUSE_S = 1.0
"""Longest wait of a span for others of its batch."""
TIMEOUT_S = 10.0
"""Time for one request, as in OpenTelemetry's own exporters."""
_BACKOFF_S = (1.0, 30.0)
_AGAIN = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may be repeated (OTLP specification, "Failures")."""

_log = logging.getLogger(__name__)


def endpoint(url: str) -> str:
    """Return the address for spans: a URL without a path gets OTLP's `/v1/traces`."""
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/v1/traces"


class SpanExporter:
    """`SpanSink` of the recorder. `run` sends until it is cancelled; `close` sends what is left."""

    def __init__(self, client: Server, meters: Meters, name: str, version: str) -> None:
        """`client` has the address of `endpoint`. `name` is the gateway's."""
        self._client, self._name, self._version = client, name, version
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._due = asyncio.Event()
        self._exported = meters.counter(f.SPANS, "exported")
        self._full = meters.counter(f.SPANS, "dropped_queue_full")
        self._refused = meters.counter(f.SPANS, "dropped_refused")
        self._fault = ""

    def end(self, trace: Trace, record: UsageRecord) -> None:
        """End a span. Never raises and never waits."""
        if not isinstance(trace, OpenSpan):
            return
        span = span_json(trace, record)
        if self._bytes + len(span) > QUEUE_BYTES:
            self._full.add()
            return
        self._waiting.append(span)
        self._bytes += len(span)
        if self._bytes >= BATCH_BYTES:
            self._due.set()

    async def run(self) -> None:
        """Send spans until cancelled. While the collector is away, one batch is sent again and others wait."""
        while True:
            await self._batch_is_due()
            batch = self._take()
            try:
                backoff = Backoff(*_BACKOFF_S, lambda: 1.0)
                while batch and not await self._send(batch):
                    pause_s = backoff.failed()
                    await asyncio.sleep(pause_s)
            except asyncio.CancelledError:
                self._waiting.extendleft(reversed(batch))  # for `close`
                raise

    async def close(self, within_s: float = 5.0) -> None:
        """Send what is left, each batch once."""
        try:
            async with asyncio.timeout(within_s):
                while batch := self._take():
                    await self._send(batch)
        except TimeoutError:
            _log.warning("traces: %d spans were not sent before the end", len(self._waiting))

    async def _batch_is_due(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_S):
                await self._due.wait()

    def _take(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._waiting and size < BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += len(batch[-1])
        self._bytes -= size
        if self._bytes < BATCH_BYTES:
            self._due.clear()
        return batch

    async def _send(self, batch: list[bytes]) -> bool:
        """Return whether the batch is done with: accepted, or refused for good."""
        body = document(self._name, self._version, batch)
        try:
            reply = await self._client.request(
                "POST", "", TIMEOUT_S, body=body, headers={"Content-Type": "application/json"}
            )
        except (TimeoutError, Unavailable) as error:
            self._say(f"traces wait: {error}")
            return False
        if reply.status in _AGAIN:
            self._say(f"traces wait: {self._client.name} answered {reply.status}")
            return False
        rejected = _rejected(reply.body) if reply.status == 200 else len(batch)
        self._refused.add(rejected)
        self._exported.add(len(batch) - rejected)
        if reply.status == 200:
            self._say("")
        else:
            self._say(f"traces are lost: {self._client.name} answered {reply.status}; check gateway.traces")
        return True

    def _say(self, fault: str) -> None:
        if fault and fault != self._fault:
            _log.warning("%s", fault)
        elif self._fault and not fault:
            _log.info("traces are sent again to %s", self._client.name)
        self._fault = fault


def _rejected(body: bytes) -> int:
    """Return the number of spans that a collector rejected although it answered 200. Its answer may be protobuf."""
    try:
        return int(orjson.loads(body)["partialSuccess"]["rejectedSpans"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 0
