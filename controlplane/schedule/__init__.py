"""Everything that the control plane does by itself, again and again."""

from __future__ import annotations

from controlplane.schedule.enduring import EnduringLoop
from controlplane.schedule.factory import LoopFactory
from controlplane.schedule.loop import LeasedLoop, Loop, LoopStats, PlainLoop
from controlplane.schedule.loops import Loops

__all__ = ["EnduringLoop", "LeasedLoop", "Loop", "LoopFactory", "LoopStats", "Loops", "PlainLoop"]
