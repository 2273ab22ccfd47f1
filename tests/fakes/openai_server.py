"""A small engine with OpenAI's API over real HTTP: as much as a switch of versions asks of it. It can misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

from aiohttp import web


class OpenAiServer:
    """One server of one model on a free loopback port: `async with OpenAiServer("llama") as engine`."""

    def __init__(self, *models: str, version: str = "") -> None:
        self.models, self.version = list(models), version
        self.health, self.listing = 200, 200
        self.fault = ""
        """When set, every answer is an error in a stream that began with 200."""
        self.status = 200
        self.hangs = False
        self.release: asyncio.Event | None = None
        """When set, an answer waits for it."""
        self.cut = False
        """Whether a stream ends before its end."""
        self.says = "hi"
        """The text of each answer."""
        self.raw = b""
        """When set, the body of each answer."""
        self.drips = False
        """Whether a stream sends one byte a hundredth of a second, and never ends."""
        self.pace_s = 0.0
        """When set, a stream has as many tokens as `max_tokens` asks for, with so many seconds before each."""
        self.pace: Callable[[int], Awaitable[None]] | None = None
        """When set, it is awaited before each token instead, with the number of the stream's tokens."""
        self.headers: list[Mapping[str, str]] = []
        """Header fields of each question."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.metrics = 200
        """Status of /metrics, which has counters as vLLM writes them."""
        self._answered = 0
        self._stopped = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/v1/models", self._list),
                web.get("/metrics", self._metrics),
                web.post("/v1/{path:.+}", self._answer),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stopped.set()
        await self._runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=self.health)

    async def _list(self, request: web.Request) -> web.Response:
        if self.listing != 200:
            return web.Response(status=self.listing)
        return web.json_response({"object": "list", "data": [{"id": model} for model in self.models]})

    async def _metrics(self, request: web.Request) -> web.Response:
        lines = [
            "# TYPE vllm:request_success_total counter",
            *(
                f'vllm:request_success_total{{model_name="{model}",finished_reason="stop"}} {self._answered}'
                for model in self.models
            ),
            "# TYPE vllm:num_requests_running gauge",
            *(f'vllm:num_requests_running{{model_name="{m}"}} {len(self.asked) - self._answered}' for m in self.models),
        ]
        return web.Response(status=self.metrics, text="\n".join(lines) + "\n")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        answer = await self._answered_by(request)
        self._answered += 1
        return answer

    async def _answered_by(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append((request.match_info["path"], body))
        self.headers.append(request.headers)
        if self.hangs:
            await self._stopped.wait()
        if self.release is not None:
            await self.release.wait()
        if self.status != 200:
            return web.json_response({"error": {"message": "overloaded"}}, status=self.status)
        if self.raw:
            return web.Response(body=self.raw, content_type="application/json")
        if self.drips:
            return await self._drip(request)
        if not body.get("stream"):
            whole = {"choices": [{"message": {"content": self.says}, "finish_reason": "stop"}]}
            return web.json_response(whole, headers={"x-version": self.version})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "x-version": self.version})
        await answer.prepare(request)
        tokens = int(body.get("max_tokens", 1)) if self.pace_s or self.pace else 1
        events = [{"error": {"message": self.fault, "code": 503}}] if self.fault else _events(self.says, tokens)
        for event in events[: 1 if self.cut else None]:
            await (self.pace(tokens) if self.pace else asyncio.sleep(self.pace_s))
            await answer.write(f"data: {json.dumps(event)}\n\n".encode())
        if not self.cut:
            await answer.write(b"data: [DONE]\n\n")
        return answer

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        while not self._stopped.is_set():
            await answer.write(b":")
            await asyncio.sleep(0.01)
        return answer


def _events(text: str, tokens: int) -> list[dict[str, Any]]:
    return [
        *[{"choices": [{"delta": {"content": text}, "finish_reason": None}]}] * tokens,
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
