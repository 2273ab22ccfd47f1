"""Asks all engines for their load, and says which of them should get no request for a while.

Each gateway asks by itself: it needs no control plane for it. What an engine says vetoes and never ranks: all gateways
would send everything to the engine that looked best.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from collectors.catalogue.model import load_catalogue
from collectors.engines.kinds import BACKENDS
from collectors.target import Auth
from controlplane.errors import Unavailable
from controlplane.gateway.desired.document import BackendSpec, Desired
from controlplane.gateway.process.load.gauges import Gauges
from controlplane.gateway.telemetry.families import VETOED
from controlplane.gateway.telemetry.meters import Meters
from controlplane.remote_client import RemoteClient

POLL_S = 5.0
"""Seconds between two questions to an engine. Chosen: a third of a usual scrape interval."""
HOLD_S = 10.0
"""Seconds for which a veto holds, unless the next answer ends it. Chosen: an answer that is lost changes nothing, and
an engine that falls silent is judged by its requests alone."""
ANSWER_S = 3.0
"""Seconds for an answer."""
MAX_BYTES = 16 * 2**20
"""Largest answer. As `scrape.max_body_bytes` of the control plane."""
AT_ONCE = 16
"""Most questions at the same time. Chosen: 300 engines in a second or two."""


class Place(NamedTuple):
    """One address of metrics, and the backend whose load it has."""

    url: str
    metrics: str
    engine: str
    auth: Auth | None


class EngineWatch:
    """Asks the engines of the desired state in force."""

    def __init__(
        self, desired: Callable[[], Desired | None], veto: Callable[[Mapping[str, float]], None], meters: Meters
    ) -> None:
        """`veto` gets seconds by a backend's URL. 0: an earlier veto has ended."""
        self._desired, self._veto, self._meters = desired, veto, meters
        self._gauges: Gauges | None = None
        self._clients: dict[Place, RemoteClient] = {}
        self._vetoed: set[str] = set()

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                await self.turn()
                await asyncio.sleep(POLL_S * random.uniform(0.9, 1.1))  # noqa: S311 - it spreads the gateways
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    async def turn(self) -> None:
        """Ask each engine once, and tell of those that are full."""
        if self._gauges is None:
            self._gauges = Gauges(await asyncio.to_thread(load_catalogue))
        desired = self._desired()
        places = set() if desired is None else {*places_of(desired, self._gauges)}
        for place in self._clients.keys() - places:
            await self._clients.pop(place).close()
        gate = asyncio.Semaphore(AT_ONCE)
        asked = list(places)
        loads = await asyncio.gather(*(self._is_full(place, gate) for place in asked))
        full = {place.url for place, is_full in zip(asked, loads, strict=True) if is_full}
        free = {place.url for place, is_full in zip(asked, loads, strict=True) if is_full is False} - full
        gone = self._vetoed - {place.url for place in asked}
        said = {**dict.fromkeys(full, HOLD_S), **dict.fromkeys(self._vetoed & (free | gone), 0.0)}
        self._vetoed = (self._vetoed | full) - free - gone
        for url, seconds in said.items():
            self._meters.gauge(VETOED, url).set(float(seconds > 0.0))
        if said:
            self._veto(said)

    async def _is_full(self, place: Place, gate: asyncio.Semaphore) -> bool | None:
        """Return whether an engine is full. None: it does not say."""
        assert self._gauges is not None
        client = self._clients.get(place)
        if client is None:
            client = RemoteClient(place.metrics, place.auth, max_reply_bytes=MAX_BYTES)
            self._clients[place] = client
        async with gate:
            with suppress(Unavailable, TimeoutError):
                reply = await client.request("GET", "", ANSWER_S)
                if reply.status == 200:
                    load = self._gauges.read(place.engine, reply.body)
                    return None if load.waiting is None else load.is_full
        return None


def places_of(desired: Desired, gauges: Gauges) -> Iterable[Place]:
    """Yield the engines to ask: those of versions with several backends, of kinds that report their queue.

    A veto on the only backend of a version would change nothing.
    """
    for model in desired.models:
        for version in model.versions:
            backends = [one for one in version.backends if not one.draining]
            if len({one.url for one in backends}) > 1:
                yield from (_place(one) for one in backends if gauges.reports_queue(one.engine))


def _place(backend: BackendSpec) -> Place:
    metrics = backend.metrics or BACKENDS[backend.engine].metrics_of(backend.url)
    held = backend.credentials
    auth = Auth(
        ca_file=backend.ca_file or None,
        insecure_skip_verify=backend.insecure_skip_verify,
        cert_file=backend.cert_file or None,
        key_file=backend.key_file or None,
        server_name=backend.server_name,
    )
    if held is None and auth == Auth():
        return Place(backend.url, metrics, backend.engine, None)
    if held is not None and held.username:
        auth = replace(auth, username=held.username, password_file=held.file)
    elif held is not None:
        auth = replace(auth, scheme=held.scheme, credentials_file=held.file or None, credentials_env=held.env or None)
    return Place(backend.url, metrics, backend.engine, auth)
