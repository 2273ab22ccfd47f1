"""The driver of models behind this product's gateways: weights by assignment, readiness from the versions' engines.

All gateways together are one backend, because an assignment reaches all of them
(docs/adr/0015-weights-at-the-gateway.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import aiohttp

from controlplane.config.models import ModelSection
from controlplane.errors import Refused, Unavailable
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
from controlplane.traffic.engines.engine import State, all_ready
from controlplane.traffic.engines.servers import VersionServers, whole, worst
from controlplane.traffic.triton.driver import CAPABILITIES as OF_TRITON
from controlplane.traffic.triton.driver import TritonDriver

GATEWAY = "gateway"
"""Name of the one backend."""
CURE = "start one: controlplane gateway -c fleet.yaml"
APPLY_S, LOOK_S = 10.0, 0.2
"""Seconds that an unload waits until all gateways apply the weights, and between two looks at them. Chosen: a gateway
applies an assignment in less than a second, and one that is silent for ten is not live."""


@dataclass(frozen=True)
class GatewaySeen:
    """One gateway's report about one model."""

    name: str
    generation: int | None
    """The generation that all its workers apply. None: it does not serve the model."""
    requests: Mapping[str, int] = field(default_factory=dict)
    """Requests by version since the generation was applied."""
    open: Mapping[str, int] = field(default_factory=dict)
    """Open requests by version."""
    fault: str = ""
    """Why it does not apply the newest state, in its own words; "" when it does."""
    processes: int = 1
    """Number of processes that report under its name. More than 1: their reports confirm nothing."""


@dataclass(frozen=True)
class ModelTraffic:
    """The assigned traffic of one model, and the gateways' reports about it."""

    generation: int
    """0: nothing was assigned yet."""
    weights: Mapping[str, float]
    """Share of each version, 0 to 1, as gateways apply it."""
    live: tuple[GatewaySeen, ...]
    silent: tuple[str, ...] = ()
    """Names of the gateways that have neither reported nor left. They may serve with their last state."""
    mirror: Mapping[str, float] = field(default_factory=dict)
    """Share of the requests of which a version gets copies, as assigned. Copies by fleet.yaml are not among them."""


class Gateways(Protocol):
    """Assignments and reports, as the store has them. Blocking. Raises Unavailable without a database."""

    def traffic(self, model: str) -> ModelTraffic:
        """Return the traffic of a model."""
        ...

    def assign(
        self, model: str, weights: Mapping[str, float], mirror: Mapping[str, float], by: str, tenure: object
    ) -> None:
        """Set the weights of a model, and the copies: a share by version, for one version at most.

        Raises LeaseLost when the caller's tenure is over: nothing was written then.
        """
        ...


class GatewayDriver:
    """Moves one model's requests between versions behind the gateways. Owns its session."""

    def __init__(
        self, section: ModelSection, session: aiohttp.ClientSession, gateways: Gateways, *, timeout_s: float = 5.0
    ) -> None:
        """`session` comes from engine_server.open_session(). `timeout_s` is the deadline of every call but a load."""
        self._section, self._session, self._gateways = section, session, gateways
        self._shared = TritonDriver(section, session, timeout_s=timeout_s) if section.traffic.backends else None
        self._servers = VersionServers(section, session, timeout_s)
        endless = OF_TRITON.endless_load if self._shared else ""
        self.capabilities = Capabilities(weights=True, prewarm=True, endless_load=endless, mirror=True, testers=True)

    def can_keep(self, serve: str, keep: str) -> bool:
        """Return True: weights decide who gets requests, so any two versions can be loaded."""
        return True

    async def observe(self) -> TrafficObservation:
        """Read the assignment and the gateways' reports, and ask every version's engines for their state."""
        versions, traffic = await asyncio.gather(self._states(), self._traffic())
        if isinstance(traffic, str):
            seen = BackendObservation(GATEWAY, False, {}, {}, {}, traffic, holds=True)
        elif not traffic.live:
            seen = BackendObservation(GATEWAY, False, {}, {}, {}, _nobody(traffic), holds=True)
        else:
            seen = BackendObservation(
                GATEWAY,
                True,
                {name: state for name, (state, _) in versions.items()},
                {name: reason for name, (_, reason) in versions.items() if reason},
                traffic.weights,
                pending=_pending(self._section.name, traffic),
                requests=_sum(g.requests for g in traffic.live if g.generation == traffic.generation),
                open=_sum(g.open for g in traffic.live),
                stays=tuple(self._section.versions) if self._shared is None else (),
                holds=True,
                mirror=traffic.mirror,
            )
        return TrafficObservation(self._section.name, (seen,))

    async def prepare(self, version: str) -> Preparation:
        """Check that a gateway is live, and that each server of the version is ready or can load it.

        Raises Refused with all reasons.
        """
        traffic, not_ready = await asyncio.gather(self._traffic(), self._servers.not_ready(version))
        reasons: list[str] = []
        if isinstance(traffic, str):
            reasons.append(traffic)
        elif not traffic.live:
            reasons.append(_nobody(traffic))
        elif pending := _pending(self._section.name, traffic):
            reasons.append(pending if any(g.processes > 1 for g in traffic.live) else f"{pending}; wait until it does")
        reasons += not_ready
        prepared = await self._prepare_shared(version, reasons)
        if reasons:
            raise Refused(*reasons)
        silent = () if isinstance(traffic, str) else traffic.silent
        notes = tuple(f"gateway {name} is silent: it may serve with its last weights" for name in silent)
        return replace(prepared, notes=(*prepared.notes, *notes))

    async def place(self, backend: str, placement: Placement) -> None:
        """Load what the placement needs, assign its weights, and unload the rest when all gateways apply them."""
        needed = {placement.serve, *placement.keep, *placement.weights}
        if self._shared is not None and placement.config:
            await self._load(self._shared, needed, placement)
        weights, model = placement.weights, self._section.name
        mirror = {placement.serve: placement.mirror} if placement.mirror > 0.0 else {}
        await asyncio.to_thread(self._gateways.assign, model, weights, mirror, placement.by, placement.tenure)
        if self._shared is not None and placement.config:
            await self._unload(self._shared, needed, placement)

    async def ask(self, backend: str, version: str, question: Question) -> Answer:
        """Ask every server of the version at once, by its own address. The worst answer counts."""
        shared = (
            ()
            if self._shared is None
            else (_ask_shared(self._shared, b.url, version, question) for b in self._section.traffic.backends)
        )
        own, *theirs = await asyncio.gather(self._servers.ask(version, question), *shared, return_exceptions=True)
        if isinstance(own, BaseException):
            raise own
        return worst([*own, *whole(theirs)])

    async def commit(self, placement: Placement) -> Sequence[str]:
        """Write the versions of shared Tritons into their config.pbtxt. The weights are in the database already.

        Raises EngineRefused when a file could not be written.
        """
        kept = f"the weights of {self._section.name} are in the database, and each gateway keeps them on its disk"
        if self._shared is None or not placement.config:
            return (kept,)
        return (kept, *await self._shared.commit(placement))

    async def close(self) -> None:
        """Close connections."""
        if self._shared is not None:
            await self._shared.close()
        await self._session.close()

    async def _traffic(self) -> ModelTraffic | str:
        """Return the traffic, or why it cannot be read."""
        try:
            return await asyncio.to_thread(self._gateways.traffic, self._section.name)
        except Unavailable as error:
            return str(error)

    async def _states(self) -> dict[str, State]:
        """Return the state of every version over all its servers, and the first reason."""
        shared = () if self._shared is None else (await self._shared.observe()).backends
        own = await self._servers.states()
        return {
            name: all_ready([*([own[name]] if name in own else []), *(_shared_state(seen, name) for seen in shared)])
            for name in self._section.versions
        }

    async def _prepare_shared(self, version: str, reasons: list[str]) -> Preparation:
        """Return the preparation of the shared Tritons. One that takes no load orders must have the version loaded."""
        if self._shared is None:
            return Preparation("")
        try:
            return await self._shared.prepare(version)
        except Refused as refused:
            seen = (await self._shared.observe()).backends
            if all(b.reachable and b.versions.get(version) is VersionState.READY for b in seen):
                note = f"{version} is loaded on the Tritons already, and no load order is sent ({refused})"
                return Preparation("", (note,))
            reasons.extend(refused.reasons)
            return Preparation("")

    async def _load(self, shared: TritonDriver, needed: set[str], placement: Placement) -> None:
        """Load missing versions beside those that are loaded. Raises EngineRefused and Unavailable.

        A Triton that does not answer is left out: the weights must move away from it at once in a rollback.
        """
        for seen in (await shared.observe()).backends:
            ready = {name for name, state in seen.versions.items() if state is VersionState.READY}
            if seen.reachable and needed - ready:
                await shared.place(seen.url, _loading(placement, needed | ready))

    async def _unload(self, shared: TritonDriver, needed: set[str], placement: Placement) -> None:
        """Unload versions that get no requests any more. Raises Unavailable while a gateway may still send some."""
        over = [
            seen.url
            for seen in (await shared.observe()).backends
            if {n for n, s in seen.versions.items() if s is VersionState.READY} - needed
        ]
        if not over:
            return
        await self._applied_by_all()
        for url in over:
            await shared.place(url, _loading(placement, needed))

    async def _applied_by_all(self) -> None:
        deadline = time.monotonic() + APPLY_S
        while True:
            traffic = await self._traffic()
            if isinstance(traffic, str):
                why = traffic
            elif traffic.silent:
                why = f"gateway {traffic.silent[0]} is silent and may serve with its last weights"
            else:
                why = "" if traffic.live and not _pending(self._section.name, traffic) else "no gateway applies it yet"
            if not why:
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"the weights are assigned and nothing is unloaded: {why}")
            await asyncio.sleep(LOOK_S)


def _loading(placement: Placement, versions: set[str]) -> Placement:
    """Return the placement that loads exactly these versions on a Triton."""
    ordered = sorted(versions - {placement.serve})
    return Placement(placement.model, placement.serve, tuple(ordered), placement.config)


def _shared_state(seen: BackendObservation, version: str) -> State:
    if not seen.reachable:
        return VersionState.UNKNOWN, seen.error
    return seen.versions.get(version, VersionState.UNAVAILABLE), seen.reasons.get(version, "")


async def _ask_shared(shared: TritonDriver, url: str, version: str, question: Question) -> Answer:
    answer = await shared.ask(url, version, question)
    return replace(answer, fault=f"{url} {answer.fault}") if answer.fault and url not in answer.fault else answer


def _nobody(traffic: ModelTraffic) -> str:
    silent = f" ({', '.join(traffic.silent)} {'is' if len(traffic.silent) == 1 else 'are'} silent)"
    return f"no gateway is live{silent if traffic.silent else ''}; {CURE}"


def _pending(model: str, traffic: ModelTraffic) -> str:
    """Return in words that a live gateway does not apply the assignment, or ""."""
    found = (not_applied(model, traffic.generation, gateway) for gateway in traffic.live)
    return next(filter(None, found), "")


def not_applied(model: str, assigned: int, gateway: GatewaySeen) -> str:
    """Return in words that a gateway does not apply the assigned generation of a model, or "" when it does."""
    if gateway.processes > 1:
        return one_name(gateway.name, gateway.processes)
    if gateway.generation == assigned:
        return ""
    has = "does not serve it" if gateway.generation is None else f"applies generation {gateway.generation}"
    why = f" ({gateway.fault})" if gateway.fault else ""
    return f"gateway {gateway.name} {has}, and {assigned} is assigned to {model}{why}"


def one_name(name: str, processes: int) -> str:
    """Return in words that several gateways report under one name, and the cure."""
    return (
        f"{processes} processes report as gateway {name}, so the weights that each applies are unknown; give each "
        "gateway a name of its own (gateway.name in its fleet.yaml) and restart it"
    )


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for version, count in each.items():
            total[version] = total.get(version, 0) + count
    return total
