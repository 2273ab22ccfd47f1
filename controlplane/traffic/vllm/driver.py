"""The driver for versions that are LoRA adapters in vLLM.

Clients request one name, and the adapter behind this name is the version that serves. `load_inplace` exchanges it.
Every other version is loaded under a name of its own, MODEL-VERSION, so that it can be asked before it serves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aiohttp

from controlplane.config.auth import auth_of
from controlplane.config.models import ModelSection
from controlplane.config.traffic.vllm import VllmTraffic
from controlplane.errors import Refused, Unavailable
from controlplane.traffic.driver import (
    Answer,
    BackendObservation,
    Capabilities,
    EngineRefused,
    NotSent,
    Placement,
    Preparation,
    Question,
    TrafficObservation,
    VersionState,
    all_to,
)
from controlplane.traffic.engines.openai import OpenAiApi
from controlplane.traffic.vllm.api import VllmApi

CAPABILITIES = Capabilities(
    weights=False,
    prewarm=True,
    notes=("vLLM serves one adapter under a name: requests cannot be split by weight",),
)


class VllmDriver:
    """Moves one name between adapters on one or more vLLM servers. Owns its session."""

    capabilities = CAPABILITIES

    def __init__(self, section: ModelSection, session: aiohttp.ClientSession, *, timeout_s: float = 5.0) -> None:
        """`session` comes from engine_server.open_session(). `timeout_s` is the deadline of every call but a load."""
        assert isinstance(section.traffic, VllmTraffic)  # the registry chooses by it
        self._section, self._session, self._load_s = section, session, section.traffic.load_timeout
        self._name, self._paths = section.traffic.model or section.name, section.traffic.adapters
        backends = section.traffic.backends
        self._apis = {b.url: VllmApi(b.url, session, timeout_s, auth_of(b)) for b in backends}
        self._asked = {b.url: OpenAiApi(b.url, session, timeout_s, auth_of(b)) for b in backends}

    def can_keep(self, serve: str, keep: str) -> bool:
        """Return True: each version has a name of its own."""
        return True

    async def observe(self) -> TrafficObservation:
        """Read every server's list of models, and whether it sleeps."""
        backends = await asyncio.gather(*(self._observe(url) for url in self._apis))
        return TrafficObservation(self._section.name, tuple(backends))

    async def prepare(self, version: str) -> Preparation:
        """Check that every server is awake and takes orders for adapters. Raises Refused with all reasons."""
        faults = await asyncio.gather(*(self._fault(url) for url in self._apis))
        if reasons := [fault for fault in faults if fault]:
            raise Refused(*reasons)
        known = f"a version is loaded beside {self._name}: --max-loras and --max-cpu-loras must have room for it"
        return Preparation("", known=(known,))

    async def place(self, backend: str, placement: Placement) -> None:
        """Load the placement's versions under their own names, exchange the adapter that serves, unload the rest.

        Raises EngineRefused for a share between 0 and 1, an unknown version, and when vLLM refuses.
        """
        if len(placement.weights) != 1:
            raise EngineRefused(CAPABILITIES.notes[0])
        api, (serving,) = self._apis[backend], placement.weights
        needed = {placement.serve, *placement.keep, serving}
        if unknown := sorted(needed - set(self._paths)):
            raise EngineRefused(f"{unknown[0]} has no adapter in fleet.yaml")
        if await api.sleeps():
            await api.wake(self._load_s)
        listed = await api.models()
        for version in sorted(needed):
            if listed.get(self._own(version)) != self._paths[version]:
                await api.load(self._own(version), self._paths[version], self._own(version) in listed, self._load_s)
        if listed.get(self._name) != self._paths[serving]:
            await api.load(self._name, self._paths[serving], self._name in listed, self._load_s)
        for version in self._section.versions:
            if version not in needed and self._own(version) in listed:
                await api.unload(self._own(version), self._load_s)

    async def ask(self, backend: str, version: str, question: Question) -> Answer:
        """Ask the version by its own name, or by the served name where it serves."""
        started = time.monotonic()
        try:
            listed = await self._apis[backend].models()
            own = self._own(version)
            name = own if own in listed else self._name
            if listed.get(name) != self._paths[version]:
                return Answer(f"{backend} has no adapter of {version}", time.monotonic() - started)
            reply = await self._asked[backend].ask(name, question)
        except NotSent:
            raise
        except Unavailable as error:
            return Answer(str(error), time.monotonic() - started)
        return Answer(f"{backend} {reply.fault}" if reply.fault else "", reply.seconds, (reply,))

    async def commit(self, placement: Placement) -> Sequence[str]:
        """Return what an operator must do: vLLM forgets adapters that were loaded at run time."""
        path = self._paths[placement.serve]
        return [
            f"{url} forgets its adapters at a restart: start vLLM with --lora-modules {self._name}={path}"
            for url in self._apis
        ]

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()

    def _own(self, version: str) -> str:
        return f"{self._name}-{version}"

    async def _observe(self, url: str) -> BackendObservation:
        api = self._apis[url]
        try:
            listed, asleep = await asyncio.gather(api.models(), api.sleeps())
        except (Unavailable, EngineRefused) as error:
            return BackendObservation(url, False, {}, {}, {}, str(error))
        serving = next((v for v, path in self._paths.items() if listed.get(self._name) == path), None)
        loaded = {v for v, path in self._paths.items() if v == serving or listed.get(self._own(v)) == path}
        if asleep:
            words = f"{url} sleeps; POST /wake_up wakes it, and so does a rollout"
            gone = dict.fromkeys(self._paths, VersionState.UNAVAILABLE)
            return BackendObservation(url, True, gone, dict.fromkeys(loaded, words), {})
        states = {v: VersionState.READY if v in loaded else VersionState.UNAVAILABLE for v in self._section.versions}
        return BackendObservation(url, True, states, {}, all_to(serving))

    async def _fault(self, url: str) -> str:
        api = self._apis[url]
        try:
            await api.check_loads()
            return f"{url} sleeps; wake it first: POST {url}/wake_up" if await api.sleeps() else ""
        except (Unavailable, EngineRefused) as error:
            return str(error)
