"""The traces of one worker: its tracer and its exporter.

Imported only where spans are exported: the HTTP client takes longer to import than everything else of a worker.
"""

from __future__ import annotations

import asyncio
import contextlib

from controlplane.gateway.telemetry.meters import Meters
from controlplane.gateway.telemetry.tracing.exporter import SpanExporter, endpoint
from controlplane.gateway.telemetry.tracing.settings import TraceSettings
from controlplane.gateway.telemetry.tracing.tracer import RequestTracer
from controlplane.remote_client import RemoteClient

_REPLY_BYTES = 64 * 2**10


class Tracing:
    """Begins spans by `tracer`, and exports what is given to `exporter`, until it is closed."""

    def __init__(self, settings: TraceSettings, meters: Meters, loop: asyncio.AbstractEventLoop) -> None:
        self.tracer = RequestTracer(settings.sample, content=settings.content)
        self._client = RemoteClient(endpoint(settings.url), settings.auth, max_reply_bytes=_REPLY_BYTES)
        self.exporter = SpanExporter(self._client, meters, settings.gateway, settings.release)
        self._running = loop.create_task(self.exporter.run(), name="traces")

    async def close(self) -> None:
        """Send what is left, for some seconds."""
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        await self.exporter.close()
        await self._client.close()
