"""HAProxy as a proxy of versions: weights by its runtime API, and the same weights in its configuration file.

docs/adr/0017-drivers-of-proxies.md has the measurements: a reload brings the weights of the file back, streams to a
server with weight 0 end by themselves, and two weights are two commands.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from controlplane.config.models import ModelSection
from controlplane.config.traffic.haproxy import HaproxyInstance, HaproxyTraffic
from controlplane.errors import Unavailable
from controlplane.traffic.driver import Capabilities, EngineRefused
from controlplane.traffic.haproxy import config_file
from controlplane.traffic.haproxy.config_file import MAX_WEIGHT, UnfitFile
from controlplane.traffic.haproxy.runtime import RuntimeApi
from controlplane.traffic.haproxy.table import BY_REQUESTS, Server, Table, table
from controlplane.traffic.proxies.addresses import host_port, resolved
from controlplane.traffic.proxies.edits import edit_file, turn
from controlplane.traffic.proxies.routing import Check, InstanceSeen
from controlplane.traffic.proxies.several import raise_worst
from controlplane.traffic.proxies.shares import least_share, shares_of, whole_weights
from controlplane.traffic.threads import to_the_end

NAME = "haproxy"
MAX_FILE_BYTES = 8 * 2**20
"""Maximum size of a configuration file. Chosen: files of large sites have some 100 kB."""
_PROCESS = "Pid: "


class Haproxy:
    """Every HAProxy that has the model's backend."""

    name = NAME
    capabilities = Capabilities(weights=True, prewarm=True)

    def __init__(self, section: ModelSection, *, timeout_s: float = 5.0) -> None:
        """`timeout_s` is the deadline of one command."""
        assert isinstance(section.traffic, HaproxyTraffic)  # the registry chooses by it
        self._section, self._traffic = section, section.traffic
        self._backend = section.traffic.backend or section.name
        self._instances = [
            _Instance(instance, self._backend, RuntimeApi(instance.socket, timeout_s))
            for instance in section.traffic.instances
        ]

    async def look(self) -> Sequence[InstanceSeen]:
        """Read the backend from every instance."""
        return await asyncio.gather(*map(self._look, self._instances))

    async def check(self, version: str) -> Check:
        """Check each instance: the servers of every version, the algorithm, and the configuration file."""
        checks = await asyncio.gather(*(self._check(instance, version) for instance in self._instances))
        return Check(
            tuple(reason for check in checks for reason in check.reasons),
            tuple(note for check in checks for note in check.notes),
            tuple(dict.fromkeys(known for check in checks for known in check.known)),
            next((check.whole_only for check in checks if check.whole_only), ""),
            max(check.least_share for check in checks),
        )

    async def apply(self, weights: Mapping[str, float]) -> None:
        """Write the weights into every file, set them on every instance, and read them back.

        A fault of one instance or file does not stop the others: a rollback must reach all that it can.
        """
        results = await asyncio.gather(
            *(self._apply(instance, weights) for instance in self._instances), return_exceptions=True
        )
        raise_worst(results)

    async def persist(self, weights: Mapping[str, float]) -> Sequence[str]:
        """Write the weights into every configuration file. Raises EngineRefused where it could not be written."""
        results = await asyncio.gather(
            *(self._persist(instance, weights) for instance in self._instances), return_exceptions=True
        )
        raise_worst(results)
        return [sentence for sentence in results if isinstance(sentence, str)]

    async def close(self) -> None:
        """Do nothing: every command has its own connection."""

    async def _look(self, instance: _Instance) -> InstanceSeen:
        try:
            seen, process = await asyncio.gather(instance.read(), instance.process())
            found = await self._versions(seen)
        except (Unavailable, EngineRefused) as error:
            return InstanceSeen(instance.name, None, str(error))
        down = [v for v, own in found.items() if any(s.effective for s in own) and all(s.is_down for s in own)]
        pending = f"{instance.name} sends no request to {down[0]}: its servers are DOWN there" if down else ""
        return InstanceSeen(
            instance.name,
            shares_of({version: sum(s.effective for s in own) for version, own in found.items()}),
            pending=pending,
            totals={version: sum(s.total for s in own) for version, own in found.items()},
            open={version: sum(s.sessions for s in own) for version, own in found.items()},
            life=process,
        )

    async def _check(self, instance: _Instance, version: str) -> Check:
        try:
            seen = await instance.read()
        except (Unavailable, EngineRefused) as error:
            return Check((str(error),))
        found = await self._versions(seen)
        name, mine = instance.name, found[version]
        reasons = [
            f"{name}: backend {self._backend} has no server of {v}: add `server {v} {_address(self._section, v)} check "
            f"weight 0` to it, or name the servers under servers:"
            for v, own in found.items()
            if not own
        ]
        if mine and not any(s.takes_new for s in mine):
            names = ", ".join(f"{self._backend}/{s.name}" for s in mine)
            reasons.append(f"{name}: every server of {version} is in maintenance or draining; `enable server {names}`")
        elif mine and all(s.is_down for s in mine):
            reasons.append(f"{name}: HAProxy's health check says that every server of {version} is DOWN")
        known_names = {s.name for own in found.values() for s in own}
        strange = [s.name for s in seen.servers.values() if s.effective and s.name not in known_names]
        if strange:
            reasons.append(
                f"{name}: {', '.join(strange)} of backend {self._backend} gets requests and belongs to no version; "
                "name it under servers:, or set its weight to 0"
            )
        fault, file_known = await asyncio.to_thread(instance.file_check, _names(found))
        reasons += [fault] if fault else []
        if not seen.takes_weights and instance.config:
            reasons.append(
                f"{name}: `balance {seen.algorithm}` takes no weights at run time, and weight 0 in the file could not "
                f"be raised again without a reload; set `balance roundrobin` in backend {self._backend}"
            )
        return Check(
            tuple(reasons),
            known=(*file_known, *_known(name, seen)),
            whole_only=_whole_only(name, seen),
            least_share=least_share(len(mine) or 1, max((len(o) for o in found.values()), default=1) or 1, MAX_WEIGHT),
        )

    async def _apply(self, instance: _Instance, weights: Mapping[str, float]) -> None:
        found = await self._versions(before := await instance.read())
        if missing := [version for version in weights if not found.get(version)]:
            raise EngineRefused(f"{instance.name}: backend {self._backend} has no server of {missing[0]}")
        wanted = _wanted(found, weights, before, instance.name)
        # The file first: a reload in between then finds what was ordered. Its fault must not keep a rollback away.
        fault = await instance.write(wanted)
        try:
            await self._set(instance, wanted, before)
        except EngineRefused:
            # A refused order is not repeated. The file must not keep weights that a later reload would bring.
            await instance.write(await self._seen(instance, before, wanted))
            raise
        if fault:
            raise type(fault)(f"the weights are set, but {fault}")

    async def _set(self, instance: _Instance, wanted: Mapping[str, int], before: Table) -> None:
        """Set the weight of each server by name, and read it back. Raises EngineRefused, Unavailable."""
        changes = {n: w for n, w in wanted.items() if before.servers[n].weight != w}
        # Raised weights first: in between, the backend must never be without a server that takes requests.
        ordered = sorted(changes, key=lambda n: before.servers[n].weight - changes[n])
        unit = "" if before.takes_weights else "%"
        await instance.api.order(*(_set(self._backend, n, changes[n], unit, before.servers[n]) for n in ordered))
        after = await instance.read()
        odd = [n for n, w in wanted.items() if n not in after.servers or after.servers[n].weight != w]
        if odd:
            seen = after.servers[odd[0]].weight if odd[0] in after.servers else "no such server"
            raise EngineRefused(f"{instance.name}: {self._backend}/{odd[0]} was set to {wanted[odd[0]]} and has {seen}")

    async def _seen(self, instance: _Instance, before: Table, wanted: Mapping[str, int]) -> dict[str, int]:
        """Return the weights that HAProxy has now. Where it does not say, those before the order."""
        with suppress(Unavailable, EngineRefused):
            before = await instance.read()
        return {name: before.servers[name].weight for name in wanted if name in before.servers}

    async def _persist(self, instance: _Instance, weights: Mapping[str, float]) -> str:
        found = await self._versions(seen := await instance.read())
        if instance.config is None:
            return (
                f"{instance.name} has no `config:` in fleet.yaml: a reload of HAProxy brings the weights of its file "
                f"back; set them there by hand ({_listed(_wanted(found, weights, seen, instance.name))})"
            )
        if fault := await instance.write(_wanted(found, weights, seen, instance.name)):
            raise fault
        return f"{instance.config} has these weights, so a reload of HAProxy keeps them"

    async def _versions(self, seen: Table) -> dict[str, list[Server]]:
        """Return the servers of each version: by their names, or by the addresses of its backends."""
        found: dict[str, list[Server]] = {}
        for version in self._section.versions:
            if names := self._traffic.servers.get(version):
                found[version] = [seen.servers[name] for name in names if name in seen.servers]
                continue
            wanted = {host_port(b.url) for b in self._section.versions[version].backends}
            mine = [s for s in seen.servers.values() if s.address in wanted]
            if len(mine) < len(wanted):
                addresses = {address for place in wanted for address in await resolved(place)}
                mine = [s for s in seen.servers.values() if s.address in addresses | wanted]
            found[version] = mine
        return found


class _Instance:
    """One HAProxy: its socket, and its file if it is local."""

    def __init__(self, section: HaproxyInstance, backend: str, api: RuntimeApi) -> None:
        self.name, self.config, self.api, self._backend = section.socket, section.config, api, backend

    async def read(self) -> Table:
        """Return the backend. Raises NotSent, Unavailable and EngineRefused."""
        state = await self.api.ask(f"show servers state {self._backend}")
        if not state.lstrip().startswith("1\n"):
            raise EngineRefused(
                f"{self.name} has no backend {self._backend} ({' '.join(state.split())[:200]}); name HAProxy's backend "
                "by backend: under traffic:"
            )
        return table(await self.api.ask("show stat"), state, self._backend, self.name)

    async def process(self) -> str:
        """Return the identity of the process."""
        info = await self.api.ask("show info")
        return next((line for line in info.splitlines() if line.startswith(_PROCESS)), "")

    def file_check(self, names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """Return why the file cannot be rewritten ("": it can), and sentences about it. Blocking."""
        if self.config is None:
            return "", (f"{self.name} has no config:, so a reload of HAProxy brings the weights of its file back",)
        try:
            data = _data(self.config)
            config_file.with_weights(data, self._backend, dict.fromkeys(names, 0))
        except (OSError, UnfitFile) as error:
            return f"{self.config} cannot be rewritten: {error}", ()
        if not os.access(self.config.resolve().parent, os.W_OK):
            return (
                f"{self.config} cannot be rewritten: this account (user id {os.geteuid()}) may not write into "
                f"{self.config.resolve().parent}",
                (),
            )
        return "", ()

    async def write(self, wanted: Mapping[str, int]) -> EngineRefused | Unavailable | None:
        """Write the weights into the file, if there is one. Return why it could not be written, or None."""
        if self.config is None:
            return None
        try:
            async with turn(self.config.resolve().parent):
                await to_the_end(self._write, self.config, wanted)
        except Unavailable as error:
            return Unavailable(self._unwritten(error, wanted))
        except (OSError, UnfitFile) as error:
            return EngineRefused(self._unwritten(error, wanted))
        return None

    def _write(self, config: Path, wanted: Mapping[str, int]) -> None:
        """Edit the file. Blocking; the caller has the folder's turn. Raises OSError and UnfitFile."""
        change = functools.partial(config_file.with_weights, backend=self._backend, weights=wanted)
        edit_file(config, lambda: _data(config), change)

    def _unwritten(self, error: Exception, wanted: Mapping[str, int]) -> str:
        return (
            f"{self.config} could not be rewritten ({error}): a reload of HAProxy brings the old weights back; "
            f"set them there by hand ({_listed(wanted)})"
        )


def _data(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise UnfitFile(f"it is larger than {MAX_FILE_BYTES} bytes")
    return data


def _wanted(
    found: Mapping[str, Sequence[Server]], weights: Mapping[str, float], seen: Table, instance: str
) -> dict[str, int]:
    """Return the weight of each server by name. Raises EngineRefused for a share that cannot be set."""
    if seen.takes_weights:
        counts = {version: len(own) for version, own in found.items()}
        each = whole_weights(weights, counts, MAX_WEIGHT).weights
        return {server.name: each[version] for version, own in found.items() for server in own}
    if len(weights) > 1:
        raise EngineRefused(_whole_only(instance, seen))
    # A static algorithm knows 0 % and 100 % of the weight in the file.
    return {s.name: s.initial if weights.get(version) else 0 for version, own in found.items() for s in own}


def _set(backend: str, name: str, weight: int, unit: str, before: Server) -> str:
    value = f"{weight}" if not unit else ("100%" if weight == before.initial else "0%")
    return f"set server {backend}/{name} weight {value}"


def _whole_only(instance: str, seen: Table) -> str:
    if seen.takes_weights:
        return ""
    return (
        f"{instance}: `balance {seen.algorithm}` takes only 0 and 100 % at run time; set `balance roundrobin` in the "
        "backend"
    )


def _known(instance: str, seen: Table) -> list[str]:
    if not seen.takes_weights or seen.algorithm in BY_REQUESTS:
        return []
    how = "open connections" if seen.algorithm == "leastconn" else "chance"
    return [
        f"{instance}: `balance {seen.algorithm}` divides by {how}, so the share of requests is only near the weight"
    ]


def _names(found: Mapping[str, Sequence[Server]]) -> list[str]:
    return [server.name for own in found.values() for server in own]


def _listed(wanted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} weight {weight}" for name, weight in wanted.items())


def _address(section: ModelSection, version: str) -> str:
    backends = section.versions[version].backends
    return host_port(backends[0].url) if backends else "ADDRESS"
