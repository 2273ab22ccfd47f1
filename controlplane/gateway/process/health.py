"""The pages of the admin listener: whether the gateway lives, whether it serves, and its metrics. No secrets."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import orjson

from controlplane import __version__
from controlplane.config.gateway import GatewaySection
from controlplane.gateway.process.admin import Answer, Page
from controlplane.gateway.process.shared import Shared
from controlplane.gateway.process.state.applying import Applying
from controlplane.gateway.process.state.sources import Source
from controlplane.gateway.process.workers import Workers
from controlplane.gateway.telemetry import families
from controlplane.gateway.telemetry.exposition import CONTENT_TYPE


class Health:
    """The state of a gateway, in its own words."""

    def __init__(
        self, section: GatewaySection, workers: Workers, applying: Applying, source: Source, shared: Shared
    ) -> None:
        self._section, self._workers, self._applying = section, workers, applying
        self._source, self._shared = source, shared
        self._began = time.monotonic()
        self._rendering = asyncio.Lock()
        self.draining = False

    def pages(self) -> dict[str, Page]:
        """Return the pages by path."""
        return {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics}

    def not_ready(self) -> list[str]:
        """Return why requests should go elsewhere, or []."""
        if self.draining:
            return ["it stops: open requests finish, and new ones are refused"]
        if self._applying.desired is None:
            why = f" ({self._source.fault})" if self._source.fault else ""
            return [f"no desired state yet: waiting for {self._source.name}{why}"]
        if not self._workers.accepting.is_set():
            return ["the workers do not accept connections yet", *self._troubles()]
        if not self._workers.serving():
            return ["no worker serves", *self._troubles()]
        return []

    def _troubles(self) -> list[str]:
        return [
            f"worker {place.number} {place.last_end}, {place.restarts.in_a_row} times in a row at once"
            for place in self._workers.places
            if place.restarts.in_a_row
        ]

    async def _healthz(self) -> Answer:
        """200 while the supervisor works. The body is for people."""
        desired, now = self._applying.desired, time.monotonic()
        body: dict[str, Any] = {
            "status": "draining" if self.draining else "ok",
            "name": self._section.effective_name,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(now - self._began, 1),
            "open_requests": self._shared.running(),
            "connections": self._workers.total("connections"),
            "workers": [
                {
                    "number": place.number,
                    "pid": place.child.pid if place.child else None,
                    "serves": place.child in self._workers.serving(),
                    "restarts": place.restarts.total,
                }
                for place in self._workers.places
            ],
            "troubles": self._troubles(),
            "desired": {
                "revision": desired.revision,
                "from": self._applying.origin,
                "in_force_s": round(now - self._applying.since, 1),
            }
            if desired
            else None,
            "source": {"name": self._source.name, "fault": self._source.fault or None},
        }
        return Answer(200, orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n", "application/json")

    async def _readyz(self) -> Answer:
        reasons = self.not_ready()
        return Answer(503 if reasons else 200, ("\n".join(reasons or ["ready"]) + "\n").encode())

    async def _metrics(self) -> Answer:
        meters = self._shared.meters
        meters.gauge(families.WORKERS).set(len(self._workers.serving()))
        meters.gauge(families.DESIRED_FAULT).set(bool(self._source.fault))
        async with self._rendering:  # the reader keeps what it has read
            return Answer(200, await asyncio.to_thread(self._shared.exposition.text), CONTENT_TYPE)
