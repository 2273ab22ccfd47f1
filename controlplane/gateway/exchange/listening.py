"""The listeners of a worker: one for each socket that it was given, with the present certificate."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import ssl
from collections.abc import Callable

from controlplane.gateway.errors import BadTls
from controlplane.gateway.wire.settings import TlsFiles
from controlplane.gateway.wire.timer import TimerWheel, WheelTimer
from controlplane.gateway.wire.tls import Stamp, listener_context, listener_stamp

TLS_LOOK_S = 5.0
"""How often the files of the certificate are looked at, in seconds."""
BACKLOG = 4096
"""Connections that may wait to be accepted. The kernel's own limit (net.core.somaxconn) is as large or smaller."""
ACCEPT_S = 1.0
"""Longest time that a drain goes on accepting. A worker accepts some 10,000 connections in it."""

log = logging.getLogger("controlplane.gateway")


class Listeners:
    """Listeners by their sockets. The sockets stay their caller's."""

    def __init__(
        self, factory: Callable[[], asyncio.Protocol], tls: TlsFiles | None, handshake_s: float, wheel: TimerWheel
    ) -> None:
        """`handshake_s`: limit for the TLS handshake of a client, in seconds."""
        self._factory = factory
        self._files = tls
        self._wheel = wheel
        self._handshake_s = handshake_s
        self._listeners: dict[socket.socket, asyncio.Server] = {}
        self._tls: tuple[Stamp, ssl.SSLContext] | None = None
        self._looking: WheelTimer | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._told = ""
        """Why the files cannot be used, as it was logged last."""

    async def start(self, listening: socket.socket) -> None:
        """Accept connections on a socket. Raises BadTls."""
        if self._files is not None and self._tls is None:
            self._tls = _load(self._files)
            self._looking = self._wheel.after(TLS_LOOK_S, self._look)
        self._listeners[listening] = await self._listen(listening)

    async def stop(self, listening: socket.socket) -> None:
        """Accept no more connections on a socket."""
        listener = self._listeners.pop(listening, None)
        if listener is not None:
            listener.close()

    async def stop_all(self) -> None:
        """Accept no more connections."""
        for listening in tuple(self._listeners):
            await self.stop(listening)
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def accept_waiting(self) -> None:
        """Return when no connection waits in the queue of a socket, or when they keep coming for too long."""
        poll = select.poll()
        for listening in self._listeners:
            poll.register(listening, select.POLLIN)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ACCEPT_S
        while self._listeners and poll.poll(0) and loop.time() < deadline:  # noqa: ASYNC110 - the kernel has no event
            await asyncio.sleep(0)  # the loop accepts in between

    async def _listen(self, listening: socket.socket) -> asyncio.Server:
        context = None if self._tls is None else self._tls[1]
        # A copy of the descriptor: closing the listener must not close the caller's socket.
        return await asyncio.get_running_loop().create_server(
            self._factory,
            sock=listening.dup(),
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=None if context is None else self._handshake_s,
        )

    def _look(self) -> None:
        """Look whether a file of the certificate changed, and listen with the new one."""
        files = self._files
        assert files is not None
        assert self._tls is not None
        self._looking = self._wheel.after(TLS_LOOK_S, self._look)
        try:
            if listener_stamp(files) == self._tls[0]:
                self._told = ""
                return
            self._tls = _load(files)
        except (OSError, BadTls) as error:
            if str(error) != self._told:
                self._told = str(error)
                log.warning("the listener keeps its certificate, because the new one cannot be used: %s", error)
            return
        log.info("the listener has a new certificate: %s", files.cert_file)
        self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        for listening, old in tuple(self._listeners.items()):
            # Both accept for a moment, so that no connection is refused.
            renewed = await self._listen(listening)
            if listening in self._listeners:
                self._listeners[listening] = renewed
            else:
                renewed.close()
            old.close()


def _load(files: TlsFiles) -> tuple[Stamp, ssl.SSLContext]:
    try:
        return listener_stamp(files), listener_context(files)
    except OSError as error:
        raise BadTls(f"the certificate of the listener cannot be read: {error}") from error
