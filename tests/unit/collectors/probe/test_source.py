"""The probe, with real servers on loopback that answer, refuse, hang, close the connection, or send garbage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from collectors.catalogue.mapping import canonical_layout, missing
from collectors.catalogue.model import load_catalogue
from collectors.errors import CollectorError
from collectors.exposition.parser import parse
from collectors.probe.question import Question, Tensors
from collectors.probe.source import ProbeSource
from collectors.samples import labels_of
from collectors.target import Auth, Target

SLOW_S = 30.0
"""Deadline in seconds that no healthy answer reaches, even on a busy machine."""
HANG_S = 0.2

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(path: str, handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def speaking(answer: bytes, path: str = "/v1/chat/completions") -> AsyncIterator[str]:
    """Run a server that reads the head of a request, sends these bytes and closes the connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(script, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"


def streaming(*chunks: str, hang: bool = False, content_type: str = "text/event-stream") -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk.encode())
        if hang:
            await asyncio.Event().wait()
        return response

    return handler


def chat(text: str | None = None, finish: str | None = None, **delta: str) -> str:
    parts = {**delta, **({"content": text} if text is not None else {})}
    return f"data: {json.dumps({'choices': [{'delta': parts, 'finish_reason': finish}]})}\n\n"


DONE = "data: [DONE]\n\n"


class Read:
    """Numbers of one read."""

    def __init__(self, body: bytes) -> None:
        parsed = parse(body)
        self.values = {s: float(v) for s, v in zip(parsed.series, parsed.values, strict=True)}

    def get(self, name: str, **labels: str) -> float:
        wanted = labels.items()
        found = [v for s, v in self.values.items() if s.name == name and wanted <= dict(s.labels).items()]
        assert len(found) == 1, (name, labels, found)
        return found[0]

    @property
    def outcomes(self) -> dict[tuple[str, str], float]:
        """Return the counts that are not 0: (outcome, reason) -> count."""
        return {
            (dict(s.labels)["outcome"], dict(s.labels).get("reason", "")): v
            for s, v in self.values.items()
            if s.name == "llm_requests_total" and v
        }

    @property
    def counts(self) -> tuple[float, float]:
        """Return the number of requests in the duration histogram and in the first-token histogram."""
        return self.get("llm_request_duration_seconds_count"), self.get("llm_time_to_first_token_seconds_count")


async def ask(
    url: str, timeout_s: float = SLOW_S, times: int = 1, patience_s: float | None = None, **options: Any
) -> Read:
    options.setdefault("model", "chat")
    asked = {
        name: options.pop(name)
        for name in ("prompt", "max_tokens", "parameters", "tensors", "expect")
        if name in options
    }
    options.setdefault("questions", (Question(**asked),))
    probe = ProbeSource(url, timeout_s=patience_s, **options)
    try:
        for _ in range(times):
            body = await probe.read(timeout_s)
        return Read(body)
    finally:
        await probe.close()


async def test_a_streamed_chat_answer_is_a_success_with_both_latencies() -> None:
    chunks = (chat(role="assistant"), chat(""), chat("Hel"), chat("lo", "stop"), DONE)
    async with serving("/v1/chat/completions", streaming(*chunks)) as url:
        read = await ask(url, times=2)

    assert read.outcomes == {("success", ""): 2}
    assert read.counts == (2, 2)


async def test_latencies_are_the_clients_first_token_at_the_first_content() -> None:
    now = [0.0]
    content_timed = asyncio.Event()

    def clock() -> float:
        if now[0] == 0.6:
            content_timed.set()
        return now[0]

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        now[0] = 0.3
        await response.write(chat(role="assistant").encode())
        now[0] = 0.6
        await response.write(chat("Hi").encode())
        await content_timed.wait()
        now[0] = 2.0
        await response.write((chat(None, "stop") + DONE).encode())
        return response

    async with serving("/v1/chat/completions", handler) as url:
        read = await ask(url, clock=clock)

    assert read.get("llm_time_to_first_token_seconds_sum") == 0.6
    assert read.get("llm_request_duration_seconds_sum") == 2.0
    assert read.get("llm_request_duration_seconds_bucket", le="2.0") == 1
    assert read.get("llm_request_duration_seconds_bucket", le="1.5") == 0


async def test_what_is_asked_is_a_small_streamed_chat_with_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.update(body=await request.json(), authorization=request.headers["Authorization"])
        return await streaming(chat("x", "stop"), DONE)(request)

    monkeypatch.setenv("PROBE_KEY", "s3cret")
    async with serving("/v1/chat/completions", handler) as url:
        await ask(url, prompt="2+2?", parameters={"max_tokens": 3}, auth=Auth(credentials_env="PROBE_KEY"))

    assert asked == {
        "authorization": "Bearer s3cret",
        "body": {
            "model": "chat",
            "messages": [{"role": "user", "content": "2+2?"}],
            "stream": True,
            "max_tokens": 3,
            "temperature": 0,
        },
    }


@pytest.mark.parametrize(
    "chunks",
    [
        ('data: {"choices":[{"text":"Hi","finish_reason":"length"}]}\n\n', DONE),
        ('data: {"choices":[{"text":"Hi"}]}\r\n\r\n', ": keep-alive\r\n\r\n", "data: [DO", "NE]\r\n\r\n"),
        ('data: {"choices":[{"text":"Hi"}]}\n\n', 'data: {"choices":[],"usage":{}}\n\n', DONE),
    ],
    ids=["plain", "crlf, comments and split chunks", "usage"],
)
async def test_a_completions_endpoint_is_recognised_by_its_path(chunks: tuple[str, ...]) -> None:
    async with serving("/v1/completions", streaming(*chunks)) as url:
        assert (await ask(url)).outcomes == {("success", ""): 1}


async def test_a_reasoning_token_is_a_first_token() -> None:
    async with serving(
        "/v1/chat/completions", streaming(chat(reasoning_content="hm"), chat(None, "length"), DONE)
    ) as u:
        assert (await ask(u)).counts == (1, 1)


async def test_an_answer_in_one_piece_counts_too() -> None:
    whole = json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})
    async with serving("/v1/chat/completions", streaming(whole, content_type="application/json")) as url:
        assert (await ask(url)).outcomes == {("success", ""): 1}


async def test_triton_generate_stream_ends_with_its_connection() -> None:
    asked: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        return await streaming('data: {"text_output":""}\n\n', 'data: {"text_output":"v1"}\n\n')(request)

    async with serving("/v2/models/m/generate_stream", handler) as url:
        read = await ask(url, model="", parameters={"max_tokens": 5})

    assert asked == [{"text_input": "ping", "stream": True, "max_tokens": 5}]
    assert read.outcomes == {("success", ""): 1}


async def test_triton_generate_with_tensors_of_other_names() -> None:
    async with serving("/v2/models/m/generate", streaming('{"answer":"yes"}', content_type="application/json")) as url:
        assert (await ask(url, tensors=Tensors("question", "answer"))).outcomes == {("success", ""): 1}
        assert (await ask(url)).outcomes == {("error", "malformed"): 1}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (429, ("rejected", "http_429")),
        (503, ("rejected", "http_503")),
        (500, ("error", "http_500")),
        (404, ("invalid", "http_404")),
        (418, ("error", "http_418")),
    ],
)
async def test_a_status_is_an_outcome_without_a_latency(status: int, outcome: tuple[str, str]) -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "no"}, status=status)

    async with serving("/v1/chat/completions", handler) as url:
        read = await ask(url)

    assert read.outcomes == {outcome: 1}
    assert read.counts == (0, 0)


async def test_a_redirect_is_not_followed() -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/elsewhere")

    async with serving("/v1/chat/completions", handler) as url:
        assert (await ask(url)).outcomes == {("error", "http_307"): 1}


async def test_a_server_that_hangs_is_a_timeout_that_no_finite_bucket_forgives() -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving("/v1/chat/completions", handler) as url:
        read = await ask(url, timeout_s=HANG_S)

    assert read.outcomes == {("timeout", "timeout"): 1}
    for name in ("llm_request_duration_seconds", "llm_time_to_first_token_seconds"):
        assert read.get(f"{name}_bucket", le="30.0") == 0
        assert read.get(f"{name}_bucket", le="+Inf") == 1
    assert read.get("llm_request_duration_seconds_sum") >= HANG_S * 0.8


async def test_a_stream_that_stalls_has_its_first_token_but_is_a_timeout() -> None:
    async with serving("/v1/chat/completions", streaming(chat("Hi"), hang=True)) as url:
        read = await ask(url, timeout_s=2.0)

    assert read.outcomes == {("timeout", "timeout"): 1}
    assert read.get("llm_time_to_first_token_seconds_bucket", le="30.0") == 1
    assert read.get("llm_request_duration_seconds_bucket", le="30.0") == 0


async def test_the_probes_own_patience_may_be_shorter_than_the_scrapes() -> None:
    async with serving("/v1/chat/completions", streaming(hang=True)) as url:
        assert (await ask(url, SLOW_S, patience_s=0.05)).outcomes == {("timeout", "timeout"): 1}


async def test_a_stream_that_ends_before_it_is_done_was_cut() -> None:
    async with serving("/v1/chat/completions", streaming(chat("Hi"))) as url:
        read = await ask(url)

    assert read.outcomes == {("error", "cut"): 1}
    assert read.counts == (0, 1)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(text: str) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text.encode())


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (HEAD + chunked(chat("Hi")), ("error", "cut")),
        (HEAD + chunked(chat("Hi", "stop")), ("success", "")),
        (b"", ("error", "cut")),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ("error", "malformed")),
        (HEAD + chunked("data: {nonsense\n\n"), ("error", "malformed")),
        (HEAD + chunked("<html>\n\n"), ("error", "malformed")),
        (HEAD + chunked('data: {"object":"nothing"}\n\n'), ("error", "malformed")),
        (HEAD + chunked("data: [1]\n\n"), ("error", "malformed")),
        (HEAD + chunked('data: {"error":{"message":"out of memory"}}\n\n'), ("error", "stream_error")),
        (HEAD + chunked(chat(None, "stop") + DONE), ("error", "empty")),
        (HEAD + chunked("data: " + "x" * (2**20 + 1)), ("error", "malformed")),
    ],
    ids=[
        "cut mid-stream",
        "cut after the finish",
        "hung up without a word",
        "not HTTP",
        "not JSON",
        "not events",
        "not a completion",
        "not an object",
        "error in the stream",
        "no text",
        "endless",
    ],
)
async def test_misbehaviour_is_an_outcome_with_a_stable_reason(answer: bytes, outcome: tuple[str, str]) -> None:
    async with speaking(answer) as url:
        assert (await ask(url)).outcomes == {outcome: 1}


async def test_a_triton_stream_that_is_cut_is_not_taken_for_its_end() -> None:
    async with speaking(HEAD + chunked('data: {"text_output":"v1"}\n\n'), "/v2/models/m/generate_stream") as url:
        assert (await ask(url)).outcomes == {("error", "cut"): 1}


async def test_nobody_listening_is_connect() -> None:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()

    assert (await ask(f"http://127.0.0.1:{port}/v1/chat/completions")).outcomes == {("error", "connect"): 1}


async def test_credentials_that_cannot_be_read_are_the_reason() -> None:
    read = await ask("http://127.0.0.1:1/v1/chat/completions", auth=Auth(credentials_env="NO_SUCH_VARIABLE"))
    assert read.outcomes == {("error", "credentials"): 1}


async def test_a_recovery_is_counted_beside_the_failure() -> None:
    healthy = [False]

    async def handler(request: web.Request) -> web.StreamResponse:
        if not healthy[0]:
            return web.Response(status=500)
        return await streaming(chat("x", "stop"), DONE)(request)

    async with serving("/v1/chat/completions", handler) as url:
        probe = ProbeSource(url, model="chat")
        try:
            await probe.read(SLOW_S)
            healthy[0] = True
            read = Read(await probe.read(SLOW_S))
        finally:
            await probe.close()

    assert read.outcomes == {("error", "http_500"): 1, ("success", ""): 1}


async def test_every_outcome_is_exposed_at_zero_from_the_start_and_no_creation_time() -> None:
    async with serving("/v1/chat/completions", streaming(chat("x", "stop"), DONE)) as url:
        probe = ProbeSource(url, model="chat-7b")
        try:
            body = await probe.read(SLOW_S)
        finally:
            await probe.close()

    assert b"_created" not in body
    read = Read(body)
    assert read.get("llm_requests_total", outcome="timeout", reason="timeout", served_model="chat-7b") == 0
    assert read.get("llm_requests_total", outcome="rejected", reason="http_503", source="probe") == 0
    assert read.get("llm_requests_total", outcome="error", reason="http_500") == 0


async def test_what_the_catalogue_expects_of_a_probe_arrives() -> None:
    async with speaking(b"") as url:
        probe = ProbeSource(url, model="chat")
        try:
            parsed = parse(await probe.read(SLOW_S))
        finally:
            await probe.close()
    target = Target("probe", url, job="probe", instance="h:1", labels=labels_of({"model": "chat"}))

    layout = canonical_layout(parsed.series, parsed.metadata, target, load_catalogue())
    assert missing(layout, load_catalogue(), "probe") == ()
    assert {dict(s.labels)["model"] for s in layout.raw} == {"chat"}
    assert layout.metadata["llm_request_duration_seconds"].type == "histogram"


@pytest.mark.parametrize(
    ("url", "options", "complaint"),
    [
        ("http://h/ask", {"model": "m"}, "set protocol: to one of openai"),
        ("http://h/v1/chat/completions", {}, "set the model to ask"),
    ],
)
def test_a_probe_that_cannot_be_asked_is_refused_with_the_cure(url: str, options: Any, complaint: str) -> None:
    with pytest.raises(CollectorError, match=complaint):
        ProbeSource(url, **options)
