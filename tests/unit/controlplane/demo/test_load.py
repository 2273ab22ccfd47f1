from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controlplane.demo.load import Destination, LoadGenerator, NotLoopback, ask, main, require_loopback, stats_app
from controlplane.demo.tally import RequestFailed, StreamCut, Tally


def event(text: str, **more: Any) -> bytes:
    body = {"model_name": "model", "model_version": "1", "text_output": text, **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


class Misbehaving:
    """Speaks Triton's generate_stream, and breaks it as `mode` says."""

    def __init__(self) -> None:
        self.mode, self.arrived, self.release = "good", asyncio.Event(), asyncio.Event()
        self.bodies: list[Any] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.post("/v2/models/model/generate_stream", self.stream), web.get("/moved", self.stream)])
        return app

    async def stream(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.arrived.set()
        if self.mode == "500":
            return web.json_response({"error": "out of memory"}, status=500)
        if self.mode == "redirect":
            raise web.HTTPFound("http://127.0.0.1:1/elsewhere")
        if self.mode == "refuse" and request.transport is not None:
            request.transport.abort()
            raise web.HTTPServiceUnavailable
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event("v2:"))
        if self.mode == "reset" and request.transport is not None:
            request.transport.abort()
            return response
        if self.mode == "error event":
            await response.write(b'data: {"error": "CUDA error"}\n\n')
        elif self.mode == "garbage":
            await response.write(b"data: <html>\n\n")
        elif self.mode in ("hang", "slow"):
            await self.release.wait()
        if self.mode in ("good", "slow"):
            await response.write(event(" word", finish_reason="stop"))
        await response.write_eof()  # "cut" ends here: a well-formed body without the final marker
        return response


@pytest.fixture
async def server(serve: Any) -> Any:
    engine = Misbehaving()
    base = await serve(engine.app())
    destination = Destination("model", base + "/v2/models/model/generate_stream", "triton", clients=2, pause_s=0.01)
    yield engine, destination
    engine.release.set()


async def one(destination: Destination, timeout_s: float = 5.0) -> str:
    async with aiohttp.ClientSession() as session:
        return await ask(session, destination, 0, timeout_s)


async def test_a_whole_answer_tells_its_version(server: Any) -> None:
    engine, destination = server
    assert await one(destination) == "v2"
    assert engine.bodies == [{"text_input": "hello", "stream": True}]


@pytest.mark.parametrize(
    ("mode", "error", "says"),
    [
        ("500", RequestFailed, "HTTP 500: .*out of memory"),
        ("redirect", RequestFailed, "HTTP 302"),
        ("refuse", RequestFailed, "disconnected"),
        ("error event", RequestFailed, "error in the stream: CUDA error"),
        ("garbage", RequestFailed, "not an event of this protocol: .*<html>"),
        ("cut", StreamCut, "without its final marker after 'v2:'"),
        ("reset", StreamCut, "ClientPayloadError|ClientOSError|ServerDisconnectedError"),
    ],
)
async def test_whatever_is_not_a_whole_answer_is_failed_or_cut(
    server: Any, mode: str, error: type[Exception], says: str
) -> None:
    engine, destination = server
    engine.mode = mode
    with pytest.raises(error, match=says):
        await one(destination)


async def test_an_answer_that_hangs_fails_at_its_deadline(server: Any) -> None:
    engine, destination = server
    engine.mode = "hang"
    with pytest.raises(RequestFailed, match=r"no whole answer within 0\.05s"):
        await one(destination, timeout_s=0.05)


async def test_a_server_that_is_not_there_is_a_failed_request() -> None:
    with pytest.raises(RequestFailed, match="ClientConnectorError"):
        await one(Destination("model", "http://127.0.0.1:1/", "triton", 1, 0.0))


async def test_openai_streams_end_with_done(serve: Any) -> None:
    async def chat(request: web.Request) -> web.Response:
        chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("v1:", " hi")]
        lines = [b"data: " + json.dumps(c).encode() for c in chunks] + (
            [b"data: [DONE]"] if "whole" in request.path else []
        )
        return web.Response(body=b"\n\n".join(lines) + b"\n\n", content_type="text/event-stream")

    app = web.Application()
    app.add_routes([web.post("/whole", chat), web.post("/part", chat)])
    base = await serve(app)
    assert await one(Destination("chat", base + "/whole", "openai", 1, 0.0)) == "v1"
    with pytest.raises(StreamCut):
        await one(Destination("chat", base + "/part", "openai", 1, 0.0))


async def test_the_tally_adds_up_over_good_and_bad_answers(server: Any) -> None:
    engine, destination = server
    load = LoadGenerator([destination])
    running = asyncio.create_task(load.run())
    tally = load.tallies["model"]
    for mode, count in (("good", "ok"), ("500", "failed"), ("cut", "cut")):
        engine.mode = mode
        before = getattr(tally, count)
        while getattr(tally, count) < before + 3:  # noqa: ASYNC110 - the load's counts are what is waited for
            await asyncio.sleep(0.005)
    load.stop()
    await running
    assert tally.requests == len(engine.bodies)
    assert tally.in_flight == 0
    assert tally.versions == {"v2": tally.ok}
    assert len(tally.errors) == 5
    assert "out of memory" in tally.errors[0]


async def test_requests_in_flight_at_the_stop_are_finished_and_counted_as_ok(server: Any) -> None:
    engine, destination = server
    engine.mode = "slow"
    load = LoadGenerator([destination])
    running = asyncio.create_task(load.run())
    await engine.arrived.wait()
    load.stop()
    engine.release.set()
    await running
    tally = load.tallies["model"]
    assert (tally.requests, tally.ok, tally.in_flight) == (len(engine.bodies), len(engine.bodies), 0)


async def test_requests_that_outlast_the_drain_are_neither_failed_nor_cut(server: Any) -> None:
    engine, destination = server
    engine.mode = "hang"
    load = LoadGenerator([destination])
    running = asyncio.create_task(load.run(drain_s=0.02))
    await engine.arrived.wait()
    load.stop()
    await running
    assert load.tallies["model"].requests == 0
    assert load.tallies["model"].line() == "0 requests to model, 0 failed, 0 cut"


def test_the_line_names_the_versions_that_answered() -> None:
    tally = Tally("model")
    for version in ("v2", "v1", "v2"):
        tally.answered(version)
    tally.broken(StreamCut("x"))
    assert tally.line() == "4 requests to model, 0 failed, 1 cut (v1 1, v2 2)"


async def test_stats_answer_the_counts(serve: Any, time_: Any) -> None:
    load = LoadGenerator([Destination("model", "http://127.0.0.1:1/", "triton", 1, 0.0)])
    load.tallies["model"].answered("v1")
    url = await serve(stats_app(load, time_.clock))
    time_.now += 7
    async with aiohttp.ClientSession() as session, session.get(url + "/stats") as response:
        answer = await response.json()
    assert answer["uptime_seconds"] == 7
    assert answer["destinations"]["model"]["versions"] == {"v1": 1}
    assert answer["destinations"]["model"]["line"] == "1 requests to model, 0 failed, 0 cut (v1 1)"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/x", "http://[::1]:8000/x", "http://127.8.8.8/"])
def test_loopback_is_taken(url: str) -> None:
    assert require_loopback(url) == url


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://example.com/", "http://localhost.example.com/", "x", ""])
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(NotLoopback, match="loopback addresses only"):
        LoadGenerator([Destination("model", url, "triton", 1, 0.0)])


def test_the_process_refuses_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--chat", "http://10.1.2.3:80", "--stats-port", "0"]) == 1
    assert "10.1.2.3" in capsys.readouterr().err
