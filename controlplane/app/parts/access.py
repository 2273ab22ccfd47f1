"""Who is let in, as a part: what is remembered of tokens and refusals is written now and then, and at the end."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.access.gatekeeper import WRITE_S, Gatekeeper
from controlplane.app.parts.part import Part
from controlplane.schedule import Loop, LoopFactory


class AccessPart(Part[None]):
    """Writes what the gatekeeper remembers."""

    name = "access"

    def __init__(self, gatekeeper: Gatekeeper) -> None:
        self._gatekeeper = gatekeeper

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return what writes."""
        return [make.plain("access", WRITE_S, self._gatekeeper.write)]

    async def close(self) -> None:
        """Write what is left."""
        await self._gatekeeper.close()
