"""`controlplane up`: one process that serves until a signal stops it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp

from controlplane.api.app import create_api
from controlplane.app.connections import Sweeper, allow_many_files
from controlplane.app.ending import HURRY_WITHIN_S, JOIN_WITHIN_S, STOP_WITHIN_S, Ending
from controlplane.app.http_connection import MAX_CONNECTIONS, Connection, Places
from controlplane.app.interpreter import set_up_interpreter
from controlplane.app.services import build_services
from controlplane.app.wiring import ControlPlane, running
from controlplane.clock.system import SystemClock
from controlplane.config.loader import LoadedFleet
from controlplane.errors import ConfigError
from controlplane.fleet.log_ring import LogRing
from controlplane.web.console import install_console

log = logging.getLogger(__name__)

BACKLOG = 2048
"""uvicorn's own default."""
MAX_HEAD_BYTES = 64 * 2**10
"""Largest head of a request: four times the longest accepted query string."""
STOP_S = 5
"""Seconds that requests may take to finish after the signal to stop."""
KEEP_ALIVE_S = 12
"""Seconds for which an idle connection stays open. A page of the console asks every 5 s: with uvicorn's 5 s, requests
met connections that were just closed."""


def serve(loaded: LoadedFleet, warnings: Sequence[str], listen: str, data_dir: Path, observe_only: bool) -> None:
    """Run until SIGTERM or Ctrl-C. SIGHUP reads fleet.yaml again.

    The caller has set up the log. `warnings` are the warnings about the file; they are logged. Raises ConfigError for a
    wrong address or folder, and another ControlPlaneError when a part cannot start.
    """
    ring = LogRing(SystemClock().now())
    logging.getLogger().addHandler(ring)
    most = min(MAX_CONNECTIONS, allow_many_files() // 2)
    set_up_interpreter()
    os.umask(0o077)  # database, token file and their folder are for this user alone
    for warning in warnings:
        log.warning("configuration: %s", warning)
    listener = bind(listen)
    with listener:
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"cannot be created: {error.strerror}", file=data_dir, field="--data-dir") from error

        folder = data_dir.resolve()
        host = listen.rpartition(":")[0]
        reached = f"{host}:{listener.getsockname()[1]}"

        async def main() -> None:
            token = os.environ.get("CP_BOOTSTRAP_TOKEN")
            async with running(loaded, folder, token, reached, observe_only=observe_only) as (plane, db):
                app = create_api(build_services(plane, db, host.strip("[]"), ring))
                install_console(app)
                plane.watch_itself(app.state.metrics.render)
                gc.collect()  # sets modules and the like aside before the first targets
                places = Places(most, trusted=lambda: plane.config().trusted_proxies)
                await _serve(app, plane, listener, places, ending)

        ending = Ending()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(main())
            finally:
                ending.within(JOIN_WITHIN_S)


def bind(listen: str) -> socket.socket:
    """Return a listening socket for host:port. Raises ConfigError, which names the address and the cure."""
    host, colon, port = listen.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"expected host:port such as 127.0.0.1:8080, got {listen!r}", field="--listen")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as until_bound:
            listener = until_bound.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            until_bound.pop_all()
    except OSError as error:
        raise ConfigError(f"{listen}: {error.strerror}; choose another address", field="--listen") from error
    if not _is_loopback(str(address[0])):
        log.warning("listening on %s without TLS: tokens are sent unencrypted; put a TLS proxy in front", listen)
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: event streams must end before the server waits for connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Stop serving. A second call does not wait for connections any more."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Renew the Date header once a second until `stop`. uvicorn's own loop wakes up ten times a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 1)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_config(app: ASGIApp, places: Places) -> uvicorn.Config:
    """Return the settings of the HTTP server."""
    # h11 and not httptools: httptools accepts a request's head of any size.
    connection = cast(type[asyncio.Protocol], functools.partial(Connection, places=places))
    return uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        proxy_headers=False,  # api/forwarding.py does it, by `trusted_proxies`
        http=connection,
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )


async def _serve(app: FastAPI, plane: ControlPlane, listener: socket.socket, places: Places, ending: Ending) -> None:
    server = _Server(server_config(app, places))
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def stop(name: str) -> None:
        log.info("stopping: %s", name)
        ending.within(HURRY_WITHIN_S if server.should_exit else STOP_WITHIN_S)
        server.stop()
        app.state.events.close()
        plane.gateways.feed.close()
        # A query may take longer than the server waits for its connections.
        plane.metrics.refuse_queries()

    def reload() -> None:
        task = loop.create_task(plane.reload_and_say())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number.name)
    loop.add_signal_handler(signal.SIGHUP, reload)
    log.info("listening on %s", ":".join(str(part) for part in listener.getsockname()[:2]))
    sweeping = loop.create_task(Sweeper().run(server.server_state.connections), name="connection sweeper")
    try:
        await server.serve(sockets=[listener])
    finally:
        sweeping.cancel()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
