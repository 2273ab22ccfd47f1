"""The driver of models behind a proxy: weights by the proxy, readiness and answers from the versions' own servers.

All instances of the proxy together are one backend, because every instance must have the same weights.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp

from controlplane.config.models import ModelSection
from controlplane.errors import Refused
from controlplane.traffic.driver import (
    Answer,
    BackendObservation,
    Capabilities,
    Placement,
    Preparation,
    Question,
    TrafficObservation,
)
from controlplane.traffic.engines.servers import VersionServers, worst
from controlplane.traffic.proxies.counting import Counts
from controlplane.traffic.proxies.routing import InstanceSeen, Proxy


class ProxyDriver:
    """Moves one model's requests between versions behind a proxy. Owns its session and the proxy."""

    def __init__(
        self, section: ModelSection, session: aiohttp.ClientSession, proxy: Proxy, *, timeout_s: float = 5.0
    ) -> None:
        """`session` comes from engine_server.open_session(). `timeout_s` is the deadline of a call of a server."""
        self._section, self._session, self._proxy = section, session, proxy
        self._servers = VersionServers(section, session, timeout_s)
        self._counts = Counts()
        self.capabilities: Capabilities = proxy.capabilities

    def can_keep(self, serve: str, keep: str) -> bool:
        """Return True: weights decide who gets requests, so any two versions can be loaded."""
        return True

    async def observe(self) -> TrafficObservation:
        """Read the weights of every instance, and ask every version's servers for their state."""
        states, instances = await asyncio.gather(self._servers.states(), self._proxy.look())
        answered = [instance for instance in instances if instance.weights is not None]
        faults = [instance.fault for instance in instances if instance.weights is None]
        name = self._proxy.name
        if not answered:
            seen = BackendObservation(name, False, {}, {}, {}, "; ".join(faults))
            return TrafficObservation(self._section.name, (seen,))
        weights = _mean(answered)
        pending = [*(f"{fault}; its weights are unknown" for fault in faults), *(i.pending for i in answered)]
        seen = BackendObservation(
            name,
            True,
            {version: state for version, (state, _) in states.items()},
            {version: reason for version, (_, reason) in states.items() if reason},
            weights,
            pending="; ".join(filter(None, pending)),
            requests=self._counts.since(weights, answered),
            open=_open(answered),
            stays=tuple(self._section.versions),
        )
        return TrafficObservation(self._section.name, (seen,))

    async def prepare(self, version: str) -> Preparation:
        """Check that the proxy can set weights for the version, and that each of its servers is ready.

        Raises Refused with all reasons.
        """
        not_ready, checked = await asyncio.gather(self._servers.not_ready(version), self._proxy.check(version))
        if reasons := (*checked.reasons, *not_ready):
            raise Refused(*reasons)
        return Preparation("", checked.notes, checked.known, checked.whole_only, checked.least_share)

    async def place(self, backend: str, placement: Placement) -> None:
        """Set the placement's weights on every instance, and read them back. Raises EngineRefused and Unavailable."""
        await self._proxy.apply(placement.weights)

    async def ask(self, backend: str, version: str, question: Question) -> Answer:
        """Ask every server of the version at once, by its own address. The worst answer counts."""
        return worst(await self._servers.ask(version, question))

    async def commit(self, placement: Placement) -> Sequence[str]:
        """Make the weights survive a restart of the proxy. Raises EngineRefused with the reason and the cure."""
        return await self._proxy.persist(placement.weights)

    async def close(self) -> None:
        """Close connections."""
        await self._proxy.close()
        await self._session.close()


def _mean(instances: Sequence[InstanceSeen]) -> dict[str, float]:
    """Return the share of each version over all instances, which are assumed to get equal traffic."""
    total: dict[str, float] = {}
    for instance in instances:
        for version, weight in (instance.weights or {}).items():
            total[version] = total.get(version, 0.0) + weight / len(instances)
    return {version: round(weight, 6) for version, weight in total.items() if weight > 0.0}


def _open(instances: Sequence[InstanceSeen]) -> dict[str, int] | None:
    """Return the open requests of each version, or None where an instance does not know them."""
    total: dict[str, int] = {}
    for instance in instances:
        if instance.open is None:
            return None
        for version, count in instance.open.items():
            total[version] = total.get(version, 0) + count
    return total
