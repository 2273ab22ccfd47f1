"""A simulated vLLM server: OpenAI-compatible endpoints over a scheduler whose metrics follow the requests it serves."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from controlplane.demo.faults import SLOW_S, DemoFault
from controlplane.demo.vllm_metrics import VllmMetrics

VLLM_VERSION = "0.32.0"
MODEL = "chat"
SLOTS = 4
"""Requests in one batch (vLLM's --max-num-seqs, which is 256 and more in practice)."""
KV_TOKENS = 512
"""Size of the simulated KV cache, small enough that a demo's load is visible in it."""
PREFILL_S, PREFILL_TOKEN_S, DECODE_TOKEN_S = 0.03, 0.0005, 0.04
BLOCK = 16
"""Tokens of a prefix-cache block."""
_ANSWER = "the fleet is well and every engine answers in time so there is little left to say but this"
_MAX_BODY = 1 << 20


@dataclass(frozen=True)
class Question:
    """A chat completion request."""

    prompt: str
    max_tokens: int
    stream: bool
    include_usage: bool

    @classmethod
    def parse(cls, body: Any) -> Question:
        """Read an OpenAI chat completion body. Raises ValueError for a fault, and LookupError for an unknown model."""
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
            raise ValueError("messages: expected a list of messages")
        if body.get("model", MODEL) != MODEL:
            raise LookupError(f"The model `{body['model']}` does not exist.")
        if body.get("n", 1) != 1:
            raise ValueError("n: the simulated engine gives one answer a request")
        limit = body.get("max_completion_tokens", body.get("max_tokens", 64))
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"max_tokens: expected a whole number from 1 on, got {limit!r}")
        text = " ".join(str(m.get("content", "")) for m in body["messages"] if isinstance(m, dict))
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return cls(text, limit, bool(body.get("stream")), usage)

    @property
    def prompt_tokens(self) -> int:
        """One a word, and four for the chat template."""
        return len(self.prompt.split()) + 4


class VllmSimulator:
    """One version of the simulated model: `app()` is what a port serves."""

    def __init__(
        self,
        version: str,
        active: Callable[[], frozenset[DemoFault]],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`version` is `v1` or `v2`; the faults touch the second only. `clock` is monotonic seconds."""
        self.metrics = VllmMetrics(MODEL)
        self._version, self._active, self._clock, self._sleep = version, active, clock, sleep
        self._slots = asyncio.Semaphore(SLOTS)
        self._running = self._waiting = self._tokens_held = self._served = 0
        self._seen: OrderedDict[str, None] = OrderedDict()

    @property
    def busy(self) -> float:
        """Share of the batch's slots in use, 0 to 1."""
        return self._running / SLOTS

    def app(self) -> web.Application:
        """The HTTP application."""
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[self._outermost])
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.get("/v1/models", self._models),
                web.get("/health", self._health),
                web.get("/version", self._show_version),
                web.get("/metrics", self._metrics),
            ]
        )
        return app

    def _fault(self, fault: DemoFault) -> bool:
        return self._version == "v2" and fault in self._active()

    @web.middleware
    async def _outermost(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        """Drop connections while down; count /v1 requests as vLLM's HTTP instrumentation does."""
        if self._fault(DemoFault.DOWN_V2) and request.transport is not None:
            request.transport.abort()
            raise web.HTTPServiceUnavailable  # goes nowhere: the connection is closed
        started = self._clock()
        response: web.StreamResponse = await handler(request)
        if request.path.startswith("/v1/") and request.match_info.route.resource is not None:
            self.metrics.observe_http(
                request.match_info.route.resource.canonical, request.method, response.status, self._clock() - started
            )
        return response

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        try:
            question = Question.parse(await request.json())
        except LookupError as error:
            return _problem(404, "NotFoundError", str(error))
        except ValueError as error:
            return _problem(400, "BadRequestError", str(error))
        self._served += 1
        if self._fault(DemoFault.ERRORS_V2) and self._served % 2:
            self.metrics.finished["error"].inc()
            return _problem(500, "InternalServerError", "simulated engine failure (fault errors)")
        envelope = {"id": f"chatcmpl-{self._version}-{self._served}", "created": 0, "model": MODEL}
        if question.stream:
            return await self._stream(request, question, envelope)
        words = [word async for word in self._generate(question)]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(words)},
            "finish_reason": _finish(question, len(words)),
        }
        body = {**envelope, "object": "chat.completion", "choices": [choice], "usage": _usage(question, len(words))}
        return web.json_response(body)

    async def _stream(self, request: web.Request, question: Question, envelope: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        count = 0

        async def send(choices: list[dict[str, Any]], **more: Any) -> None:
            event = {**envelope, "object": "chat.completion.chunk", "choices": choices, **more}
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")

        async for word in self._generate(question):
            count += 1
            await send([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
        await send([{"index": 0, "delta": {}, "finish_reason": _finish(question, count)}])
        if question.include_usage:
            await send([], usage=_usage(question, count))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _generate(self, question: Question) -> AsyncIterator[str]:
        """Queue, prefill, decode. A client that leaves counts nowhere but in TTFT, as vLLM 0.32 does it."""
        arrived = self._clock()
        self._change(waiting=1)
        try:
            await self._slots.acquire()
        finally:
            self._change(waiting=-1)
        held = question.prompt_tokens
        self._change(running=1, tokens=held)
        try:
            scheduled = self._clock()
            self._count_prefix(question)
            slow = SLOW_S if self._fault(DemoFault.SLOW_V2) else 0.0
            await self._sleep(PREFILL_S + PREFILL_TOKEN_S * question.prompt_tokens + slow)
            first = last = self._clock()
            self.metrics.ttft.observe(first - arrived)
            self.metrics.prompt_tokens.inc(question.prompt_tokens)
            words = self._words(question)
            for number, word in enumerate(words):
                if number:
                    await self._sleep(DECODE_TOKEN_S)
                    now = self._clock()
                    self.metrics.itl.observe(now - last)
                    last = now
                self.metrics.generation_tokens.inc()
                held += 1
                self._change(tokens=1)
                yield word
            self._finished(question, len(words), arrived, scheduled, first)
        finally:
            self._slots.release()
            self._change(running=-1, tokens=-held)

    def _finished(self, question: Question, count: int, arrived: float, scheduled: float, first: float) -> None:
        now, metrics = self._clock(), self.metrics
        metrics.finished[_finish(question, count)].inc()
        metrics.e2e.observe(now - arrived)
        metrics.queue.observe(scheduled - arrived)
        metrics.inference.observe(now - scheduled)
        metrics.prefill.observe(first - scheduled)
        metrics.decode.observe(now - first)
        metrics.tpot.observe((now - first) / (count - 1) if count > 1 else 0.0)
        metrics.prompt_size.observe(question.prompt_tokens)
        metrics.answer_size.observe(count)

    def _change(self, *, running: int = 0, waiting: int = 0, tokens: int = 0) -> None:
        self._running += running
        self._waiting += waiting
        self._tokens_held += tokens
        self.metrics.running.set(self._running)
        self.metrics.waiting.set(self._waiting)
        self.metrics.waiting_capacity.set(self._waiting)
        self.metrics.kv_cache_usage.set(min(self._tokens_held / KV_TOKENS, 1.0))

    def _count_prefix(self, question: Question) -> None:
        self.metrics.prefix_queries.inc(question.prompt_tokens)
        if question.prompt in self._seen:
            self.metrics.prefix_hits.inc(question.prompt_tokens // BLOCK * BLOCK)
        self._seen[question.prompt] = None
        self._seen.move_to_end(question.prompt)
        if len(self._seen) > 256:
            self._seen.popitem(last=False)

    def _words(self, question: Question) -> list[str]:
        count = min(_length(question), question.max_tokens)
        return [f"{self._version}:", *(f" {word}" for word in _ANSWER.split())][:count]

    async def _models(self, request: web.Request) -> web.Response:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "simulated", "root": MODEL}
        return web.json_response({"object": "list", "data": [model]})

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _show_version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": f"{VLLM_VERSION}+simulated"})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self.metrics.exposition(), headers={"Content-Type": "text/plain; version=1.0.0; charset=utf-8"}
        )


def _length(question: Question) -> int:
    """Words of the whole answer: 8 to 18, by the question."""
    return 8 + len(question.prompt) % 11


def _finish(question: Question, count: int) -> str:
    return "stop" if count >= _length(question) else "length"


def _usage(question: Question, count: int) -> dict[str, int]:
    prompt = question.prompt_tokens
    return {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}


def _problem(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "code": status}}, status=status)
