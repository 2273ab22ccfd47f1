"""Requests that a version's server has counted, read from its metrics."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collectors.catalogue.model import load_catalogue
from controlplane.traffic.engines.counters import Counted, Counter
from tests.fakes.openai_server import OpenAiServer

COUNTER = Counter(load_catalogue(), "vllm", "llama", "v1")
TOTAL, RUNNING = "vllm:request_success_total", "vllm:num_requests_running"


async def counted(text: str, status: int = 200, counter: Counter = COUNTER) -> Counted | None:
    """Return what a server with this page has counted."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_get("/metrics", page)
    async with TestServer(app, host="127.0.0.1") as server:
        return await counter.read(str(server.make_url("")).rstrip("/"), 5.0)


def page(*lines: str) -> str:
    return "\n".join((f"# TYPE {TOTAL} counter", f"# TYPE {RUNNING} gauge", *lines, ""))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (page(f'{TOTAL}{{model_name="llama",finished_reason="stop"}} 7'), Counted(7, None)),
        (
            page(
                f'{TOTAL}{{model_name="llama",finished_reason="stop"}} 7',
                f'{TOTAL}{{model_name="llama",finished_reason="length"}} 3',
                f'{TOTAL}{{model_name="other",finished_reason="stop"}} 90',
                f'{RUNNING}{{model_name="llama"}} 2',
                f'{RUNNING}{{model_name="other"}} 40',
                'vllm:num_requests_waiting{model_name="llama"} 1',
            ),
            Counted(10, 3),
        ),
        (page(f'{TOTAL}{{model_name="llama",finished_reason="stop"}} NaN'), None),
        (page(f'{TOTAL}{{model_name="llama",finished_reason="stop"}} +Inf'), None),
        (
            page(f'{TOTAL}{{model_name="llama",finished_reason="stop"}} 7', f'{RUNNING}{{model_name="llama"}} NaN'),
            None,
        ),
        (page(f'{RUNNING}{{model_name="llama"}} 2'), None),
        ("<!DOCTYPE html><html><body>Sign in</body></html>", None),
        ("", None),
    ],
)
async def test_page(text: str, found: Counted | None) -> None:
    assert await counted(text) == found


@pytest.mark.parametrize("status", [204, 302, 401, 404, 500])
async def test_answer_that_is_no_page(status: int) -> None:
    assert await counted("" if status == 204 else page(), status) is None


async def test_other_model_is_counted_by_its_own_counter() -> None:
    text = page(
        f'{TOTAL}{{model_name="llama",finished_reason="stop"}} 7',
        f'{TOTAL}{{model_name="llama-2",finished_reason="stop"}} 9',
    )
    assert await counted(text, counter=replace(COUNTER, version="v2", served="llama-2")) == Counted(9, None)


async def test_page_that_hangs() -> None:
    over = asyncio.Event()

    async def page(request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/metrics", page)
    async with TestServer(app, host="127.0.0.1") as server:
        assert await COUNTER.read(str(server.make_url("")).rstrip("/"), 0.1) is None
        over.set()


async def test_server_that_is_gone() -> None:
    async with OpenAiServer("llama") as engine:
        assert await COUNTER.read(engine.url, 5.0) == Counted(0, 0)
    assert await COUNTER.read(engine.url, 5.0) is None
    assert await COUNTER.read("http://[::1", 5.0) is None
