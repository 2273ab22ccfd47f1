"""Connections of HTTP clients, and the bounds on their number: from one address, and in all.

Before its request is complete a connection holds at most one read of the socket. A body is read only while the
application requests it. After the answer the rest of a body is discarded, up to a limit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from controlplane.access.throttle import site_of
from controlplane.api.forwarding import Network, is_trusted, peer_address

MAX_CONNECTIONS = 2048
"""Most connections. Chosen: eight event streams for each of 40 people, 250 remote-write shards, and as much again."""
MAX_OF_ADDRESS = 512
"""Most connections from one address. Chosen: the 250 shards of five Prometheus servers behind it, and as much again."""
MAX_THROWN_AWAY = 2**20
"""Bytes of a body that are discarded after the answer: the largest body. Many clients read only after they have sent
all."""
WRITE_S = 30.0
"""Seconds after which a client that reads no byte of its answer is disconnected."""
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
)
_TOO_MANY = b"too many connections; try again\n"
_TOO_MANY_OF_ADDRESS = b"too many connections from this address; try again\n"


class Places:
    """Bounds the number of connections. A trusted proxy serves many clients, so only the total bound applies to it."""

    def __init__(
        self, most: int, of_address: int = MAX_OF_ADDRESS, trusted: Callable[[], Sequence[Network]] = tuple
    ) -> None:
        self._most, self._of_address, self._trusted = most, of_address, trusted
        self._taken: dict[Connection, str] = {}
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, connection: Connection, host: str) -> bytes:
        """Give the connection a place. Return b"", or the reason why it gets none.

        When all places are taken, the connection that has been idle longest is closed. So a client that opens
        connections and sends nothing cannot exclude others.
        """
        site = site_of(host)
        if self._of[site] >= self._of_address and not self._is_proxy(host):
            return _TOO_MANY_OF_ADDRESS
        if len(self._taken) >= self._most:
            idle = next((other for other in self._taken if other.idle), None)
            if idle is None:
                return _TOO_MANY
            self.leave(idle)
            idle.transport.close()
        self._taken[connection] = site
        self._of[site] += 1
        return b""

    def leave(self, connection: Connection) -> None:
        """Release the connection's place, if it has one."""
        site = self._taken.pop(connection, None)
        if site is None:
            return
        self._of[site] -= 1
        if not self._of[site]:
            del self._of[site]

    def _is_proxy(self, host: str) -> bool:
        address = peer_address(host)
        return address is not None and is_trusted(address, self._trusted())


class Connection(H11Protocol):
    """uvicorn's connection with bounds on the memory and the time that a client can use."""

    def __init__(self, *args: Any, places: Places, **options: Any) -> None:
        super().__init__(*args, **options)
        self._places = places
        self._thrown_away = 0
        self._watching: asyncio.TimerHandle | None = None
        self._unsent = 0

    @property
    def idle(self) -> bool:
        """Whether the connection has no complete request without an answer."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or answer 503 when there is none."""
        super().connection_made(transport)
        if why := self._places.take(self, self.client[0] if self.client else ""):
            transport.write(FULL % (len(why), why))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the place."""
        self._places.leave(self)
        if self._watching is not None:
            self._watching.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received bytes, but no more of a body than the application requests."""
        if self.transport.is_closing():
            return
        if self._answered_early:
            # The keep-alive timer of the answer still runs and bounds the time for this.
            self._thrown_away += len(data)
            if self._thrown_away > MAX_THROWN_AWAY:
                self.transport.close()
                return
            self.conn.receive_data(data)
            self.handle_events()
            return
        self._thrown_away = 0
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and cycle.more_body and cycle.body and not cycle.response_complete:
            self.flow.pause_reading()  # until the application's `receive`

    def on_response_complete(self) -> None:
        """Drop the bytes of an unread body: the connection may stay open for long, and would hold them."""
        self.cycle.body = bytearray()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Stop writing to a slow client, and disconnect it when it reads nothing for WRITE_S."""
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._watching = self.loop.call_later(WRITE_S, self._look_whether_it_reads)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    @property
    def _answered_early(self) -> bool:
        """Whether the request is answered before its body is complete."""
        return self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY

    def _look_whether_it_reads(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent >= self._unsent:
            self.transport.abort()
            return
        self._unsent = unsent
        self._watching = self.loop.call_later(WRITE_S, self._look_whether_it_reads)
