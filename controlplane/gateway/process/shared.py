"""The supervisor's side of the shared memory: limits, metrics, and the columns of dead workers."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from controlplane.gateway.choosing.memory import clear_column
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.limits.keeper import Keeper
from controlplane.gateway.limits.spent import SpentFile
from controlplane.gateway.process.areas import CHOOSING, LIMITS, METRICS, supervisor_column
from controlplane.gateway.process.memory import SharedMemory
from controlplane.gateway.telemetry import families
from controlplane.gateway.telemetry.columns import exposition_of, meters_of
from controlplane.gateway.telemetry.recorder import settle

log = logging.getLogger(__name__)

SAVE_S = 1.0
"""Seconds between two writes of what was spent. An end of all processes forgets at most that much."""
SPENT = "spent.json"


class Shared:
    """The areas of shared memory, as the supervisor of a half uses them."""

    def __init__(self, memory: SharedMemory, half: int, folder: Path) -> None:
        self._memory = memory
        self.keeper = Keeper(memory.area(LIMITS))
        self.meters = meters_of(memory.area(METRICS), supervisor_column(half))
        self._restarts = self.meters.counter(families.RESTARTS)
        self.exposition = exposition_of(memory.area(METRICS))
        self._spent = SpentFile(folder / SPENT)

    def restore(self) -> None:
        """Put back what was spent before all processes ended. Blocking."""
        self._spent.restore(self.keeper.restore)

    def apply(self, desired: Desired, now: float) -> None:
        """Allot slots to all limits, and set this gateway's shares. Raises BadDesired for too many limits."""
        self.keeper.apply(desired, now)

    def clear(self, column: int, *, replaced: bool) -> None:
        """Give back what a dead worker held, and count its open requests as cut. `replaced`: another one follows."""
        if replaced:
            self._restarts.add()
        clear_column(self._memory.area(CHOOSING), column)
        self.keeper.clear_column(column)
        if lost := settle(meters_of(self._memory.area(METRICS), column)):
            log.error("%d requests were open in the worker that ended", lost)

    def demand(self) -> dict[str, float]:
        """Return the demand of shared limits, and what was spent of budgets, for the report."""
        return self.keeper.demand(time.monotonic())

    def open_requests(self) -> dict[str, dict[str, int]]:
        """Return the open requests of all workers by model and version, those of a draining gateway included."""
        found: dict[str, dict[str, int]] = {}
        for (model, version), number in self.exposition.totals(families.RUNNING, "model", "version").items():
            found.setdefault(model, {})[version] = round(number)
        return found

    def running(self) -> int:
        """Return the number of requests that are at an engine now."""
        return round(sum(self.exposition.totals(families.RUNNING).values()))

    async def keep(self) -> None:
        """Write what was spent to the disk every second, until cancelled."""
        said = ""
        while True:
            await asyncio.sleep(SAVE_S)
            try:
                # Not in the thread: the keeper's own state changes on this one.
                if (data := self.keeper.save()) is not None:
                    await asyncio.to_thread(self._spent.write, data)
                said = ""
            except OSError as error:
                if str(error) != said:
                    log.error("%s: %s; after a crash budgets would begin with older sums", SPENT, error.strerror)
                said = str(error)

    def leave(self) -> None:
        """Take this supervisor's gauges back, and write what was spent. A successor's come instead. Blocking."""
        settle(self.meters)
        try:
            if (data := self.keeper.save()) is not None:
                self._spent.write(data)
        except OSError as error:
            log.error("%s: %s; budgets begin with older sums at the next start", SPENT, error.strerror)
