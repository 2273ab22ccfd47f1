"""The data path of a worker, assembled: every stage of `seams.py`, and how a desired state reaches them."""

from __future__ import annotations

import asyncio

from controlplane.gateway.desired.document import Desired
from controlplane.gateway.exchange.server import GatewayServer
from controlplane.gateway.limits.shared import SharedLimits
from controlplane.gateway.process.areas import LIMITS, METRICS
from controlplane.gateway.process.begin import Begin
from controlplane.gateway.process.counting import CountingRecorder
from controlplane.gateway.process.memory import SharedMemory
from controlplane.gateway.telemetry.columns import meters_of
from controlplane.gateway.telemetry.lag import LoopLag
from controlplane.gateway.wire.timer import TimerWheel


class DataPath:
    """All stages of one worker."""

    def __init__(self, begin: Begin, loop: asyncio.AbstractEventLoop) -> None:
        from tests.fakes.gateway_stages import FirstBackend, PlainDialects  # STAND-IN

        memory = SharedMemory.attach(begin.memory_fd, begin.sizes)
        wheel = TimerWheel(loop)
        self.recorder = CountingRecorder(meters_of(memory.area(METRICS), begin.column))
        self.limits = SharedLimits(memory.area(LIMITS), begin.column)
        self.chooser = FirstBackend()
        self.server = GatewayServer(
            PlainDialects(),
            self.limits,
            self.chooser,
            self.recorder,
            begin.wire,
            wheel,
            created=begin.created,
            counters=self.recorder,
        )
        self._lag = LoopLag(loop, self.recorder.lag)
        self._lag.start()

    def apply(self, desired: Desired, now: float) -> None:
        """Apply a state to every stage. Raises GatewayError; the caller then applies the state before again."""
        self.recorder.apply(desired)
        self.limits.apply(desired, now)
        self.chooser.apply(desired)
        self.server.apply(desired)

    async def close(self) -> None:
        """End what outlives the requests."""
        self._lag.close()
