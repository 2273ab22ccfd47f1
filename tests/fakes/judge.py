"""A judge behind OpenAI's API over real HTTP. It says what a test wrote down, late or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class FakeJudge:
    """`says` is the text of each judgement; with `status` other than 200, of the error."""

    url: str = ""
    says: str = "PASS"
    status: int = 200
    hangs: bool = False
    raw: bytes = b""
    """When set, the body of each answer."""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """(authorization, body) of each request."""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.headers.get("Authorization", ""), await request.json()))
        if self.hangs:
            await self.stopped.wait()
        if self.raw:
            return web.Response(body=self.raw, content_type="application/json")
        if self.status != 200:
            return web.json_response({"error": {"message": self.says}}, status=self.status)
        return web.json_response({"choices": [{"message": {"content": self.says}, "finish_reason": "stop"}]})


@asynccontextmanager
async def fake_judge() -> AsyncIterator[FakeJudge]:
    """Run a judge on a free port of loopback until the block ends."""
    judge = FakeJudge()
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", judge.answer)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    judge.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield judge
    finally:
        judge.stopped.set()
        await runner.cleanup()
