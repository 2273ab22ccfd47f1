"""The driver for Triton. Triton serves unversioned requests from the highest version that is ready.

docs/adr/0003-triton-switch.md describes Triton's behaviour and its measurement.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from controlplane.config.auth import auth_of
from controlplane.config.models import ModelSection
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
from controlplane.traffic.threads import to_the_end
from controlplane.traffic.triton import pbtxt, version_files
from controlplane.traffic.triton.answer import judged
from controlplane.traffic.triton.api import IndexRow, TritonApi, with_cure
from controlplane.traffic.triton.grpc_loader import GrpcLoader, missing_package
from controlplane.whole_file import replace_file

_STATES = {state.name: state for state in VersionState if state is not VersionState.UNKNOWN}
_LOADED = ("READY", "LOADING", "UNLOADING")
"""States in which a version has memory."""
LOOK_S = 0.2
"""Seconds between two looks at versions that are being unloaded."""
CAPABILITIES = Capabilities(
    weights=False,
    prewarm=False,
    notes=(
        "Triton sends unversioned requests to the highest version that is ready: it cannot split traffic by weight",
        "a version gets traffic the moment it is ready, not before: Triton loads it in the background and then swaps",
    ),
    endless_load=(
        "Triton cannot cancel a load, and starts no other load of this model before it ends; if it does not end, "
        "restart that Triton"
    ),
)


class TritonDriver:
    """Moves one model between its version directories on one or more Triton servers. Owns its session."""

    capabilities = CAPABILITIES

    def __init__(self, section: ModelSection, session: aiohttp.ClientSession, *, timeout_s: float = 5.0) -> None:
        """`session` comes from engine_server.open_session(). `timeout_s` is the deadline of every call but a load."""
        self._section, self._session = section, session
        self._model = section.traffic.model or section.name
        self._apis = {b.url: TritonApi(b.url, session, timeout_s, auth_of(b)) for b in section.traffic.backends}
        self._loaders = {b.url: GrpcLoader(b.grpc, with_cure) for b in section.traffic.backends if b.grpc}

    def can_keep(self, serve: str, keep: str) -> bool:
        """Return whether `keep` is lower than `serve`: the highest loaded version gets the traffic."""
        return _number(keep) < _number(serve)

    async def observe(self) -> TrafficObservation:
        """Read every server's repository index, and confirm each READY version by the version's readiness endpoint."""
        backends = await asyncio.gather(*(self._observe(url) for url in self._apis))
        return TrafficObservation(self._section.name, tuple(backends))

    async def prepare(self, version: str) -> Preparation:
        """Check that every server is reachable, accepts load orders, runs the model and can see the version.

        Raises Refused with all reasons.
        """
        answers = await asyncio.gather(*(self._prepare(url) for url in self._apis))
        reasons = [answer for answer in answers if isinstance(answer, str)]
        configs = {url: answer for url, answer in zip(self._apis, answers, strict=True) if isinstance(answer, dict)}
        looks = await asyncio.to_thread(self._look, version, configs)
        reasons += [look.fault for look in looks if look.fault]
        if self._loaders and (lacking := missing_package()):
            reasons.append(lacking)
        if reasons:
            raise Refused(*reasons)
        doubts = tuple(look.doubt for look in looks if look.doubt)
        return Preparation(json.dumps(configs), doubts, self._known(version, configs))

    async def place(self, backend: str, placement: Placement) -> None:
        """Load the model with exactly the placement's versions. Triton swaps when all of them are ready.

        Raises EngineRefused and Unavailable, also when versions that must be gone first are not.
        """
        if placement.unload_first:
            await self._empty(backend, placement)
        config = json.loads(placement.config)[backend]
        # Every load sends the whole configuration: without it Triton would use a config.pbtxt that is newer.
        config = {**config, "version_policy": {"specific": {"versions": _numbers(placement)}}}
        loader = self._loaders.get(backend, self._apis[backend])
        await loader.load(self._model, config, self._section.traffic.load_timeout)

    async def ask(self, backend: str, version: str, question: Question) -> Answer:
        """Post the question to the version's own address: unversioned requests may reach another version."""
        started = time.monotonic()
        try:
            reply = await self._apis[backend].ask(self._model, _number(version), question)
        except NotSent:
            raise
        except Unavailable as error:
            return Answer(str(error), time.monotonic() - started)
        found = judged(backend, question, reply)
        return Answer(found.fault, found.seconds, (found,))

    async def commit(self, placement: Placement) -> Sequence[str]:
        """Write the placement's versions into config.pbtxt in every local repository.

        Raises EngineRefused when a file could not be written.
        """
        sentences, refusals = [], []
        for folder in dict.fromkeys(b.repository for b in self._section.traffic.backends if b.repository):
            try:
                sentences.append(await to_the_end(self._persist, folder / self._model, placement))
            except (OSError, ValueError) as error:
                refusals.append(
                    f"{folder / self._model / 'config.pbtxt'} could not be written ({error}): a restart of Triton may "
                    f"bring another version back; set version_policy to {_numbers(placement)} there by hand"
                )
        if refusals:
            raise EngineRefused("; ".join([*refusals, *sentences]))
        sentences += [
            f"{b.url} has no local `repository:`, so config.pbtxt was not written: after a restart Triton follows the "
            f"version_policy on its own disk; set it to {_numbers(placement)} there"
            for b in self._section.traffic.backends
            if b.repository is None
        ]
        return sentences

    async def close(self) -> None:
        """Close connections."""
        for loader in self._loaders.values():
            await loader.close()
        await self._session.close()

    async def _empty(self, url: str, placement: Placement) -> None:
        """Unload every version and wait until they are gone, unless the placement's version is loaded already."""
        api, deadline = self._apis[url], time.monotonic() + self._section.traffic.drain_timeout
        rows = await api.index(self._model)
        if any(row.version == _number(placement.serve) and row.state in _LOADED for row in rows):
            return
        if any(row.state == "READY" for row in rows):
            await api.unload(self._model)
        while left := [row.version for row in await api.index(self._model) if row.state in _LOADED]:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{url} still has version {left} of {self._model}, so {placement.serve} was not loaded"
                )
            await asyncio.sleep(LOOK_S)

    async def _observe(self, url: str) -> BackendObservation:
        api = self._apis[url]
        try:
            rows = await api.index(self._model)
            ready = await asyncio.gather(
                *(api.version_ready(self._model, row.version) for row in rows if row.state == "READY")
            )
        except (Unavailable, EngineRefused) as error:
            return BackendObservation(url, False, {}, {}, {}, str(error))
        answering = [row.version for row in rows if row.state == "READY"]
        confirmed = {version for version, ok in zip(answering, ready, strict=True) if ok}
        # A version that was never loaded is missing in the index. Triton answered, so it is unavailable, not unknown.
        states = dict.fromkeys(self._section.versions, VersionState.UNAVAILABLE)
        states |= {f"v{row.version}": _state(row, confirmed) for row in rows}
        reasons = {f"v{row.version}": row.reason for row in rows if row.reason}
        return BackendObservation(url, True, states, reasons, all_to(f"v{max(confirmed)}" if confirmed else None))

    async def _prepare(self, url: str) -> dict[str, Any] | str:
        api = self._apis[url]
        try:
            config = await api.config(self._model)
            await api.check_explicit()
        except Unavailable as error:
            return f"{error}; what it serves is unknown, so nothing was started"
        except EngineRefused as error:
            return str(error)
        return config

    def _look(self, version: str, configs: dict[str, dict[str, Any]]) -> list[version_files.Look]:
        """Inspect the version's directory in every local repository, each directory once."""
        found = {}
        for backend in self._section.traffic.backends:
            if backend.repository:
                folder = backend.repository / self._model / str(_number(version))
                found[folder] = version_files.look(folder, configs.get(backend.url, {}))
        return list(found.values())

    def _known(self, version: str, configs: dict[str, dict[str, Any]]) -> tuple[str, ...]:
        cold = [url for url, config in configs.items() if not config.get("model_warmup")]
        warm = "the model's configuration has model_warmup, which runs before a version is ready"
        notes = [f"no model_warmup in the model's configuration on {url}: first requests will be cold" for url in cold]
        remote = [b.url for b in self._section.traffic.backends if b.repository is None]
        notes += [
            f"{url} has no local `repository:`: version directory {_number(version)} cannot be checked before the "
            "load, and config.pbtxt will not be written"
            for url in remote
        ]
        notes += [
            f"{b.url} has no `grpc:` address, so the load order goes over HTTP: requests on connections that share its "
            "HTTP thread, streams included, wait until it is loaded (triton-inference-server/server issue 8958)"
            for b in self._section.traffic.backends
            if b.grpc is None
        ]
        return tuple(notes if cold else [warm, *notes])

    def _persist(self, folder: Path, placement: Placement) -> str:
        path, numbers = folder / "config.pbtxt", _numbers(placement)
        if path.exists():
            before = path.read_text()
        else:
            before = pbtxt.minimal(self._model, next(iter(json.loads(placement.config).values())))
        after = pbtxt.with_versions(before, numbers)
        if path.exists() and after == before:
            return f"{path} already names version {numbers}"
        verb = "now names" if path.exists() else "was created and names"
        # The temporary file is gone before the next load: another new file in a model's folder makes Triton reload.
        replace_file(path, after.encode())
        return f"{path} {verb} version {numbers}, so a restart of Triton keeps it"


def _state(row: IndexRow, confirmed: set[int]) -> VersionState:
    if row.state == "READY" and row.version not in confirmed:
        return VersionState.LOADING  # the index says READY shortly before the endpoint does: both must agree
    return _STATES.get(row.state, VersionState.UNKNOWN)


def _number(version: str) -> int:
    match = re.fullmatch(r"v(\d+)", version)
    if match is None:
        raise Refused(f"on Triton a version is vN for version directory N, got {version!r}")
    return int(match.group(1))


def _numbers(placement: Placement) -> list[int]:
    return sorted(_number(version) for version in {placement.serve, *placement.keep})
