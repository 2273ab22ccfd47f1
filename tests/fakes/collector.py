"""An OpenTelemetry collector that remembers spans, over real HTTP. It misbehaves on request."""

from __future__ import annotations

import json
from typing import Any, Self

from aiohttp import web


class Collector:
    """Spans by name, in the order of their arrival."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.posts = 0
        self.replies: list[tuple[int, Any]] = []
        """Status and JSON of the next posts. Spans of a post that is not answered with 200 are not kept."""

    @property
    def spans(self) -> list[dict[str, Any]]:
        """All spans."""
        return [
            span
            for body in self.bodies
            for resource in body["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/traces", self._post)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _post(self, request: web.Request) -> web.Response:
        self.posts += 1
        assert request.content_type == "application/json"
        status, answer = self.replies.pop(0) if self.replies else (200, {})
        if status == 200:
            self.bodies.append(json.loads(await request.read()))
        return web.json_response(answer, status=status)
