"""One client's connection, and how many there may be: of one address, and in all.

What a connection can hold before its request is known is one read of the socket; a body is read on only while the
application asks for it, and what is left of it after the answer is thrown away, within bounds.
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
"""In all: eight event streams each for 40 people, 250 shards of Prometheus servers that write, and as much again."""
MAX_OF_ADDRESS = 512
"""Of one address: the 250 shards of five Prometheus servers behind one, and as much again."""
MAX_THROWN_AWAY = 2**20
"""Of a body that is left after the answer, as much as a body may have: many clients read only once they have sent."""
WRITE_S = 30.0
"""A client that takes not one byte of its answer for so long has gone."""
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
)
_TOO_MANY = b"too many connections; try again\n"
_TOO_MANY_OF_ADDRESS = b"too many connections from this address; try again\n"


class Places:
    """Bounds connections. A trusted proxy stands for many clients: only the bound of all holds for it."""

    def __init__(
        self, most: int, of_address: int = MAX_OF_ADDRESS, trusted: Callable[[], Sequence[Network]] = tuple
    ) -> None:
        self._most, self._of_address, self._trusted = most, of_address, trusted
        self._taken: dict[Connection, str] = {}
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, connection: Connection, host: str) -> bytes:
        """Give the connection a place; return b"", or why it gets none.

        Where all are taken, the one that has waited longest without a request makes room: who opens connections to
        hold them keeps nobody out.
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
        """Take the connection's place back; no-op where it has none."""
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
    """uvicorn's connection with bounds on what a client can make it hold."""

    def __init__(self, *args: Any, places: Places, **options: Any) -> None:
        super().__init__(*args, **options)
        self._places = places
        self._thrown_away = 0
        self._watching: asyncio.TimerHandle | None = None
        self._unsent = 0

    @property
    def idle(self) -> bool:
        """No request of it is being answered, and none has come whole."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or say that there is none."""
        super().connection_made(transport)
        if why := self._places.take(self, self.client[0] if self.client else ""):
            transport.write(FULL % (len(why), why))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._places.leave(self)
        if self._watching is not None:
            self._watching.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; of a body no more than the application asks for."""
        if self.transport.is_closing():
            return
        if self._answered_early:
            # The keep-alive timer that the answer set goes on: it bounds how long this takes.
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
        """Drop what came of a body that nobody asked for: the connection may be held for long after."""
        self.cycle.body = bytearray()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for a client that reads slowly, as long as it reads."""
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._watching = self.loop.call_later(WRITE_S, self._look_whether_it_reads)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    @property
    def _answered_early(self) -> bool:
        """The request is answered, and its body has not come to its end."""
        return self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY

    def _look_whether_it_reads(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent >= self._unsent:
            self.transport.abort()
            return
        self._unsent = unsent
        self._watching = self.loop.call_later(WRITE_S, self._look_whether_it_reads)
