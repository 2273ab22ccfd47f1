"""Envoy as a proxy of versions: a file of routes that it watches, and its admin interface to confirm them.

docs/adr/0017-drivers-of-proxies.md has the measurements: Envoy loads a file that was renamed into place, keeps its last
good routes when it rejects a file, and gives each worker the new routes within milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp

from controlplane.config.auth import auth_of
from controlplane.config.models import ModelSection
from controlplane.config.traffic.envoy import EnvoyInstance, EnvoyTraffic
from controlplane.errors import Unavailable
from controlplane.traffic.driver import Capabilities, EngineRefused
from controlplane.traffic.engine_server import EngineServer
from controlplane.traffic.envoy.routes import UnfitRoutes, shares_in, version_of, with_weights
from controlplane.traffic.proxies.edits import edit_file, turn
from controlplane.traffic.proxies.routing import Check, InstanceSeen
from controlplane.traffic.proxies.several import raise_worst
from controlplane.traffic.threads import to_the_end

NAME = "envoy"
LOAD_S, LOOK_S = 10.0, 0.05
"""Seconds that Envoy may take to load a file, and between two looks. Measured: less than 0.3 s."""
MAX_FILE_BYTES = 4 * 2**20
"""Maximum size of a file of routes. Chosen: the parser would take seconds for more."""
_DUMP = "/config_dump?resource=dynamic_route_configs"


class Envoy:
    """Every Envoy that has the model's routes."""

    name = NAME
    capabilities = Capabilities(weights=True, prewarm=True)

    def __init__(self, section: ModelSection, session: aiohttp.ClientSession, *, timeout_s: float = 5.0) -> None:
        """`timeout_s` is the deadline of one call of an admin interface."""
        assert isinstance(section.traffic, EnvoyTraffic)  # the registry chooses by it
        named = section.traffic.clusters
        self._cluster = {version: named.get(version, f"{section.name}_{version}") for version in section.versions}
        self._version = {cluster: version for version, cluster in self._cluster.items()}
        self._instances = [
            _Instance(instance, EngineServer(instance.admin, session, timeout_s, auth_of(instance)), self._version)
            for instance in section.traffic.instances
        ]

    async def look(self) -> Sequence[InstanceSeen]:
        """Read the routes and the counters of every instance."""
        return await asyncio.gather(*(instance.look() for instance in self._instances))

    async def check(self, version: str) -> Check:
        """Check each instance: its clusters, its routes, and the file."""
        reasons = [
            reason
            for found in await asyncio.gather(*(instance.check(self._cluster) for instance in self._instances))
            for reason in found
        ]
        known = ("Envoy draws the version of each request by chance: 5% of 1,000 requests are 50, give or take 14",)
        return Check(tuple(reasons), known=known, least_share=0.0001)

    async def apply(self, weights: Mapping[str, float]) -> None:
        """Write the weights into every file, and wait until every Envoy has them.

        A fault of one instance does not stop the others: a rollback must reach all that it can. Raises EngineRefused
        when an Envoy does not take its file, and Unavailable when one does not answer.
        """
        if missing := [version for version in weights if version not in self._cluster]:
            raise EngineRefused(f"{missing[0]} is no version in fleet.yaml")
        wanted = {self._cluster[version]: share for version, share in weights.items()}
        raise_worst(await asyncio.gather(*(i.apply(wanted) for i in self._instances), return_exceptions=True))

    async def persist(self, weights: Mapping[str, float]) -> Sequence[str]:
        """Write the weights into every file that lacks them. Envoy reads it at every start."""
        await self.apply(weights)
        files = dict.fromkeys(instance.file for instance in self._instances)
        return [f"{file} has these weights, so a restart of Envoy keeps them" for file in files]

    async def close(self) -> None:
        """Do nothing: the session belongs to the driver."""


class _Instance:
    """One Envoy: its admin interface and its file."""

    def __init__(self, section: EnvoyInstance, admin: EngineServer, versions: Mapping[str, str]) -> None:
        self.name, self.file, self._admin, self._versions = section.admin, section.routes, admin, versions
        self._lives, self._totals = 0, dict[str, int]()
        self._turn = asyncio.Lock()
        """One order at a time: an order waits for the version that it wrote."""

    async def look(self) -> InstanceSeen:
        """Return the instance as observed."""
        try:
            (loaded, weights), (totals, opened), file = await asyncio.gather(
                self._loaded(), self._counters(), asyncio.to_thread(self._text)
            )
            wanted = version_of(file)
        except (Unavailable, EngineRefused) as error:
            return InstanceSeen(self.name, None, str(error))
        except UnfitRoutes as error:
            return InstanceSeen(self.name, None, f"{self.file}: {error}")
        if any(total < self._totals.get(version, 0) for version, total in totals.items()):
            self._lives += 1  # a restarted Envoy counts from zero
        self._totals = totals
        pending = "" if loaded == wanted else f"{self.name} has routes {loaded}, and {self.file} is {wanted}"
        return InstanceSeen(self.name, weights, "", pending, totals, opened, str(self._lives))

    async def check(self, clusters: Mapping[str, str]) -> list[str]:
        """Return why weights of these clusters, by version, cannot be set and kept."""
        try:
            known = await self._clusters()
            seen = await self.look()
            text = await asyncio.to_thread(self._text)
            with_weights(text, {name: 1.0 if n == 0 else 0.0 for n, name in enumerate(clusters.values())})
        except (Unavailable, EngineRefused) as error:
            return [str(error)]
        except UnfitRoutes as error:
            return [f"{self.file} cannot be rewritten: {error}"]
        reasons = [
            f"{self.name} has no cluster {name} for {version}; add it, or name another one by clusters:"
            for version, name in clusters.items()
            if name not in known
        ]
        if seen.pending:
            reasons.append(f"{seen.pending}; {await self._why()}")
        folder = self.file.resolve().parent
        if not os.access(folder, os.W_OK):
            reasons.append(f"this account (user id {os.geteuid()}) may not write into {folder}, where routes: lies")
        return reasons

    async def apply(self, wanted: Mapping[str, float]) -> None:
        """Write the file, and wait until Envoy has it. Raises EngineRefused and Unavailable."""
        async with self._turn:
            await self._apply(wanted)

    async def _apply(self, wanted: Mapping[str, float]) -> None:
        before, after = await self._write(lambda text: with_weights(text, wanted))
        try:
            await self._wait(wanted, after)
        except EngineRefused:
            # A refused order is not repeated. The file must not keep weights that a later start of Envoy would bring.
            await self._write(lambda text: before if text == after else text)
            raise

    async def _wait(self, wanted: Mapping[str, float], written: str) -> None:
        """Wait until Envoy has the file, or a later one with these weights. Raises EngineRefused and Unavailable."""
        version, rejected = version_of(written), await self._rejected()
        deadline = time.monotonic() + LOAD_S
        while (await self._loaded())[0] != version:
            # The edit of another model in the same file replaces the version, and keeps the weights.
            text = await asyncio.to_thread(self._text)
            if text != written and await asyncio.to_thread(_has, text, wanted):
                version = version_of(written := text)
                continue
            if await self._rejected() > rejected or time.monotonic() > deadline:
                raise EngineRefused(f"{self.name} did not load {self.file}: {await self._why()}")
            await asyncio.sleep(LOOK_S)

    async def _write(self, change: Callable[[str], str]) -> tuple[str, str]:
        """Edit the file. Return its old and new contents. Raises EngineRefused, and Unavailable while it is locked."""
        try:
            async with turn(self.file.resolve().parent):
                before, after = await to_the_end(
                    edit_file, self.file, lambda: self._text().encode(), lambda data: change(data.decode()).encode()
                )
        except UnfitRoutes as error:
            raise EngineRefused(f"{self.file} cannot be rewritten: {error}") from error
        except OSError as error:
            raise EngineRefused(f"{self.file} could not be written: {error.strerror or error}") from error
        return before.decode(), after.decode()

    def _text(self) -> str:
        """Return the file. Raises EngineRefused with the cure. Blocking."""
        try:
            with self.file.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
            text = data.decode()
        except OSError as error:
            raise EngineRefused(
                f"{self.file} cannot be read ({error.strerror or error}); routes: is the file of Envoy's "
                "path_config_source"
            ) from error
        except ValueError as error:
            raise EngineRefused(f"{self.file} is not UTF-8") from error
        if len(data) > MAX_FILE_BYTES:
            raise EngineRefused(f"{self.file} is larger than {MAX_FILE_BYTES} bytes")
        return text

    async def _loaded(self) -> tuple[str, dict[str, float]]:
        """Return version and shares of the routes that Envoy has. Raises Unavailable and EngineRefused."""
        configs = (await self._json(_DUMP)).get("configs", [])
        for config in configs if isinstance(configs, list) else []:
            weights = shares_in(config.get("route_config"), self._versions)
            if weights is not None:
                return str(config.get("version_info", "")), weights
        names = ", ".join(self._versions)
        raise EngineRefused(f"{self.name} has no dynamic route with weighted_clusters {names}; {await self._why()}")

    async def _clusters(self) -> dict[str, list[dict[str, Any]]]:
        """Return the statistics of each cluster's hosts. Raises Unavailable."""
        listed = (await self._json("/clusters?format=json")).get("cluster_statuses", [])
        return {str(c.get("name")): [_numbers(host) for host in c.get("host_statuses", [])] for c in listed}

    async def _counters(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return all and the open requests of each version."""
        hosts = {self._versions[n]: h for n, h in (await self._clusters()).items() if n in self._versions}
        totals = {version: sum(h.get("rq_total", 0) for h in own) for version, own in hosts.items()}
        return totals, {version: sum(h.get("rq_active", 0) for h in own) for version, own in hosts.items()}

    async def _rejected(self) -> int:
        """Return how many files Envoy has rejected since its start."""
        listed = (await self._json("/stats?filter=rds\\..*\\.update_(rejected|failure)$&format=json")).get("stats", [])
        return sum(int(row.get("value", 0)) for row in listed if isinstance(row, dict))

    async def _why(self) -> str:
        rejected = await self._rejected()
        if rejected:
            return f"it has rejected {rejected} files since its start, and its log says why"
        return "is the file the one that it watches, and was it moved into place (path_config_source)?"

    async def _json(self, path: str) -> dict[str, Any]:
        """Return an answer of the admin interface. Raises Unavailable."""
        status, body = await self._admin.call("GET", path)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Unavailable(f"{self.name} answered {path} with no JSON (status {status})") from error
        if status != 200 or not isinstance(found, dict):
            raise Unavailable(f"{self.name} answered {path} with status {status}; is admin: Envoy's admin interface?")
        return found


def _has(text: str, wanted: Mapping[str, float]) -> bool:
    """Return whether a file of routes has these weights."""
    try:
        return with_weights(text, wanted) == text
    except UnfitRoutes:
        return False


def _numbers(host: Any) -> dict[str, int]:
    stats = host.get("stats", []) if isinstance(host, dict) else []
    return {str(row.get("name")): int(row.get("value", 0)) for row in stats if isinstance(row, dict)}
