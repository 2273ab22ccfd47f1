"""Everything that the control plane does by itself, again and again."""

from __future__ import annotations

from controlplane.schedule.calendar_loop import CalendarLoop, Due
from controlplane.schedule.enduring import EnduringLoop
from controlplane.schedule.factory import LoopFactory
from controlplane.schedule.loop import LeasedLoop, Loop, LoopStats, PlainLoop
from controlplane.schedule.loops import Loops

__all__ = [
    "CalendarLoop",
    "Due",
    "EnduringLoop",
    "LeasedLoop",
    "Loop",
    "LoopFactory",
    "LoopStats",
    "Loops",
    "PlainLoop",
]
