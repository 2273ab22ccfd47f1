"""A store in memory that can stop after a number of operations, as a killed process, and call back before each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from controlplane.backup.errors import NoSpace
from controlplane.backup.format.buffers import Buffer
from controlplane.backup.storage.store import Stored


class Killed(BaseException):
    """The process ended here. No handler may catch it as an error."""


class MemoryStore:
    """Objects in a dict that several handles may share, as processes share a bucket."""

    def __init__(self, objects: dict[str, tuple[bytes, float]] | None = None) -> None:
        self.objects = {} if objects is None else objects
        self.address = "memory://test"
        self.now = 1_000_000.0
        self.operations = 0
        self.kill_at: int | None = None
        """Number of the operation at which the process ends; it and all later ones do nothing."""
        self.full_at: int | None = None
        """Number of the put from which on the store is full."""
        self.conditions = True
        """Whether the store heeds conditions of writes, as not every object store does."""
        self.before: Callable[[int, str], None] = lambda number, what: None
        """Called before each operation, with its number and a word on it."""
        self._lock = threading.RLock()

    def _begin(self, what: str) -> None:
        with self._lock:
            number = self.operations
            self.operations += 1
            if self.kill_at is not None and number >= self.kill_at:
                raise Killed(what)
            if self.full_at is not None and number >= self.full_at and what.startswith("put"):
                raise NoSpace("memory://test is full")
            self.before(number, what)

    def put(self, name: str, data: Buffer) -> None:
        self._begin(f"put {name}")
        self.objects[name] = (bytes(data), self.now)

    def create(self, name: str, data: Buffer) -> bool:
        self._begin(f"create {name}")
        if name in self.objects and self.conditions:
            return False
        self.objects[name] = (bytes(data), self.now)
        return True

    def get(self, name: str, limit: int) -> bytes:
        self._begin(f"get {name}")
        if name not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name][0]

    def read_into(self, name: str, offset: int, out: memoryview) -> int:
        self._begin(f"read {name}")
        if name not in self.objects:
            raise FileNotFoundError(name)
        data = self.objects[name][0][offset : offset + len(out)]
        out[: len(data)] = data
        return len(data)

    def list(self, prefix: str) -> Iterator[Stored]:
        self._begin(f"list {prefix}")
        found = [Stored(name, len(data), at) for name, (data, at) in self.objects.items() if name.startswith(prefix)]
        yield from found

    def delete(self, name: str) -> None:
        self._begin(f"delete {name}")
        self.objects.pop(name, None)

    def tidy(self, older_than_s: float) -> None:
        self._begin("tidy")
