"""An engine as a process that a test may kill: `python -m tests.fakes.token_engine NAME PORT`.

It has OpenAI's API as far as a switch needs it. A streamed answer has TOKENS events, one every STEP_S seconds, and each
says NAME. The answer to the prompt HELD goes on until a POST to /release. After a POST to /break every request is
answered with status 500.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiohttp import web

TOKENS = 4
STEP_S = 0.15
HELD = "go on until you are released"
HELD_STEP_S = 0.2


class TokenEngine:
    def __init__(self, name: str) -> None:
        self._name, self._broken = name, False
        self._released = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._list),
                web.post("/v1/chat/completions", self._chat),
                web.post("/break", self._break),
                web.post("/release", self._release),
            ]
        )
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text='vllm:num_requests_running{model_name="chat"} 0\n')

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "chat"}]})

    async def _break(self, request: web.Request) -> web.Response:
        self._broken = True
        return web.Response()

    async def _release(self, request: web.Request) -> web.Response:
        self._released.set()
        self._released = asyncio.Event()
        return web.Response()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if self._broken:
            return web.json_response({"error": {"message": "broken", "type": "server_error"}}, status=500)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        if asked["messages"][-1]["content"] == HELD:
            await self._hold(answer, asked["model"])
        for place in range(TOKENS):
            await self._say(answer, asked["model"], "stop" if place == TOKENS - 1 else None)
            await asyncio.sleep(STEP_S)
        await answer.write(b"data: [DONE]\n\n")
        return answer

    async def _hold(self, answer: web.StreamResponse, model: str) -> None:
        released = self._released
        while not released.is_set():
            await self._say(answer, model, None)
            await asyncio.sleep(HELD_STEP_S)

    async def _say(self, answer: web.StreamResponse, model: str, finish: str | None) -> None:
        choice = {"index": 0, "delta": {"content": self._name}, "finish_reason": finish}
        event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
        await answer.write(f"data: {json.dumps({**event, 'choices': [choice]})}\n\n".encode())


if __name__ == "__main__":
    web.run_app(TokenEngine(sys.argv[1]).app(), host="127.0.0.1", port=int(sys.argv[2]), print=None)
