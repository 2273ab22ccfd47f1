"""A leased loop whose turns never wait for the database: without its word it goes on, and observes at least."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from controlplane.errors import Unavailable
from controlplane.schedule.loop import LeasedLoop
from controlplane.store.lease import Lease

log = logging.getLogger(__name__)

PATIENCE_S = 0.5
"""How long a turn waits for the answer about its lease: a database that is locked takes ten seconds to say so."""


class EnduringLoop(LeasedLoop):
    """Runs its tick under the lease that it held last, for as long as the database does not say who holds it now.

    The tick is called past the lease's deadline, too: it goes on observing, and its transactions tell whether it may
    still act. What it does outside the database must follow from such a transaction. Where another process holds the
    lease, or nobody can be asked and this one never held it, `follow` is called instead of the tick.
    """

    _asking: asyncio.Task[Lease | None] | None = None
    _fault = ""

    async def close(self) -> None:
        """Release the lease."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError, Unavailable):
                await self._asking
            self._asking = None
        await super().close()

    def _in_time(self, lease: Lease) -> bool:
        return True

    async def _acquire_or_renew(self) -> Lease | None:
        held = self._lease
        asking = self._asking = self._asking or asyncio.create_task(super()._acquire_or_renew())
        await asyncio.wait({asking}, timeout=PATIENCE_S)
        if not asking.done():
            if held is None and self._fault:
                # There was no answer since: this turn is like the last one, and nothing works again.
                await self._follow()
                raise Unavailable(self._fault)
            return held
        self._asking = None
        try:
            lease = asking.result()
        except Unavailable as error:
            if held is None:
                self._fault = str(error)
                await self._follow()
                raise
            if str(error) != self._fault:
                log.error("loop %s: its lease cannot be renewed, and it goes on without: %s", self.name, error)
            self._fault = str(error)
            self._lease = held
            return held
        if self._fault:
            log.info("loop %s: its lease can be asked for again", self.name)
            self._fault = ""
        return lease
