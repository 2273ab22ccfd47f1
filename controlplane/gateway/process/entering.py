"""The start of a gateway: lock of the data folder, shared memory and sockets, new ones or those of its predecessor."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from controlplane import __version__
from controlplane.gateway.errors import GatewayError, NotListening
from controlplane.gateway.process.areas import SIZES
from controlplane.gateway.process.folder import FolderLock
from controlplane.gateway.process.handover import Offer, Predecessor, meet
from controlplane.gateway.process.memory import SharedMemory
from controlplane.gateway.process.sockets import Address, bind_all, check_free

log = logging.getLogger(__name__)

FREE_S = 5.0
"""Seconds that a start waits for an address. Workers whose supervisor was killed let go of it within one."""
LOCK_S = 3.0
"""Seconds that a start waits for a data folder whose gateway does not answer: it starts or ends just now."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses to listen on, as they were given."""

    listen: str
    admin: str
    workers: int


@dataclass(slots=True)
class Entry:
    """The things that a gateway holds for its life."""

    lock: FolderLock
    before: Predecessor | None
    half: int
    memory: SharedMemory
    is_fresh: bool
    """Whether the memory is new."""
    sockets: list[socket.socket]
    admin: socket.socket

    def offer(self, addresses: Addresses) -> tuple[Offer, list[int]]:
        """Return what a successor gets. Raises GatewayError while the predecessor drains: its columns are in use."""
        if self.before is not None and self.before.remains:
            pid = self.before.pid
            raise GatewayError(f"the gateway before it (process {pid}) still finishes its streams; try again later")
        offer = Offer(
            version=__version__,
            sizes=self.memory.sizes,
            half=self.half,
            listen=addresses.listen,
            admin=addresses.admin,
            sockets=len(self.sockets),
        )
        files = (self.memory.fd, self.admin.fileno(), *(each.fileno() for each in self.sockets))
        return offer, [self.lock.fd, *files]

    def close(self) -> None:
        """Let go of everything. What a successor has, it keeps."""
        for each in (self.admin, *self.sockets):
            each.close()
        self.lock.close()
        if self.before is not None:
            self.before.close()


async def enter(folder: Path, addresses: Addresses) -> Entry:
    """Enter a data folder. Raises GatewayError: the folder is in use, an address is, or there is no memory."""
    lock, before = await _lock(folder)
    try:
        listening = await _sockets(addresses, before)
        admin = _admin(addresses, before)
        if before is not None and (before.offer.version, before.offer.sizes) == (__version__, SIZES):
            memory = SharedMemory.attach(before.memory_fd, SIZES)
        else:
            memory = SharedMemory.create(SIZES)
    except GatewayError:
        lock.close()
        if before is not None:
            before.close()
        raise
    half = 1 - before.offer.half if before is not None else 0
    is_fresh = before is None or memory.fd != before.memory_fd
    if before is not None and is_fresh:
        log.warning("another version of the program runs: counters of metrics and of limits begin anew")
    return Entry(lock, before, half, memory, is_fresh, listening, admin)


async def _lock(folder: Path) -> tuple[FolderLock, Predecessor | None]:
    deadline = time.monotonic() + LOCK_S
    while True:
        if (lock := FolderLock.take(folder)) is not None:
            return lock, None
        if (before := await asyncio.to_thread(meet, folder)) is not None:
            log.info("taking over from the gateway that runs (process %d)", before.pid)
            before.starts()
            return FolderLock(before.lock_fd), before
        if time.monotonic() > deadline:
            raise GatewayError(f"another gateway uses {folder} and does not hand over; choose another --data-dir")
        await asyncio.sleep(0.1)


async def _sockets(addresses: Addresses, before: Predecessor | None) -> list[socket.socket]:
    address = Address.of(addresses.listen, "gateway.listen")
    if before is not None and before.offer.listen == addresses.listen:
        return bind_all(address, addresses.workers, "gateway.listen", before.listening)
    deadline = time.monotonic() + FREE_S
    while True:
        try:
            check_free(address, "gateway.listen")
            return bind_all(address, addresses.workers, "gateway.listen")
        except NotListening:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


def _admin(addresses: Addresses, before: Predecessor | None) -> socket.socket:
    if before is not None and before.offer.admin == addresses.admin:
        return before.admin
    address = Address.of(addresses.admin, "gateway.admin")
    check_free(address, "gateway.admin")
    return bind_all(address, 1, "gateway.admin")[0]
