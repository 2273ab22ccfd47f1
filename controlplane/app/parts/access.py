"""The part that writes the gatekeeper's records of token use and refusals, at intervals and at the end."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.access.gatekeeper import WRITE_S, Gatekeeper
from controlplane.app.parts.part import Part
from controlplane.schedule import Loop, LoopFactory


class AccessPart(Part[None]):
    """Writes the gatekeeper's records to the database."""

    name = "access"

    def __init__(self, gatekeeper: Gatekeeper) -> None:
        self._gatekeeper = gatekeeper

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that writes the records."""
        return [make.plain("access", WRITE_S, self._gatekeeper.write)]

    async def close(self) -> None:
        """Write the remaining records."""
        await self._gatekeeper.close()
