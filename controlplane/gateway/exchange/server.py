"""The data path of one worker: listeners, and an Exchange for each request that comes through them."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import ssl
from dataclasses import dataclass
from itertools import count

from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadTls
from controlplane.gateway.exchange import faults
from controlplane.gateway.exchange.exchange import Exchange
from controlplane.gateway.exchange.route import Routes
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Caller, RequestHead
from controlplane.gateway.seams import Chooser, Counters, Dialects, Limits, Recorder, Tracer
from controlplane.gateway.wire.client import ClientConnection
from controlplane.gateway.wire.fields import encoded, status_line
from controlplane.gateway.wire.pool import Pools
from controlplane.gateway.wire.settings import WireSettings
from controlplane.gateway.wire.timer import TimerWheel, WheelTimer
from controlplane.gateway.wire.tls import Stamp, listener_context, listener_stamp

TLS_LOOK_S = 5.0
"""How often the files of the listener's certificate are looked at, in seconds."""
IDLE_GRACE_S = 1.0
"""How long a drain lets resting connections live. A request that is on its way is served, and told that it was the last;
closing at once would lose it."""
MAX_ID = 128
"""Longest request id of a client that is kept."""

log = logging.getLogger("controlplane.gateway")


@dataclass(frozen=True, slots=True)
class DrainReport:
    """The end of a drain."""

    finished: int
    """Requests that were open at its begin or came during it, and ended by themselves."""
    cut: int
    """Requests that the deadline ended."""
    tokens_cut: int
    """Tokens that were sent in the answers that were cut."""


class GatewayServer:
    """Accepts connections on listening sockets and serves them. All calls are made on its event loop."""

    def __init__(
        self,
        dialects: Dialects,
        limits: Limits,
        chooser: Chooser,
        recorder: Recorder,
        settings: WireSettings,
        wheel: TimerWheel,
        *,
        created: int = 0,
        counters: Counters | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`wheel` is the worker's, shared with the chooser. `created`: unix seconds for lists of models, which must be
        the same in all workers."""
        self.dialects = dialects
        self.limits = limits
        self.chooser = chooser
        self.recorder = recorder
        self.settings = settings
        self.wheel = wheel
        self.created = created
        self.counters = counters
        self.tracer = tracer
        self.stopping = False
        self.buffered = 0
        """Bytes of the bodies of all requests."""
        self._loop = asyncio.get_running_loop()
        self._pools = Pools(wheel, self._loop)
        self.routes = Routes(self._pools)
        self._names: tuple[tuple[str, str], ...] = ()
        """Each name that a client may ask, with its model's own name."""
        self._connections: set[ClientConnection] = set()
        self._exchanges: set[Exchange] = set()
        self._listeners: dict[socket.socket, asyncio.Server] = {}
        self._tls: tuple[Stamp, ssl.SSLContext] | None = None
        self._tls_timer: WheelTimer | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._mint = os.urandom(8).hex()
        self._numbers = count(1)
        self._quiet: asyncio.Event = asyncio.Event()
        """Set while a drain waits and no request and no connection is left."""
        self._finished = self._cut = self._tokens_cut = 0

    @property
    def open_requests(self) -> int:
        """Requests that have begun and not ended, the queue included."""
        return len(self._exchanges)

    @property
    def connections(self) -> int:
        """Connections of clients."""
        return len(self._connections)

    def apply(self, desired: Desired) -> None:
        """Take what the data path itself needs of a desired state: names of models, credentials of backends. Limits and
        chooser get it on their own. Connections to backends that are named no more are closed when they are idle."""
        self._names = tuple((name, model.name) for model in desired.models for name in (model.name, *model.aliases))
        self.routes.apply(desired)

    async def start(self, listening: socket.socket) -> None:
        """Accept connections. `listening` is bound and listens already; it stays the caller's, who closes it.

        May be called for several sockets. Raises BadTls when the certificate or its key cannot be used.
        """
        if (files := self.settings.tls) is not None and self._tls is None:
            context = listener_context(files)
            try:
                self._tls = listener_stamp(files), context
            except OSError as error:
                raise BadTls(f"the certificate of the listener cannot be read: {error}") from error
            self._tls_timer = self.wheel.after(TLS_LOOK_S, self._look_at_tls)
        self._listeners[listening] = await self._listen(listening)

    async def stop(self, listening: socket.socket) -> None:
        """Accept no more connections on one socket. Those that were accepted go on."""
        listener = self._listeners.pop(listening, None)
        if listener is not None:
            listener.close()

    async def drain(self, timeout_s: float) -> DrainReport:
        """Stop accepting, and return when all requests have ended, at the latest after `timeout_s` seconds.

        Connections that wait in the queues of the sockets are accepted first. Answers carry `connection: close`. Streams
        that are open at the deadline are told that they break off, and cut.
        """
        deadline = self._loop.time() + timeout_s
        await self._accept_waiting(deadline)
        for listening in tuple(self._listeners):
            await self.stop(listening)
        self._stop_tls()
        self._finished = 0
        self.stopping = True
        grace = self.wheel.after(min(IDLE_GRACE_S, timeout_s), self._close_idle)
        self._look_quiet()
        try:
            async with asyncio.timeout_at(deadline):
                await self._quiet.wait()
        except TimeoutError:
            self._cut_all()
        finally:
            grace.cancel()
        return DrainReport(self._finished, self._cut, self._tokens_cut)

    async def close(self) -> None:
        """End everything at once. Requests that are open are cut and recorded. A drain under way returns its report."""
        self.stopping = True
        for listening in tuple(self._listeners):
            await self.stop(listening)
        self._stop_tls()
        self._cut_all()
        for connection in tuple(self._connections):
            connection.transport.abort()
        self._pools.close()
        while self._connections:
            await asyncio.sleep(0)  # the loop tells each connection that it is lost
        self._quiet.set()

    # What connections ask

    def opened(self, connection: ClientConnection) -> Refusal | None:
        """Count a connection, or refuse it."""
        self._connections.add(connection)
        if self.counters is not None:
            self.counters.connections(1)
        if len(self._connections) > self.settings.max_connections:
            return Refusal(RefusalKind.NO_CAPACITY, "The gateway has as many connections as it may", retry_after_s=1.0)
        return None

    def closed(self, connection: ClientConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if self.counters is not None:
            self.counters.connections(-1)
        self._look_quiet()

    def begin(self, connection: ClientConnection, head: RequestHead) -> Exchange | None:
        """Begin a request. None: it was answered at once."""
        exchange = Exchange(self, connection, head, self._request_id(head))
        self._exchanges.add(exchange)
        exchange.begin()
        return None if exchange.ended else exchange

    def refused(self, refusal: Refusal) -> bytes:
        """Return a whole answer for a request whose head could not be read."""
        request_id = self._new_id()
        status, fields, body = self.dialects.refuse(None, refusal, request_id)
        own: list[tuple[bytes, bytes]] = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        if not any(name == b"x-request-id" for name, _ in fields):
            own.append((b"x-request-id", request_id.encode()))
        return b"".join((status_line(status), encoded(fields), encoded(own), b"\r\n", body))

    # What requests ask

    def ended(self, exchange: Exchange) -> None:
        """Forget a request."""
        self._exchanges.discard(exchange)
        self._finished += 1

    def names(self, caller: Caller) -> list[str]:
        """Return the names of models that a caller may ask."""
        allowed = caller.models
        return [name for name, model in self._names if allowed is None or model in allowed or name in allowed]

    # Within

    def _request_id(self, head: RequestHead) -> str:
        given = head.known.get(b"x-request-id")
        if given and len(given) <= MAX_ID and given.isascii() and (text := given.decode()).isprintable():
            return text
        return self._new_id()

    def _new_id(self) -> str:
        return f"{self._mint}{next(self._numbers):08x}"

    async def _listen(self, listening: socket.socket) -> asyncio.Server:
        context = None if self._tls is None else self._tls[1]
        # A copy of the descriptor: closing the listener must not close the caller's socket.
        return await self._loop.create_server(lambda: ClientConnection(self), sock=listening.dup(), ssl=context)

    async def _accept_waiting(self, deadline: float) -> None:
        """Let the loop accept until no connection waits: closing a listener would not serve them."""
        poll = select.poll()
        for listening in self._listeners:
            poll.register(listening, select.POLLIN)
        while self._listeners and poll.poll(0) and self._loop.time() < deadline:
            await asyncio.sleep(0)

    def _look_quiet(self) -> None:
        if self.stopping and not self._exchanges and not self._connections:
            self._quiet.set()

    def _close_idle(self) -> None:
        for connection in tuple(self._connections):
            connection.close_idle()

    def _cut_all(self) -> None:
        for exchange in tuple(self._exchanges):
            try:
                self._tokens_cut += exchange.cut()
            except Exception as error:  # the boundary of one request: the others must be cut too
                faults.report("cutting a request", exchange.request_id, error)
            self._cut += 1
            self._finished -= 1
        self._close_idle()

    def _stop_tls(self) -> None:
        if self._tls_timer is not None:
            self._tls_timer.cancel()
            self._tls_timer = None

    def _look_at_tls(self) -> None:
        """Look whether a file of the certificate changed, and listen with the new one."""
        files = self.settings.tls
        assert files is not None
        assert self._tls is not None
        self._tls_timer = self.wheel.after(TLS_LOOK_S, self._look_at_tls)
        try:
            now = listener_stamp(files)
            if now == self._tls[0]:
                return
            self._tls = now, listener_context(files)
        except (OSError, BadTls) as error:
            log.warning("the listener keeps its certificate: the new one cannot be used: %s", error)
            return
        log.info("the listener has a new certificate")
        self._renewing = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        for listening, old in tuple(self._listeners.items()):
            # Both accept for a moment, so that no connection is refused.
            renewed = await self._listen(listening)
            if listening in self._listeners:
                self._listeners[listening] = renewed
            else:
                renewed.close()
            old.close()
