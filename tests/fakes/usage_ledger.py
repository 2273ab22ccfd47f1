"""A control plane that takes usage, over real HTTP: it counts by its own simple rule, and misbehaves on request."""

from __future__ import annotations

from collections import Counter
from typing import Any, Self

from aiohttp import web


class Ledger:
    """Sums of all rows, and the sequence number up to which each journal is in them."""

    def __init__(self) -> None:
        self.cursors: dict[str, int] = {}
        self.tokens: Counter[str] = Counter()
        """Prompt tokens by tenant."""
        self.requests = 0
        self.posts = 0
        self.misbehave: list[str] = []
        """What is done with the next posts: `drop` (count, then break the connection), or a status to answer with."""
        self.headers: list[str] = []

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/cp/v1/gateways/usage", self.post)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.posts += 1
        self.headers.append(request.headers.get("Authorization", ""))
        fault = self.misbehave.pop(0) if self.misbehave else ""
        if fault.isdigit():
            return web.json_response({"detail": "not now"}, status=int(fault))
        sequence = self._count(await request.json())
        if fault == "drop":
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"acknowledged": sequence})

    def _count(self, body: dict[str, Any]) -> int:
        assert body["format"] == 1
        journal = f"{body['gateway']}/{body['journal']}"
        cursor = self.cursors.get(journal, 0)
        if body["first"] <= cursor:
            return cursor
        for row in body["rows"]:
            self.tokens[row["tenant"]] += row["prompt_tokens"]
            self.requests += row["requests"]
        self.cursors[journal] = int(body["first"] + body["length"] - 1)
        return self.cursors[journal]
