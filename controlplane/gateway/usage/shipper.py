"""Sends usage to the control plane: each record of each journal exactly once, however long the control plane was away.

One batch is on its way at a time. A batch is acknowledged by the sequence number up to which the control plane has the
journal, in the transaction that holds the sums. So a lost reply is answered by the next one, and a batch that the
control plane has in part is read again without that part.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import orjson

from controlplane.errors import Unavailable
from controlplane.gateway.backoff import Backoff
from controlplane.gateway.usage.batch import Batch
from controlplane.gateway.usage.segments import Reading, Segments
from controlplane.remote_client import Reply, Server

FORMAT = 1
PATH = "cp/v1/gateways/usage"
IDLE_S = 2.0
"""Seconds between two looks at journals without new records. Chosen: `cp usage` is a few seconds behind."""
TIMEOUT_S = 30.0
_BACKOFF_S = (1.0, 60.0)
"""First and longest pause after a failure, in seconds."""
_SETTINGS = frozenset({401, 403, 404})
"""Statuses that only a person can change."""

_log = logging.getLogger(__name__)


class ShipperMeters(Protocol):
    """Numbers of the shipping."""

    def shipped(self, records: int) -> None:
        """So many records were acknowledged."""
        ...

    def damaged(self, records: int) -> None:
        """So many records could not be read back from the journal."""
        ...

    def waiting(self, size: int, age_s: float) -> None:
        """`size` bytes wait, the oldest for `age_s` seconds."""
        ...


class Shipper:
    """Ships the journals below `root` for the gateway `name`."""

    def __init__(
        self,
        root: Path,
        name: str,
        client: Server,
        meters: ShipperMeters,
        *,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._name, self._client, self._meters, self._unix = name, client, meters, unix
        self._segments = Segments(root, meters.damaged)
        self._unshipped: Reading | None = None
        """The batch that the control plane did not take. It is sent again, without a second reading of the journal."""
        self._fault = ""

    async def run(self) -> None:
        """Ship until cancelled."""
        backoff = Backoff(*_BACKOFF_S)
        while True:
            done = await self.ship()
            if done is None:
                backoff.worked()
                await asyncio.sleep(IDLE_S)
            elif done:
                backoff.worked()
            else:
                await asyncio.sleep(backoff.failed())

    async def finish(self, within_s: float = 5.0) -> None:
        """Ship what the workers wrote before they ended, until nothing waits or something fails. The gateway ends: its
        data folder may go with it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while await self.ship():
                    pass

    async def ship(self) -> bool | None:
        """Send one batch. Return whether it was acknowledged; None: nothing waits."""
        reading = self._unshipped or await asyncio.to_thread(self._segments.next)
        size, oldest = await asyncio.to_thread(self._segments.waiting)
        self._meters.waiting(size, max(0.0, self._unix() - oldest) if oldest is not None else 0.0)
        self._unshipped = reading
        if reading is None:
            return None
        try:
            reply = await self._client.request(
                "POST",
                PATH,
                TIMEOUT_S,
                body=_document(self._name, reading.batch),
                headers={"Content-Type": "application/json"},
            )
        except (TimeoutError, Unavailable) as error:
            return self._failed(str(error))
        return self._answered(reading, reply)

    def _answered(self, reading: Reading, reply: Reply) -> bool:
        if reply.status != 200:
            cure = "; check gateway.control_plane" if reply.status in _SETTINGS else ""
            return self._failed(f"{self._client.name} answered {reply.status}{_said(reply.body)}{cure}")
        self._unshipped = None
        sequence, batch = _acknowledged(reply.body), reading.batch
        # Below `first` the control plane should have added the batch.
        if sequence is None or sequence < batch.first:
            return self._failed(f"{self._client.name} acknowledged {sequence} of {batch.first} to {batch.last}")
        self._segments.acknowledge(reading, sequence)
        if sequence >= batch.last:
            self._meters.shipped(batch.records)
        if self._fault:
            _log.info("usage is shipped again to %s", self._client.name)
            self._fault = ""
        return True

    def _failed(self, fault: str) -> bool:
        if fault != self._fault:
            _log.warning("usage waits in the journal: %s", fault)
            self._fault = fault
        return False


def _document(name: str, batch: Batch) -> bytes:
    return orjson.dumps({"format": FORMAT, "gateway": name, **batch.document()})


def _acknowledged(body: bytes) -> int | None:
    try:
        sequence = orjson.loads(body)["acknowledged"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return sequence if isinstance(sequence, int) else None


def _said(body: bytes) -> str:
    """Return the reason in a problem document, or ""."""
    try:
        detail = orjson.loads(body)["detail"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return f": {detail[:300]}" if isinstance(detail, str) and detail else ""
