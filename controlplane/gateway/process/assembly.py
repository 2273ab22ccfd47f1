"""The data path of a worker, assembled: every stage of `seams.py`, and how a desired state reaches them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.gateway.choosing.chooser import WorkerChooser
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.dialects.dialects import AllDialects
from controlplane.gateway.exchange.server import GatewayServer
from controlplane.gateway.limits.shared import SharedLimits
from controlplane.gateway.process.areas import CHOOSING, LIMITS, METRICS
from controlplane.gateway.process.begin import Begin
from controlplane.gateway.process.counting import CountingRecorder
from controlplane.gateway.process.memory import SharedMemory
from controlplane.gateway.telemetry.columns import meters_of
from controlplane.gateway.telemetry.lag import LoopLag
from controlplane.gateway.telemetry.usage_meters import JournalMeters
from controlplane.gateway.usage.journal import Journal
from controlplane.gateway.wire.timer import TimerWheel

if TYPE_CHECKING:
    from controlplane.gateway.telemetry.tracing.tracing import Tracing


class DataPath:
    """All stages of one worker."""

    def __init__(self, begin: Begin, loop: asyncio.AbstractEventLoop) -> None:
        memory = SharedMemory.attach(begin.memory_fd, begin.sizes)
        wheel = TimerWheel(loop)
        meters = meters_of(memory.area(METRICS), begin.column)
        self._journal: Journal | None = None
        if begin.journal_bytes:
            folder = Path(begin.journal) / str(begin.column)
            self._journal = Journal(folder, begin.journal_bytes, JournalMeters(meters), loop)
        self._tracing: Tracing | None = None
        if begin.traces is not None:
            from controlplane.gateway.telemetry.tracing.tracing import Tracing

            self._tracing = Tracing(begin.traces, meters, loop)
        spans = None if self._tracing is None else self._tracing.exporter
        self.recorder = CountingRecorder(meters, self._journal, spans)
        self.limits = SharedLimits(memory.area(LIMITS), begin.column)
        self.chooser = WorkerChooser(
            memory.area(CHOOSING),
            begin.column,
            wheel=wheel,
            soon=loop.call_soon,
            clock=loop.time,
            counters=self.recorder,
        )
        self.server = GatewayServer(
            AllDialects(),
            self.limits,
            self.chooser,
            self.recorder,
            begin.wire,
            wheel,
            created=begin.created,
            counters=self.recorder,
            tracer=None if self._tracing is None else self._tracing.tracer,
        )
        self._lag = LoopLag(loop, self.recorder.lag)
        self._lag.start()

    def apply(self, desired: Desired, now: float) -> None:
        """Apply a state to every stage. Raises GatewayError; the caller then applies the state before again."""
        self.recorder.apply(desired)
        self.limits.apply(desired, now)
        self.chooser.apply(desired, now)
        self.server.apply(desired)

    async def close(self) -> None:
        """End what outlives the requests: every record goes to the disk, and every span to the collector."""
        self._lag.close()
        if self._tracing is not None:
            await self._tracing.close()
        if self._journal is not None:
            await asyncio.to_thread(self._journal.close)
