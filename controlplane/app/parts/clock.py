"""The part that watches the machine's clock. All other parts follow a step of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.app.clock_watch import LOOK_S, ClockWatch
from controlplane.app.parts.part import Part
from controlplane.schedule import Loop, LoopFactory


class ClockPart(Part[None]):
    """Watches the clock."""

    name = "clock"

    def __init__(self, watch: ClockWatch) -> None:
        self._watch = watch

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that measures the clock."""
        return [make.plain("clock", LOOK_S, self._watch.turn)]

    def not_ready(self) -> Mapping[str, str]:
        """Return why shown values may be wrong at the moment."""
        return {"clock": why} if (why := self._watch.not_ready()) else {}
