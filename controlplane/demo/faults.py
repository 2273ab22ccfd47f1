"""The faults that the demo can put into its fleet: which exist, and which are active."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from controlplane.errors import NotFound

SLOW_S = 4.0
"""Seconds that `slow-v2` adds before the first token: twice the pack's P99 threshold."""
CLEAR = "clear"
SECRET_HEADER = "X-Demo-Secret"  # noqa: S105 - the name of the header that the admin port asks for
SECRET_ENV = "CP_DEMO_SECRET"  # noqa: S105 - the name of the variable that tells the simulators its value


class DemoFault(StrEnum):
    """A fault's name as `demo fault` takes it."""

    SLOW_V2 = "slow-v2"
    ERRORS_V2 = "errors"
    DOWN_V2 = "down-v2"
    GPU_HOT = "gpu-hot"
    VRAM_FULL = "vram-full"


DESCRIPTIONS = {
    DemoFault.SLOW_V2: f"version 2 of every model takes {SLOW_S:g}s longer to its first token",
    DemoFault.ERRORS_V2: "every second request to chat v2 is answered with HTTP 500",
    DemoFault.DOWN_V2: "chat v2 drops every connection, its /metrics too",
    DemoFault.GPU_HOT: "simulated GPU 3 heats up to 93 °C",
    DemoFault.VRAM_FULL: "simulated GPU 3 fills 97% of its memory",
}


class DemoFaults:
    """The active faults. `on_change` is called after every change, with the set that is active then."""

    def __init__(self, on_change: Callable[[frozenset[DemoFault]], None] = lambda active: None) -> None:
        self._active: frozenset[DemoFault] = frozenset()
        self._on_change = on_change

    @property
    def active(self) -> frozenset[DemoFault]:
        """The active faults."""
        return self._active

    def apply(self, name: str) -> frozenset[DemoFault]:
        """Activate one more fault, or end all of them with `clear`; return what is active then. Raises NotFound."""
        if name == CLEAR:
            active: frozenset[DemoFault] = frozenset()
        elif name in DESCRIPTIONS:
            active = self._active | {DemoFault(name)}
        else:
            raise NotFound(f"no fault is called {name!r}; there are {', '.join([*DESCRIPTIONS, CLEAR])}")
        self._on_change(active)
        self._active = active
        return active
