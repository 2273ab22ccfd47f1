"""An exporter: serves one source's metrics over HTTP, for a control plane on another host."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from collectors.errors import CollectorError, ScrapeError
from collectors.target import Source

_EXAMPLE = "127.0.0.1:9401"
_TIMEOUT_S = 10.0
_HEADROOM_S = 0.5
"""Seconds before the scraper's own deadline, so that the answer arrives in time."""


def serve(
    listen: str,
    made: Callable[[], Source],
    on_listening: Callable[[str], None] = lambda _url: None,
    routes: Callable[[Source], Sequence[web.RouteDef]] = lambda _source: (),
) -> None:
    """Serve `/metrics`, `/healthz` and `routes` until SIGINT or SIGTERM.

    `made` makes the source within the event loop. `on_listening` gets the URL once connections are accepted. Raises
    ScrapeError when the source's first read fails, and CollectorError when `listen` cannot be bound.
    """
    asyncio.run(_serve(listen, made, on_listening, routes))


async def _serve(
    listen: str,
    made: Callable[[], Source],
    on_listening: Callable[[str], None],
    routes: Callable[[Source], Sequence[web.RouteDef]],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    source = made()
    await run_exporter(listen, source, stop, on_listening, routes(source))


async def run_exporter(
    listen: str,
    source: Source,
    stop: asyncio.Event,
    on_listening: Callable[[str], None],
    routes: Sequence[web.RouteDef] = (),
) -> None:
    """Serve `source` on `listen` (`host:port`; port 0: a free port) until `stop` is set, then close `source`.

    The source is read once first. Raises ScrapeError when that read fails, and CollectorError when `listen` cannot be
    bound.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(source.close)
        await source.read(_TIMEOUT_S)
        app = web.Application()
        app.add_routes([web.get("/metrics", _metrics_handler(source)), web.get("/healthz", _healthz), *routes])
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        host, port = _split(listen)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise CollectorError(f"cannot listen on {listen}: {error.strerror or error}") from error
        bound = runner.addresses[0]
        name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        on_listening(f"http://{name}:{bound[1]}/metrics")
        await stop.wait()


def _split(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise CollectorError(f"cannot listen on {listen!r}: expected host:port, such as {_EXAMPLE}")
    return host.strip("[]"), int(port)


def _metrics_handler(source: Source) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def metrics(request: web.Request) -> web.StreamResponse:
        try:
            body = await source.read(_deadline(request))
        except ScrapeError as error:
            return web.Response(status=503, text=f"{error}\n")
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return metrics


def _deadline(request: web.Request) -> float:
    try:
        said = float(request.headers.get("X-Prometheus-Scrape-Timeout-Seconds", _TIMEOUT_S))
    except ValueError:
        said = _TIMEOUT_S
    return min(max(said - _HEADROOM_S, _HEADROOM_S), _TIMEOUT_S)


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")
