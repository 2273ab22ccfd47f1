"""Lets a Triton load what was restored, and checks that it serves it.

Measured on tritonserver 2.51 (docs/adr/0003-triton-switch.md): a load without a configuration does nothing when no time
in the model's folder has changed, and is answered 200 all the same. A restore brings old times back. So the time of the
model's folder is set to now before the order. A load that fails leaves the version READY that was in memory before, so
READY counts only after an order that was answered 200.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controlplane.backup.engines.models import RestoredModel, expected_versions
from controlplane.backup.errors import BackupError, NotLoaded
from controlplane.errors import Unavailable
from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.triton.api import IndexRow, TritonApi

LOOK_S: Final = 0.5
"""Seconds between two looks at the index."""
SETTLE_S: Final = 10.0
"""Seconds that versions have to become READY once Triton has answered 200. Chosen: Triton answers after the load."""
_LOADED: Final = ("READY", "LOADING")

Index = Mapping[str, Sequence[IndexRow]]


@dataclass(frozen=True)
class Seen:
    """A Triton before a restore."""

    takes_orders: bool
    """Whether it loads on request (explicit mode). Others load at their start, or poll their repository."""
    index: Index = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """The versions that a Triton serves after a restore."""

    names: tuple[str, ...]
    """Each version that was checked, such as `chat 2`."""
    confirmed: bool
    """Whether it is certain that Triton read the restored files."""


class TritonLoader:
    """One Triton server. The folders of its models have to be on this machine's disk."""

    def __init__(
        self,
        api: TritonApi,
        url: str,
        load_timeout_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`load_timeout_s` is the time that each model has to load, or to be polled."""
        self._api, self._url, self._timeout_s, self._clock, self._pause = api, url, load_timeout_s, clock, pause

    async def look(self) -> Seen:
        """Return what the server does now. Changes nothing. Raises Unavailable when it does not answer."""
        try:
            await self._api.check_explicit()
        except EngineRefused:
            return Seen(takes_orders=False, index=await self._index())
        return Seen(takes_orders=True, index=await self._index())

    async def chosen(self, models: Sequence[RestoredModel], names: Sequence[str]) -> list[RestoredModel]:
        """Return the models to load: those with these names, else those that Triton has loaded, else all.

        Raises Unavailable.
        """
        if names:
            return [model for model in models if model.name in names]
        index = await self._index()
        known = [model for model in models if any(_was_wanted(row) for row in index.get(model.name, ()))]
        return known or list(models)

    async def load(
        self, models: Sequence[RestoredModel], before: Seen, loaded: Callable[[], None] = lambda: None
    ) -> Served:
        """Let the server load the models, one after another, and check that it serves them.

        `loaded` is called after each model.
        Raises NotLoaded with the server's words, and BackupError when a folder cannot be changed.
        """
        for model in models:
            _touch(model)
        names: list[str] = []
        confirmed = True
        for model in models:
            if before.takes_orders:
                names += await self._ordered(model)
            else:
                served, sure = await self._polled(model, before)
                names, confirmed = [*names, *served], confirmed and sure
            loaded()
        return Served(tuple(names), confirmed)

    async def unload(self, models: Sequence[RestoredModel]) -> list[str]:
        """Unload the models. Return a sentence for each that could not be unloaded."""
        faults = []
        for model in models:
            try:
                await self._api.unload(model.name)
            except (EngineRefused, Unavailable) as error:
                faults.append(f"{model.name} could not be unloaded: {error}")
        return faults

    async def _ordered(self, model: RestoredModel) -> list[str]:
        """Load a model by order. An order whose reply was lost is repeated: to repeat one does no harm."""
        deadline = self._clock() + self._timeout_s
        while True:
            try:
                await self._api.load_as_stored(model.name, max(0.1, deadline - self._clock()))
                break
            except EngineRefused as error:
                raise NotLoaded(f"Triton did not load {model.name}: {error}") from error
            except Unavailable as error:
                if self._clock() >= deadline - LOOK_S:
                    raise NotLoaded(
                        f"Triton did not load {model.name} within {self._timeout_s:g} s: {error}", hangs=True
                    ) from error
                await self._pause(LOOK_S)
        deadline = self._clock() + SETTLE_S
        while fault := await self._fault(model):
            if self._clock() >= deadline:
                raise NotLoaded(f"Triton answered the load of {model.name} with 200, and yet {fault}")
            await self._pause(LOOK_S)
        return await self._names(model)

    async def _polled(self, model: RestoredModel, before: Seen) -> tuple[list[str], bool]:
        """Wait until a server that takes no orders has loaded a model. Return what it serves, and whether that is sure.

        A version that stays READY may be the one that was in memory before: only one that was seen loading, or that was
        not READY before, was read from the restored files.
        """
        deadline = self._clock() + self._timeout_s
        ready_before = {row.version for row in before.index.get(model.name, ()) if row.state == "READY"}
        loading: set[int] = set()
        fault = ""
        while self._clock() < deadline:
            try:
                rows = (await self._index()).get(model.name, ())
                fault = await self._fault(model)
            except Unavailable as error:
                rows, fault = (), str(error)
            loading |= {row.version for row in rows if row.state == "LOADING"}
            ready = {row.version for row in rows if row.state == "READY"}
            if not fault and all(version in loading or version not in ready_before for version in ready):
                return await self._names(model), True
            await self._pause(LOOK_S)
        if fault:
            raise NotLoaded(f"Triton did not load {model.name} within {self._timeout_s:g} s: {fault}")
        return await self._names(model), False

    async def _fault(self, model: RestoredModel) -> str:
        """Return why the server does not serve the model as its folder wants it; "": it does."""
        try:
            wanted = await self._wanted(model)
            rows = {row.version: row for row in (await self._index()).get(model.name, ())}
            if model.must_serve is not None and model.must_serve not in wanted:
                return f"its version_policy chooses {_listed(wanted)}, and not the restored version {model.must_serve}"
            if not wanted:
                return f"{model.folder} has no version that its version_policy chooses"
            for version in wanted:
                row = rows.get(version)
                if row is None or row.state != "READY":
                    return _not_ready(model.name, version, rows)
                if not await self._api.version_ready(model.name, version):
                    return f"{model.name} {version} is READY in its index, and does not accept requests"
        except (EngineRefused, Unavailable) as error:
            return str(error)
        return ""

    async def _names(self, model: RestoredModel) -> list[str]:
        try:
            return [f"{model.name} {version}" for version in await self._wanted(model)]
        except (EngineRefused, Unavailable) as error:
            raise NotLoaded(f"Triton served {model.name} and then did not answer: {error}") from error

    async def _wanted(self, model: RestoredModel) -> list[int]:
        policy = (await self._api.config(model.name)).get("version_policy")
        try:
            return expected_versions(model, policy if isinstance(policy, dict) else None)
        except (TypeError, ValueError):
            raise Unavailable(f"{self._url} answered a version_policy that cannot be read: {policy!r:.200}") from None

    async def _index(self) -> Index:
        """Return the index. A server whose repository is gone has none."""
        try:
            return await self._api.models()
        except EngineRefused:
            return {}


def _was_wanted(row: IndexRow) -> bool:
    """Return whether somebody wanted the version to be loaded: it is, or it could not be."""
    return row.state in _LOADED or (row.state == "UNAVAILABLE" and row.reason not in ("", "unloaded"))


def _not_ready(name: str, version: int, rows: Mapping[int, IndexRow]) -> str:
    row = rows.get(version)
    if row is not None:
        return f"its index says that {name} {version} is {row.state or 'not loaded'}" + (
            f": {row.reason}" if row.reason else ""
        )
    others = [str(other.version) for other in rows.values() if other.state == "READY"]
    return f"its index does not know {name} {version}" + (f"; READY is {', '.join(others)}" if others else "")


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions)) or "nothing"


def _touch(model: RestoredModel) -> None:
    """Set the time of the model's folder to now, by which Triton sees that it has changed."""
    try:
        os.utime(model.folder)
    except OSError as error:
        raise BackupError(f"the time of {model.folder} cannot be set: {error.strerror}") from None
