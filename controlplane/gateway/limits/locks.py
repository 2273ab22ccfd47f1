"""Locks between workers: a byte range of the shared file each, which the kernel frees when its holder dies.

A worker that was stopped (SIGSTOP, a debugger) keeps its lock. The others pass it by (`gateway/patience.py`): they
raise the epoch of the stripe in shared memory, and everybody uses the next byte. Only who has locked the byte of an
epoch raises the stripe to it, so two processes never write different epochs. The stopped worker holds the old byte.
When it runs again, it sees the new epoch and starts its update anew. If it was stopped between the writes of one
update, its last writes undo what others wrote meanwhile: see docs/gateway.md for the bound.
"""

from __future__ import annotations

from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from zlib import crc32

from controlplane.gateway.limits.memory import AT_CHANGES, AT_EPOCHS, AT_UNLOCKED, Memory
from controlplane.gateway.patience import Patience

TENANTS = 256
"""Stripes for requests whose model has no limit: one for a tenant and its keys, so that tenants do not wait for each
other."""
ALL = TENANTS
"""Stripe of every request while any model has a limit: its limit joins all tenants. One lock costs 1.4 us, two 2.8."""
DIRECTORY = TENANTS + 1
"""Stripe of the directory of slots."""
EPOCHS = 256
"""Bytes of a stripe. A holder that was stopped meets its own byte again only after so many others were."""
ROUNDS = 4
"""Most bytes that one call waits for. Then it goes on without a lock, and counts that."""

UNLOCKED = -1
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

    @property
    def changes(self) -> float:
        """Count of changes of the memory: of workers that began, and of slots."""
        return self._floats[AT_CHANGES]

    def acquire(self, stripe: int) -> int:
        """Lock a stripe, and return the byte that is locked, for `holds` and `release`. Returns UNLOCKED when no try
        succeeded: then the caller goes on without a lock."""
        at = AT_EPOCHS + stripe
        epoch = self._floats[at]
        byte = self._offset + stripe * EPOCHS + int(epoch) % EPOCHS
        try:
            lockf(self._fd, _TRY, 1, byte)
        except OSError:
            # Held by another, or the kernel has no lock left (ENOLCK): both end in the same bounded tries.
            return self._insist(stripe)
        if self._floats[at] == epoch:
            return byte
        self.release(byte)
        return self._insist(stripe)

    def holds(self, stripe: int, byte: int) -> bool:
        """Return whether nobody has taken this worker for stopped since it locked the stripe."""
        return byte == UNLOCKED or byte == self._byte(stripe, self._floats[AT_EPOCHS + stripe])

    def release(self, byte: int) -> None:
        """Unlock what `acquire` returned."""
        if byte != UNLOCKED:
            lockf(self._fd, LOCK_UN, 1, byte)

    def _insist(self, stripe: int) -> int:
        floats, at = self._floats, AT_EPOCHS + stripe
        epoch, passed = floats[at], 0
        for _ in range(ROUNDS):
            byte = self._byte(stripe, epoch + passed)
            for _ in Patience().pauses(self._fd, byte):
                if floats[at] == epoch and self._try(byte):
                    if floats[at] == epoch:
                        if passed:
                            floats[at] = epoch + passed
                        return byte
                    self.release(byte)
                if floats[at] != epoch:
                    epoch, passed = floats[at], 0
                    break
            else:
                passed += 1
        if floats[at] == epoch:
            floats[at] = epoch + passed  # the next call begins with a byte that nobody has been seen to hold
        floats[AT_UNLOCKED] += 1.0
        return UNLOCKED

    def _try(self, byte: int) -> bool:
        try:
            lockf(self._fd, _TRY, 1, byte)
        except OSError:
            return False
        return True

    def _byte(self, stripe: int, epoch: float) -> int:
        return self._offset + stripe * EPOCHS + int(epoch) % EPOCHS
