"""The two origins of the desired state: a control plane that is followed, or the gateway's own fleet.yaml."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol

from collectors.durations import format_duration
from controlplane.config.auth import auth_of
from controlplane.config.gateway import ControlPlaneSection
from controlplane.config.loader import LoadedFleet
from controlplane.gateway.desired.codec import MAX_BYTES
from controlplane.gateway.errors import BadDesired
from controlplane.gateway.process.state.applying import Applying
from controlplane.gateway.process.state.following import Fault, Follower, Reporter
from controlplane.gateway.process.state.last_good import LastGood
from controlplane.gateway.process.state.own_file import OwnFile
from controlplane.gateway.telemetry.meters import Meters
from controlplane.gateway.telemetry.usage_meters import ShipperMeters
from controlplane.gateway.usage.shipper import Shipper
from controlplane.remote_client import RemoteClient

log = logging.getLogger(__name__)

AGAIN_S = 5.0
"""Seconds after an internal error until the work goes on."""
JOURNALS = "usage"
"""Folder of the journals of usage records, in the data folder."""
MAX_ACKNOWLEDGEMENT = 64 * 2**10
"""Largest answer to a batch of usage records."""
LEAVE_S = 2.0
"""Seconds for the last report."""


class Source(Protocol):
    """An origin of desired states."""

    name: str
    """The origin in sentences: an address, or a file."""

    @property
    def fault(self) -> str:
        """Why the newest state is not in force, or ""."""
        ...

    async def begin(self) -> None:
        """Apply the state to begin with. Raises BadDesired when there is none and none can come."""
        ...

    async def run(self) -> None:
        """Apply each new state, until cancelled."""
        ...

    def again(self) -> None:
        """Read fleet.yaml again."""
        ...

    def take_charge(self) -> None:
        """Act in the gateway's name from now on: no predecessor does so any more."""
        ...

    async def leave(self, *, say: bool) -> None:
        """Follow no more, and with `say` report that this gateway ends."""
        ...

    async def close(self, *, ship: bool) -> None:
        """The last worker has ended: with `ship` send what its requests used, and close."""
        ...


class FromFile:
    """The gateway's own fleet.yaml."""

    def __init__(self, loaded: LoadedFleet, applying: Applying) -> None:
        self.name = str(loaded.path)
        self._file = OwnFile(loaded, applying.apply)
        self.again = self._file.again.set

    @property
    def fault(self) -> str:
        """The faults of the file on disk, or ""."""
        return self._file.fault

    async def begin(self) -> None:
        """Apply the file that the gateway was started with."""
        await self._file.begin()

    async def run(self) -> None:
        """Watch the file."""
        await enduring("fleet.yaml", self._file.run)

    def take_charge(self) -> None:
        """Do nothing: it acts for itself only."""

    async def leave(self, *, say: bool) -> None:
        """Do nothing: nobody is told."""

    async def close(self, *, ship: bool) -> None:
        """Do nothing: there is no journal."""


class FromControlPlane:
    """A control plane, and the last state that it gave on disk."""

    def __init__(
        self,
        loaded: LoadedFleet,
        section: ControlPlaneSection,
        applying: Applying,
        folder: Path,
        report: Callable[[], dict[str, Any]],
        raise_spent: Callable[[Mapping[str, float]], None],
        changed: asyncio.Event,
        meters: Meters,
    ) -> None:
        """`report` makes the body of a report, and `changed` is set when it should go at once. `raise_spent` gets what
        this gateway had spent before it lost its disk."""
        client = RemoteClient(section.url, auth_of(section), max_reply_bytes=MAX_BYTES)
        self.name = f"the control plane {client.name}"
        self._client, self._disk, self._applying = client, LastGood(folder), applying
        self._file = OwnFile(loaded, None)
        self.again = self._file.again.set
        name = loaded.fleet.gateway.effective_name
        self._follower = Follower(client, name, self.name, applying.apply)
        self._leaving = False
        self._in_charge = asyncio.Event()
        shipping = RemoteClient(section.url, auth_of(section), max_reply_bytes=MAX_ACKNOWLEDGEMENT)
        self._shipping = shipping
        self._shipper = Shipper(folder / JOURNALS, name, shipping, ShipperMeters(meters))
        self._reporter = Reporter(
            client, lambda: {**report(), "leaving": self._leaving}, applying.share, raise_spent, changed
        )

    @property
    def fault(self) -> str:
        """Why the newest state is not in force, or ""."""
        return self._follower.said.fault

    async def begin(self) -> None:
        """Apply the last good state from the disk, if there is one. A damaged one is left out."""
        try:
            kept = await asyncio.to_thread(self._disk.read)
            if kept is None:
                log.info("no desired state on disk: waiting for %s", self.name)
                return
            origin = f"{self._disk.path}, {format_duration(round(kept.age_s))} old"
            await self._applying.apply(kept.desired, origin, keep=False)
            log.info("beginning with the desired state of %s", origin)
            self._follower.revision = kept.desired.revision
        except BadDesired as error:
            log.error("the desired state on disk is left out: %s", error)

    async def run(self) -> None:
        """Follow the control plane, report to it, and watch the own file."""
        async with asyncio.TaskGroup() as group:
            group.create_task(enduring("the desired state", self._follower.run))
            # Until then, the gateway before this one reports and ships in the same name.
            await self._in_charge.wait()
            group.create_task(enduring("reports", self._reporter.run))
            group.create_task(enduring("the shipping of usage", self._shipper.run))
            group.create_task(enduring("fleet.yaml", self._file.run))

    def take_charge(self) -> None:
        """Report and ship from now on."""
        self._in_charge.set()

    async def leave(self, *, say: bool) -> None:
        """Report once more that this gateway ends, so that nobody waits for it. A successor goes on in its name."""
        self._leaving = True
        if say:
            with contextlib.suppress(Fault, TimeoutError):
                await asyncio.wait_for(self._reporter.send(), LEAVE_S)
        await self._client.close()

    async def close(self, *, ship: bool) -> None:
        """Ship what is left in the journals, for some seconds: the data folder may go with this gateway."""
        if ship:
            await self._shipper.finish()
        await self._shipping.close()


async def enduring(what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do a work that never ends. A bug in it must not end the gateway, which serves on."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("internal error: %s; tried again in %.0f s", what, AGAIN_S)
            await asyncio.sleep(AGAIN_S)
