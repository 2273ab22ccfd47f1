"""Fetching calendars over real HTTP, from servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from controlplane.app.rotas import fetching
from controlplane.app.rotas.fetching import Fetched, fetch
from controlplane.fleet.rota.calendar import CalendarError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/secret-of-the-calendar.ics", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/secret-of-the-calendar.ics"
    finally:
        await runner.cleanup()


async def test_a_calendar_and_then_that_it_has_not_changed() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"7"':
            return web.Response(status=304)
        return web.Response(text="\ufeffBEGIN", headers={"ETag": '"7"'})

    async with serving(answer) as url:
        assert await fetch(url) == Fetched("BEGIN", '"7"')
        assert await fetch(url, '"7"') == Fetched(None, '"7"')


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (lambda: web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), "a redirect, which is not"),
        (lambda: web.Response(status=404), "127.0.0.1 answered 404; check the address"),
        (lambda: web.Response(status=304), "127.0.0.1 answered 304"),
        (lambda: web.Response(body=b"x" * ((1 << 20) + 1)), "it is larger than 1 MiB"),
        (lambda: web.Response(body=b"\xff\xfe"), "it is not UTF-8 text"),
        (lambda: web.Response(body=b"a\0b"), "it holds a NUL"),
    ],
)
async def test_what_is_refused_without_the_address(response: Callable[[], web.Response], reason: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return response()

    async with serving(answer) as url:
        with pytest.raises(CalendarError, match=reason) as refused:
            await fetch(url)
    assert "secret" not in str(refused.value)


async def test_a_server_that_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.1)
    async with serving(answer) as url:
        with pytest.raises(CalendarError, match=r"no answer from 127\.0\.0\.1 within 0\.1 s"):
            await fetch(url)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "nonsense", "http://[::1"])
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(CalendarError, match="the address is not http:// or https:// with a host"):
        await fetch(url)


async def test_webcal_is_https() -> None:
    with pytest.raises(CalendarError, match=r"127\.0\.0\.1: "):
        await fetch("webcal://127.0.0.1:1/x.ics")
