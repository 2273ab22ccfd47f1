"""The desired state in force: hands a new one to limits and workers, keeps it on disk, and holds on to it when the new
one is refused."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from controlplane.gateway.desired.codec import encode
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadDesired, GatewayError
from controlplane.gateway.process.state.last_good import LastGood
from controlplane.gateway.process.workers import State, Workers

SHARES_S = 1.0
"""Seconds between two writes of shares. They come with each report, every second."""

log = logging.getLogger(__name__)


class LimitsKeeper(Protocol):
    """Keeps the slots of limits in shared memory, for all workers."""

    def apply(self, desired: Desired, now: float) -> None:
        """Allot slots to all limits, and set this gateway's shares. Raises BadDesired for too many limits."""
        ...


class Applying:
    """Applies desired states one after another."""

    def __init__(self, workers: Workers, keeper: LimitsKeeper, disk: LastGood, first: Callable[[], None]) -> None:
        """`first` is called when the first state is applied."""
        self._workers, self._keeper, self._disk, self._first = workers, keeper, disk, first
        self._applying = asyncio.Lock()
        self._shared = asyncio.Event()
        """Set when there are shares that the disk does not have."""
        self.desired: Desired | None = None
        self.origin = ""
        """The place that the state came from, in words."""
        self.since = 0.0
        """Monotonic time at which it came into force."""

    async def apply(self, desired: Desired, origin: str, *, keep: bool = True) -> None:
        """Apply a state, and with `keep` write it to the disk.

        Raises BadDesired; the state before stays in force then.
        """
        async with self._applying:
            before = self.desired
            if before is not None and before.revision == desired.revision:
                self.origin = origin
                return
            if before is not None and not desired.shares:
                # A document has none. Until the next report brings them, the limits must not be this gateway's alone.
                desired = replace(desired, shares=before.shares)
            self._keeper.apply(desired, time.monotonic())
            body = await asyncio.to_thread(encode, desired)
            why = await self._workers.apply(State(desired.revision, body))
            if why:
                if before is not None:
                    self._keeper.apply(before, time.monotonic())
                raise BadDesired(f"a worker refuses it: {why}")
            self.desired, self.origin, self.since = desired, origin, time.monotonic()
            for sentence in differences(before, desired):
                log.info("desired state: %s", sentence)
            if before is None:
                self._first()
            if keep:
                try:
                    await asyncio.to_thread(self._disk.write, desired)
                except GatewayError as error:
                    log.error("%s; without it a restart begins with an older state", error)

    def share(self, shares: Mapping[str, float]) -> None:
        """Set this gateway's shares of limits. The state stays the same, and `keep` writes them to the disk."""
        if self.desired is not None and dict(shares) != self.desired.shares:
            self.desired = replace(self.desired, shares=dict(shares))
            self._keeper.apply(self.desired, time.monotonic())
            self._shared.set()

    async def keep(self) -> None:
        """Write shares to the disk when they change, at most once a second, until cancelled.

        A report waits for no disk: a gateway that does not report is taken for dead.
        """
        said = ""
        while True:
            await self._shared.wait()
            self._shared.clear()
            try:
                await asyncio.to_thread(self._disk.write_shares, self.desired.shares if self.desired else {})
                said = ""
            except GatewayError as error:
                if str(error) != said:
                    log.error("%s; without it a restart begins with older shares of limits", error)
                said = str(error)
            await asyncio.sleep(SHARES_S)


def differences(before: Desired | None, after: Desired) -> list[str]:
    """Return the changes of models as sentences, for the log. A lower generation says so: a database was restored."""
    known = {model.name: model for model in before.models} if before else {}
    found = [f"revision {after.revision}: models {len(after.models)}, keys {len(after.keys)}"]
    for model in after.models:
        old = known.pop(model.name, None)
        split = ", ".join(f"{v.name} {v.weight / 10:g}%" for v in model.versions if v.weight)
        if old is None:
            found.append(f"{model.name}: generation {model.generation}: {split}")
        elif model.generation < old.generation:
            found.append(
                f"{model.name}: generation {model.generation} after {old.generation}: {split}; the control plane's "
                "database is an older one, and what it says is applied"
            )
        elif model != old:
            found.append(f"{model.name}: generation {model.generation}: {split}")
    return [*found, *(f"{name}: is served no more" for name in known)]
