"""The seam between the driver of proxies and one kind of proxy: what its instances show, and how weights are set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.traffic.driver import Capabilities


@dataclass(frozen=True)
class InstanceSeen:
    """One instance of a proxy as observed. Maps are by version."""

    name: str
    """The instance's address or socket, as in fleet.yaml."""
    weights: Mapping[str, float] | None
    """Share of the requests that each version gets, 0 to 1. None: the instance could not be observed."""
    fault: str = ""
    """Why it could not be observed; "" when it could."""
    pending: str = ""
    """Why the weights are set and not yet known to hold in all its workers; "" when they hold."""
    totals: Mapping[str, int] | None = None
    """Requests to each version since the start of `life`. None: the instance counts none."""
    open: Mapping[str, int] | None = None
    """Open requests to each version. None: not known."""
    life: str = ""
    """Identity of the process whose counts these are. Counts begin again with another one."""


@dataclass(frozen=True)
class Check:
    """The result of checking a proxy before a rollout. Sentences are for the operator."""

    reasons: tuple[str, ...] = ()
    """Why no rollout can work. Empty: one can."""
    notes: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    """Sentences about the set-up, true of every rollout."""
    whole_only: str = ""
    """Why only 0 and 100 % can be set; "" where other shares can be set too."""
    least_share: float = 0.0
    """Smallest share above 0 that can be set."""


class Proxy(Protocol):
    """All instances of a proxy before one model. Absolute weights; nothing is believed that was not read back."""

    name: str
    """Name of the one backend of the driver."""
    capabilities: Capabilities

    async def look(self) -> Sequence[InstanceSeen]:
        """Return each instance as observed. An instance that does not answer is part of the result, not an error."""
        ...

    async def check(self, version: str) -> Check:
        """Check that weights for `version` can be set and kept. Change nothing."""
        ...

    async def apply(self, weights: Mapping[str, float]) -> None:
        """Set the share of every version on all instances that answer, and read it back.

        Raises EngineRefused with the reason and the cure, and Unavailable when an instance did not answer.
        """
        ...

    async def persist(self, weights: Mapping[str, float]) -> Sequence[str]:
        """Make the weights survive a restart. Return sentences on what was done. Raises EngineRefused."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
