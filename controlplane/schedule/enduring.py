"""A leased loop whose tick can do without the database: it goes on under its last tenure while nobody can be asked."""

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

    Without any word of the database nobody else can take the lease over either, unless this process alone is cut off:
    then two of them act. That is the price, so the tick must be something that is better done twice than not at all.
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

    async def _acquire_or_renew(self) -> Lease | None:
        held = self._lease
        if held is None and self._asking is None:
            return await super()._acquire_or_renew()
        asking = self._asking = self._asking or asyncio.create_task(super()._acquire_or_renew())
        await asyncio.wait({asking}, timeout=PATIENCE_S if held else None)
        if not asking.done():
            return held
        self._asking = None
        try:
            lease = asking.result()
        except Unavailable as error:
            if held is None:
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
