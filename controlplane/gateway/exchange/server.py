"""The data path of one worker: listeners, and an Exchange for each request that comes through them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from controlplane.gateway.desired.document import Desired
from controlplane.gateway.exchange import faults
from controlplane.gateway.exchange.attempt import Attempt
from controlplane.gateway.exchange.engine import Engines
from controlplane.gateway.exchange.engine_words import EngineWords
from controlplane.gateway.exchange.exchange import Exchange
from controlplane.gateway.exchange.listening import Listeners
from controlplane.gateway.exchange.mirror import MOST_BYTES, MOST_OPEN, Mirror
from controlplane.gateway.recording import Counters, Recorder, Tracer
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, Outcome, RequestHead
from controlplane.gateway.seams import Choice, Chooser, Dialects, Limits
from controlplane.gateway.wire.client import ClientConnection
from controlplane.gateway.wire.fields import encoded, status_line
from controlplane.gateway.wire.pool import Pools
from controlplane.gateway.wire.settings import WireSettings
from controlplane.gateway.wire.timer import TimerWheel

IDLE_GRACE_S = 1.0
"""How long a drain lets resting connections live. A request that is on its way is served, and told that it was the
last; closing at once would lose it."""
MAX_ID = 128
"""Longest request id of a client that is kept."""


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
        self.words = EngineWords()
        self.stopping = False
        self.buffered = 0
        """Bytes of the bodies of all requests."""
        self._loop = asyncio.get_running_loop()
        self._pools = Pools(wheel, self._loop)
        self._engines = Engines(self._pools)
        self._listeners = Listeners(lambda: ClientConnection(self), settings.tls, settings.head_timeout_s, wheel)
        self._connections: set[ClientConnection] = set()
        self._exchanges: set[Exchange] = set()
        self._mirrors: set[Mirror] = set()
        self._copied = 0
        """Bytes of the bodies of all copies."""
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

    @property
    def clients(self) -> frozenset[ClientConnection]:
        """The connections of clients."""
        return frozenset(self._connections)

    def apply(self, desired: Desired) -> None:
        """Take what the data path itself needs of a desired state, which are the engines' addresses and credentials.

        Limits and chooser get it on their own. Connections to engines that are named no more are closed when they rest.
        """
        self._engines.apply(desired)
        self.words.keep({one.url for model in desired.models for version in model.versions for one in version.backends})

    async def start(self, listening: socket.socket) -> None:
        """Accept connections. `listening` is bound and listens already; it stays the caller's, who closes it.

        May be called for several sockets. Raises BadTls when the certificate or its key cannot be used.
        """
        await self._listeners.start(listening)

    async def stop(self, listening: socket.socket) -> None:
        """Accept no more connections on one socket. Those that were accepted go on."""
        await self._listeners.stop(listening)

    async def drain(self, timeout_s: float, stopped: Callable[[], None] = lambda: None) -> DrainReport:
        """Stop accepting, and return when all requests have ended, at the latest after `timeout_s` seconds.

        Connections that wait in the queues of the sockets are accepted first. Then `stopped` is called: nothing is
        accepted any more. Answers carry `connection: close`. Streams that are open at the deadline are told that they
        break off, and cut.
        """
        self._finished = 0
        await self._listeners.accept_waiting()
        await self._listeners.stop_all()
        stopped()
        self.stopping = True
        timers = (
            self.wheel.after(min(IDLE_GRACE_S, timeout_s), self._close_idle),
            self.wheel.after(timeout_s, self._overdue),
        )
        self._look_quiet()
        await self._quiet.wait()
        for timer in timers:
            timer.cancel()
        return DrainReport(self._finished, self._cut, self._tokens_cut)

    async def close(self) -> None:
        """End everything at once. Requests that are open are cut and recorded. A drain under way returns its report."""
        self.stopping = True
        await self._listeners.stop_all()
        self._cut_all()
        for mirror in tuple(self._mirrors):
            mirror.end(Outcome.ABORTED)
        for connection in tuple(self._connections):
            connection.transport.abort()
        self._pools.close()
        self._look_quiet()
        await self._quiet.wait()  # until the loop has told each connection that it is lost

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

    def send(
        self, attempt: Attempt, head: RequestHead, body: bytes, lines: bytes, traced: bytes, *, counted: bool = True
    ) -> bool:
        """Start an attempt. Returns False when the credentials for its engine cannot be read.

        `counted`: the recorder is told.
        """
        choice = attempt.choice
        engine = self._engines.of(choice.backend)
        target, body = self.dialects.outgoing(attempt.ask, head, body, choice.backend)
        request = engine.request(attempt.ask, head, target, len(body), lines, traced, self.wheel.now())
        if request is None:
            return False
        if counted:
            self.recorder.began(choice.model.name, choice.version, choice.backend.url)
            attempt.opened = True
        attempt.start(engine, request, body, headless=head.method == b"HEAD")
        return True

    def retried(self, attempt: Attempt, why: str) -> None:
        """Count an attempt that failed, or lost, and that another one follows."""
        if attempt.opened:
            attempt.opened = False
            choice = attempt.choice
            self.recorder.retried(choice.model.name, choice.version, choice.backend.url, why)

    def mirror(self, choice: Choice, ask: Ask, head: RequestHead, body: bytes, lines: bytes) -> None:
        """Send a copy of a request, unless copies take too much already: then it is aborted."""
        mirror = Mirror(self, choice, ask, len(body))
        self._mirrors.add(mirror)
        self._copied += len(body)
        if len(self._mirrors) > MOST_OPEN or self._copied > MOST_BYTES:
            mirror.end(Outcome.ABORTED)
        elif not self.send(mirror.attempt, head, body, lines, b"", counted=False):
            mirror.end(Outcome.ERROR)

    def mirrored(self, mirror: Mirror, outcome: Outcome) -> None:
        """Count the end of a copy."""
        self._mirrors.discard(mirror)
        self._copied -= mirror.buffered
        choice = mirror.attempt.choice
        if self.counters is not None:
            self.counters.mirrored(choice.model.name, choice.version, outcome)

    def count_hedged(self, choice: Choice) -> None:
        """Count a second attempt."""
        if self.counters is not None:
            self.counters.hedged(choice.model.name, choice.version)

    def count_cached(self, model: str, *, hit: bool) -> None:
        """Count a lookup in the response cache."""
        if self.counters is not None:
            self.counters.cached(model, hit=hit)

    # Within

    def _request_id(self, head: RequestHead) -> str:
        given = head.known.get(b"x-request-id")
        if given and len(given) <= MAX_ID and given.isascii() and (text := given.decode()).isprintable():
            return text
        return self._new_id()

    def _new_id(self) -> str:
        return f"{self._mint}{next(self._numbers):08x}"

    def _look_quiet(self) -> None:
        if self.stopping and not self._exchanges and not self._connections:
            self._quiet.set()

    def _overdue(self) -> None:
        """The deadline of a drain has passed."""
        self._cut_all()
        self._quiet.set()

    def _close_idle(self) -> None:
        for connection in tuple(self._connections):
            connection.close_idle()

    def _cut_one(self, exchange: Exchange) -> None:
        self._tokens_cut += exchange.cut()

    def _cut_all(self) -> None:
        for exchange in tuple(self._exchanges):
            faults.contained("cutting a request", exchange.request_id, self._cut_one, exchange)
            self._cut += 1
            self._finished -= 1
        self._close_idle()
