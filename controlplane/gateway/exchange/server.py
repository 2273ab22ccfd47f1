"""The data path of one worker: a listener, and an Exchange for each request that comes through it."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from controlplane.gateway.desired.document import Desired
from controlplane.gateway.seams import Chooser, Dialects, Limits, Recorder
from controlplane.gateway.wire.settings import WireSettings
from controlplane.gateway.wire.timer import TimerWheel


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
    """Accepts connections on one listening socket and serves them. All calls are made on its event loop."""

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
    ) -> None:
        """`wheel` is the worker's, shared with the chooser. `created`: unix seconds for lists of models, which must be
        the same in all workers."""
        raise NotImplementedError

    @property
    def open_requests(self) -> int:
        """Requests that have begun and not ended, the queue included."""
        raise NotImplementedError

    @property
    def connections(self) -> int:
        """Connections of clients."""
        raise NotImplementedError

    def apply(self, desired: Desired) -> None:
        """Take what the data path itself needs of a desired state: names of models, credentials of backends. Limits and
        chooser get it on their own. Connections to backends that are named no more are closed when they are idle."""
        raise NotImplementedError

    async def start(self, listening: socket.socket) -> None:
        """Accept connections. `listening` is bound and listens already; it stays the caller's, who closes it.

        Raises BadTls (a GatewayError) when the certificate or its key cannot be used.
        """
        raise NotImplementedError

    async def drain(self, timeout_s: float) -> DrainReport:
        """Stop accepting, and return when all requests have ended, at the latest after `timeout_s` seconds.

        Answers carry `connection: close`. Streams that are open at the deadline are told that they break off, and cut.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """End everything at once. Requests that are open are cut and recorded."""
        raise NotImplementedError
