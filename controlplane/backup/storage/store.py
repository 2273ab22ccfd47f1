"""The interface that the repository needs of a folder or an object store.

Objects are immutable: a name is written once, and equal names have equal bytes, but for `keys/` and
`repository.json`. No data depends on a conditional write, since stores ignore conditions, or on a lock, since locks
outlive their owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from controlplane.backup.format.buffers import Buffer


@dataclass(frozen=True)
class Stored:
    """One object as the store lists it."""

    name: str
    size: int
    modified_at: float
    """Time of the store's clock, Unix seconds. It is compared only with other times of the same store."""


class Store(Protocol):
    """Objects by name, with `/`. Every method blocks, and may be called from several threads.

    Every method raises StoreUnreachable when the store does not answer or refuses, and `put` raises NoSpace.
    """

    address: str
    """Address without credentials, for people."""

    def put(self, name: str, data: Buffer) -> None:
        """Write a whole object durably. A reader sees all of it or nothing."""
        ...

    def create(self, name: str, data: Buffer) -> bool:
        """Write a whole object unless there is one. Return whether it was written.

        Of several processes at once one gets True; a store that ignores conditions may give True to more.
        """
        ...

    def get(self, name: str, limit: int) -> bytes:
        """Return a whole object. Raises FileNotFoundError, and StoreUnreachable when it is over `limit` bytes."""
        ...

    def read_into(self, name: str, offset: int, out: memoryview) -> int:
        """Read bytes from `offset` into `out`, as many as there are, and return their number.

        Raises FileNotFoundError.
        """
        ...

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects whose names begin with `prefix`, which ends with `/`, in no order."""
        ...

    def delete(self, name: str) -> None:
        """Delete an object. An object that is not there is no error."""
        ...

    def tidy(self, older_than_s: float) -> None:
        """Delete what writers that were killed left unfinished, once it is older than so many seconds."""
        ...
