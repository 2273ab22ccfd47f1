"""Connections to the engines, kept between requests.

Engines close idle connections (uvicorn after 5 s), and a request that crosses with the close is lost. So a connection
rests for less time than any engine allows, and the freshest is used first.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from urllib.parse import urlsplit

from controlplane.gateway.wire.timer import TimerWheel, WheelTimer
from controlplane.gateway.wire.tls import SYSTEM, Trust, UpstreamTls
from controlplane.gateway.wire.upstream import KnownAnswers, UpstreamConnection

MAX_IDLE_S = 4.0
"""Below the 5 s of uvicorn, which serves vLLM, SGLang and others."""
MAX_IDLE = 512
"""Most resting connections to one engine."""
SWEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an engine listens, and how its certificate is checked."""

    host: str
    port: int
    secure: bool = False
    trust: Trust = SYSTEM

    @classmethod
    def of(cls, url: str, trust: Trust = SYSTEM) -> Origin:
        """Return the origin of a URL such as http://10.0.0.1:8000/base."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        return cls(parts.hostname or "", parts.port or (443 if secure else 80), secure, trust)


class Connecting:
    """A connection that is being made. It calls one of two functions, once, unless it is cancelled."""

    __slots__ = ("_failed", "_made", "_over", "_task", "_timeout_s", "_timer")

    def __init__(
        self,
        connect: Coroutine[None, None, UpstreamConnection],
        timeout_s: float,
        wheel: TimerWheel,
        made: Callable[[UpstreamConnection], None],
        failed: Callable[[str], None],
    ) -> None:
        self._made = made
        self._failed = failed
        self._over = False
        self._timeout_s = timeout_s
        self._timer = wheel.after(timeout_s, self._late)
        self._task = asyncio.get_running_loop().create_task(connect)
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        """Give up. Nobody is called, also when the task is done and its callback is on the way: that one cannot be
        taken back, and the caller has ended."""
        self._over = True
        self._timer.cancel()
        self._task.cancel()

    def _late(self) -> None:
        self.cancel()
        self._failed(f"no connection within {self._timeout_s:g} seconds")

    def _done(self, task: asyncio.Task[UpstreamConnection]) -> None:
        self._timer.cancel()
        if self._over:
            _abandon(task)
            return
        if task.cancelled():  # the loop ends
            return
        if (error := task.exception()) is None:
            connection = task.result()
            if connection.transport.is_closing():
                # Its end came before this callback. Nothing was sent on it, so another engine may be asked.
                self._failed("the connection was closed as soon as it was made")
            else:
                self._made(connection)
        elif isinstance(error, (OSError, ValueError)):  # an SSLError is an OSError
            self._failed(_words(error))
        else:
            raise error


def _abandon(task: asyncio.Task[UpstreamConnection]) -> None:
    """Close a connection that was made although nobody waits for it any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().transport.abort()


class Pool:
    """Connections to one origin."""

    __slots__ = ("_closed", "_idle", "_known", "_loop", "_origin", "_sweeping", "_tls", "_wheel")

    def __init__(self, origin: Origin, tls: UpstreamTls, wheel: TimerWheel, loop: asyncio.AbstractEventLoop) -> None:
        self._origin = origin
        self._tls = tls
        self._wheel = wheel
        self._loop = loop
        self._idle: deque[UpstreamConnection] = deque()
        """The longest resting one first."""
        self._known = KnownAnswers()
        self._sweeping: WheelTimer | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """Number of resting connections."""
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """Return the freshest resting connection, or None."""
        idle = self._idle
        if not idle:
            return None
        connection = idle.pop()
        if self._wheel.now() - connection.idle_since >= MAX_IDLE_S or connection.transport.is_closing():
            # The freshest is too old, so all are.
            self._discard(connection)
            self.close_idle()
            return None
        connection.reused = True
        return connection

    def connect(
        self, timeout_s: float, made: Callable[[UpstreamConnection], None], failed: Callable[[str], None]
    ) -> Connecting:
        """Make a new connection, and call one of the two, unless it is cancelled before."""
        return Connecting(self._connect(), timeout_s, self._wheel, made, failed)

    def close_idle(self) -> None:
        """Close all resting connections."""
        while self._idle:
            self._discard(self._idle.popleft())

    def close(self) -> None:
        """Close all resting connections, and every other one after its answer."""
        self._closed = True
        self.close_idle()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    async def _connect(self) -> UpstreamConnection:
        origin = self._origin
        context = self._tls.context(origin.trust) if origin.secure else None
        _, connection = await self._loop.create_connection(
            lambda: UpstreamConnection(self._wheel, self._released, self._known),
            origin.host,
            origin.port,
            ssl=context,
            server_hostname=(origin.trust.server_name or origin.host) if context is not None else None,
        )
        return connection

    def _released(self, connection: UpstreamConnection, reusable: bool) -> None:
        if not reusable:
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)
            return
        if self._closed or len(self._idle) >= MAX_IDLE:
            self._discard(connection)
            return
        connection.idle_since = self._wheel.now()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = self._wheel.after(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        oldest = self._wheel.now() - MAX_IDLE_S
        idle = self._idle
        while idle and idle[0].idle_since <= oldest:
            self._discard(idle.popleft())
        self._sweeping = self._wheel.after(SWEEP_S, self._sweep) if idle else None

    @staticmethod
    def _discard(connection: UpstreamConnection) -> None:
        connection.deadline.close()
        connection.transport.close()


def _words(error: Exception) -> str:
    """Return why a connection failed, without the address, which the caller names."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed: {error.reason or error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


class Pools:
    """The pools of a worker, by origin."""

    def __init__(self, wheel: TimerWheel, loop: asyncio.AbstractEventLoop) -> None:
        self._wheel = wheel
        self._loop = loop
        self._tls = UpstreamTls()
        self._pools: dict[Origin, Pool] = {}

    def of(self, origin: Origin) -> Pool:
        """Return the pool of an origin."""
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(origin, self._tls, self._wheel, self._loop)
        return pool

    def keep(self, origins: set[Origin]) -> None:
        """Close the pools of all other origins. Their requests under way end as they would."""
        for origin in self._pools.keys() - origins:
            self._pools.pop(origin).close()

    def close(self) -> None:
        """Close all pools."""
        self.keep(set())
