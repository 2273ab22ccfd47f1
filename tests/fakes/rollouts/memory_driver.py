"""Drivers whose backends are values in memory: one splits requests by weight, one swaps versions. They keep a log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from controlplane.errors import Refused
from controlplane.traffic.driver import (
    Answer,
    BackendObservation,
    Capabilities,
    Placement,
    Preparation,
    Question,
    TrafficObservation,
    VersionState,
)

SPLITS = Capabilities(weights=True, prewarm=True, mirror=True, testers=True)
RESTARTS = Capabilities(weights=False, prewarm=False, restarts=True)
SWAPS = Capabilities(weights=False, prewarm=False)


@dataclass
class Backend:
    """One backend: the share of each version, and the versions that are loaded."""

    weights: dict[str, float]
    loaded: set[str]
    mirror: float = 0.0


@dataclass
class MemoryDriver:
    """A driver of one model. It is the engines too, so it outlives a control plane that crashes."""

    model: str
    capabilities: Capabilities = SPLITS
    backends: int = 1
    stable: str = "v1"
    log: list[tuple[str, str, str, float, float]] = field(default_factory=list)
    """Orders in their order: verb, backend, version, share, mirror."""
    emptied: list[str] = field(default_factory=list)
    """Backends of the placements that unload everything first."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Questions: backend and version."""
    refuses: tuple[str, ...] = ()
    """Why it prepares no version."""
    loading: set[str] = field(default_factory=set)
    """Versions that every backend is loading."""
    bad: set[str] = field(default_factory=set)
    """Versions that answer badly."""
    unready_served: list[str] = field(default_factory=list)
    """Placements that sent requests to a version that was not loaded."""

    def __post_init__(self) -> None:
        self.servers = {f"b{n}": Backend({self.stable: 1.0}, {self.stable}) for n in range(self.backends)}

    @property
    def splits(self) -> bool:
        """Whether it splits requests by weight."""
        return self.capabilities.weights

    def can_keep(self, serve: str, keep: str) -> bool:
        """Return whether both versions fit."""
        return not self.capabilities.restarts

    async def observe(self) -> TrafficObservation:
        """Return the backends."""
        seen = [
            BackendObservation(
                url,
                True,
                dict.fromkeys(server.loaded, VersionState.READY) | dict.fromkeys(self.loading, VersionState.LOADING),
                {},
                dict(server.weights),
                requests=({v: 1 for v, w in server.weights.items() if w} if self.splits else None),
                stays=(tuple(server.loaded) if self.splits else ()),
                holds=self.splits,
            )
            for url, server in self.servers.items()
        ]
        return TrafficObservation(self.model, tuple(seen))

    async def prepare(self, version: str) -> Preparation:
        """Accept every version, unless it refuses all."""
        if self.refuses:
            raise Refused(*self.refuses)
        return Preparation("")

    async def place(self, backend: str, placement: Placement) -> None:
        """Carry a placement out at once."""
        await asyncio.sleep(0)
        self.log.append(("place", backend, placement.serve, placement.share, placement.mirror))
        self.emptied += [backend] if placement.unload_first else []
        server = self.servers[backend]
        if self.splits:
            if placement.share > 0.0 and placement.serve not in server.loaded:
                self.unready_served.append(f"{placement.serve} on {backend}")
            server.loaded |= {placement.serve, *placement.keep}
            server.weights, server.mirror = dict(placement.weights), placement.mirror
        else:
            server.loaded = {placement.serve, *placement.keep}
            server.weights = {placement.serve: 1.0}

    async def ask(self, backend: str, version: str, question: Question) -> Answer:
        """Answer, badly for a version in `bad`."""
        await asyncio.sleep(0)
        self.asked.append((backend, version))
        return Answer("Boom" if version in self.bad else "", 0.01)

    async def commit(self, placement: Placement) -> Sequence[str]:
        """Note the commit."""
        self.log.append(("commit", "", placement.serve, 1.0, 0.0))
        return ()

    async def close(self) -> None:
        """Release nothing."""
