"""Locks between workers: a byte range of the shared file each, which the kernel frees when its holder dies.

A worker that was stopped (SIGSTOP, a debugger, a machine that swaps) keeps its lock. The others do not wait for it:
after STUCK_S they raise the epoch of the stripe in shared memory, and everybody uses the next byte. The stopped worker
holds the old byte. When it runs again, it sees the new epoch and starts its update anew. If it was stopped between the
writes of one update, its last writes undo what others wrote meanwhile: see docs/gateway.md for the bound.
"""

from __future__ import annotations

import os
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from zlib import crc32

from controlplane.gateway.limits.memory import AT_EPOCHS, AT_UNLOCKED, Memory

TENANTS = 256
"""Stripes for requests whose model has no limit: one for a tenant and its keys, so that tenants do not wait for each
other."""
ALL = TENANTS
"""Stripe of every request while any model has a limit: its limit joins all tenants. One lock costs 1.4 us, two 2.8."""
DIRECTORY = TENANTS + 1
"""Stripe of the directory of slots."""
STRIPES = TENANTS + 2
EPOCHS = 256
"""Bytes of a stripe. A holder that was stopped meets its own byte again only after so many others were."""
STUCK_S = 0.02
"""Seconds after which a holder counts as stopped. Chosen: an update takes 10 us, and a busy machine takes a holder's
core away for some milliseconds; a wrong guess costs at most the error of one request."""
ROUNDS = 4
"""Most epochs that one call raises. Then it goes on without a lock, and counts that."""
SLEEP_S = 0.0001
SPINS = 20
"""Tries before the first sleep. Chosen: a holder that runs is done within a few."""

_TRY = LOCK_EX | LOCK_NB


def stripe_of(tenant: str) -> int:
    """Return the stripe of a tenant and its keys."""
    return crc32(tenant.encode()) % TENANTS


class Locks:
    """The stripes, for one process. A process must not use them in two threads: POSIX locks belong to processes."""

    __slots__ = ("_fd", "_floats", "_offset")

    def __init__(self, memory: Memory) -> None:
        self._fd = memory.area.fd
        self._offset = memory.area.offset
        self._floats = memory.floats

    def acquire(self, stripe: int) -> int:
        """Lock a stripe and return its epoch, for `holds` and `release`. Returns -1 where it goes on unlocked."""
        epoch = int(self._floats[AT_EPOCHS + stripe])
        try:
            lockf(self._fd, _TRY, 1, self._offset + stripe * EPOCHS + epoch % EPOCHS)
        except OSError:
            return self._insist(stripe)
        if self._floats[AT_EPOCHS + stripe] == epoch:
            return epoch
        self.release(stripe, epoch)
        return self._insist(stripe)

    def holds(self, stripe: int, epoch: int) -> bool:
        """Return whether nobody has taken this worker for stopped since it locked the stripe."""
        return epoch < 0 or self._floats[AT_EPOCHS + stripe] == epoch

    def release(self, stripe: int, epoch: int) -> None:
        """Unlock a stripe."""
        if epoch >= 0:
            lockf(self._fd, LOCK_UN, 1, self._offset + stripe * EPOCHS + epoch % EPOCHS)

    def _try(self, stripe: int, epoch: int) -> bool:
        try:
            lockf(self._fd, _TRY, 1, self._offset + stripe * EPOCHS + epoch % EPOCHS)
        except OSError:
            # Held by another, or the kernel has no lock left (ENOLCK): both end in the same bounded tries.
            return False
        if self._floats[AT_EPOCHS + stripe] == epoch:
            return True
        self.release(stripe, epoch)
        return False

    def _insist(self, stripe: int) -> int:
        floats = self._floats
        for _ in range(ROUNDS):
            epoch = int(floats[AT_EPOCHS + stripe])
            until = time.monotonic() + STUCK_S
            tries = 0
            while floats[AT_EPOCHS + stripe] == epoch:
                if self._try(stripe, epoch):
                    return epoch
                if time.monotonic() >= until:
                    floats[AT_EPOCHS + stripe] = float(epoch + 1)  # all who saw `epoch` write the same number
                    break
                tries += 1
                if tries < SPINS:
                    os.sched_yield()
                else:
                    time.sleep(SLEEP_S)
        floats[AT_UNLOCKED] += 1.0
        return -1
