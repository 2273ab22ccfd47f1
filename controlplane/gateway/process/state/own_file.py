"""The desired state from the gateway's own fleet.yaml, when it follows no control plane. The file is watched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from controlplane.config.gateway import GatewaySection
from controlplane.config.loader import LoadedFleet, load_fleet
from controlplane.errors import ConfigErrors
from controlplane.gateway.desired.build import build
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadDesired

log = logging.getLogger(__name__)

WATCH_S = 2.0
AT_START = tuple(name for name in GatewaySection.model_fields if name not in ("tenants", "authentication"))
"""Fields of `gateway:` that take effect at the next start or upgrade."""


class OwnFile:
    """Watches fleet.yaml. A file with faults keeps what is in force."""

    def __init__(
        self,
        loaded: LoadedFleet,
        apply: Callable[[Desired, str], Awaitable[None]] | None,
    ) -> None:
        """`apply` gets the state of each good file; None when the gateway follows a control plane instead."""
        self._first, self._path, self._apply = loaded, loaded.path, apply
        self._stamp = stamp(loaded.path)
        self.fault = ""
        """The faults of the file on disk, or ""."""
        self.again = asyncio.Event()
        """Set to read the file at once."""

    async def begin(self) -> None:
        """Apply the file that the gateway was started with. Raises BadDesired."""
        await self._take(self._first)

    async def run(self) -> None:
        """Read the file again when it changed, until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self.again.wait(), WATCH_S)
            except TimeoutError:
                if await asyncio.to_thread(stamp, self._path) == self._stamp:
                    continue
            self.again.clear()
            await self._read()

    async def _read(self) -> None:
        self._stamp = await asyncio.to_thread(stamp, self._path)
        try:
            loaded = await asyncio.to_thread(load_fleet, self._path)
            await self._take(loaded)
        except ConfigErrors as error:
            self.fault = str(error)
            for fault in error.errors:
                log.error("configuration: %s; the old configuration stays", fault)
            return
        except BadDesired as error:
            self.fault = str(error)
            log.error("configuration: %s: %s; the old configuration stays", self._path, error)
            return
        self.fault = ""
        for field in later(self._first, loaded):
            log.warning("configuration: gateway.%s: takes effect at the next start or upgrade (SIGUSR2)", field)

    async def _take(self, loaded: LoadedFleet) -> None:
        if self._apply is not None:
            desired = await asyncio.to_thread(build, loaded.fleet.models, loaded.fleet.gateway)
            await self._apply(desired, str(self._path))


def later(first: LoadedFleet, now: LoadedFleet) -> list[str]:
    """Return the fields of `gateway:` that differ from those that the gateway was started with."""
    one, other = first.fleet.gateway, now.fleet.gateway
    return [name for name in AT_START if getattr(one, name) != getattr(other, name)]


def stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes with a file: its inode, time and size. Zeros for a file that is not there. Blocking."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_mtime_ns, found.st_size
