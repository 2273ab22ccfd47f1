"""A replica: one backend of one version, with its outstanding work and its health."""

from __future__ import annotations

from controlplane.gateway.choosing.health import Health
from controlplane.gateway.choosing.memory import Memory, key_of
from controlplane.gateway.desired.document import BackendSpec
from controlplane.gateway.seams import COLUMNS

REQUEST_WORK = 16
"""Work of a request beside its tokens, in tokens. It ranks backends where no tokens are known. Chosen."""

Key = tuple[str, str, str, str]
"""Model, version, URL, version in the path."""


class Replica:
    """Live state of one backend. It stays while a desired state names it or a request to it is open."""

    __slots__ = (
        "_cell", "_memory", "_row", "gone", "health", "key", "others", "others_work", "requests", "spec", "work",
    )  # fmt: skip

    def __init__(self, key: Key, spec: BackendSpec, memory: Memory) -> None:
        self.key = key
        self.spec = spec
        self.health = Health()
        self.requests = 0
        """Open requests of this worker."""
        self.work = 0
        """Tokens that are outstanding in them: prompts without a first event, and the expected rest of answers."""
        self.others = 0
        """Open requests of the other workers, when they were last looked at."""
        self.others_work = 0
        self.gone = False
        """Whether no desired state names it any more."""
        self._memory = memory
        self._row: int | None = None
        self._cell = -1
        self.place()

    def place(self) -> bool:
        """Find the row in shared memory, unless it has one. Return whether it has one."""
        if self._row is None:
            self._row = self._memory.backends.hold(key_of(*self.key))
            if self._row is not None:
                self._cell = self._row * COLUMNS + self._memory.column
                self._publish()
        return self._row is not None

    def leave(self) -> None:
        """Give the row back. No request is open."""
        if self._row is not None:
            self._memory.backends.drop(self._row)
            self._row = None
            self._cell = -1

    def look(self) -> None:
        """Read the counts of the other workers."""
        requests = work = 0
        if self._row is not None:
            start = self._row * COLUMNS
            for column in self._memory.peers:
                requests += self._memory.requests[start + column]
                work += self._memory.work[start + column]
        self.others = requests
        self.others_work = work

    def load(self, now: float) -> float:
        """Return the outstanding work over all workers, in tokens, with that of recent failures."""
        load: float = self.work + self.others_work + REQUEST_WORK * (self.requests + self.others)
        if self.health.lost_work:
            load += self.health.load(now)
        return load

    def has_room(self, contenders: int) -> bool:
        """Return whether one more request may be open.

        `contenders` is the number of other workers in which requests wait for this version. Each of them gets its part
        of `max_in_flight`: a worker with open requests would otherwise give every place that becomes free to its own
        queue.
        """
        limit = self.spec.max_in_flight
        if not limit:
            return True
        self.look()
        if self.requests + self.others >= limit:
            return False
        return not contenders or self.requests < -(-limit // (contenders + 1))

    def open(self, work: int) -> bool:
        """Count one more request. Return False, and count nothing, when another worker took the last place just now."""
        self.requests += 1
        self.work += work
        cell, memory = self._cell, self._memory
        if cell >= 0:
            memory.requests[cell] = self.requests
            memory.work[cell] = self.work
        if self.spec.max_in_flight and memory.peers:
            self.look()
            if self.requests + self.others > self.spec.max_in_flight:
                self.close(work)
                return False
        return True

    def close(self, work: int) -> None:
        """Count one request less, with what was left of its work."""
        self.requests -= 1
        self.work -= work
        self._publish()

    def shrink(self, work: int) -> None:
        """Count less outstanding work."""
        self.work -= work
        if self._cell >= 0:
            self._memory.work[self._cell] = self.work

    def _publish(self) -> None:
        cell = self._cell
        if cell >= 0:
            self._memory.requests[cell] = self.requests
            self._memory.work[cell] = self.work


class Replicas:
    """All replicas of a worker, with those that only wait for the end of their last request."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._by_key: dict[Key, Replica] = {}

    def obtain(self, key: Key, spec: BackendSpec) -> Replica:
        """Return the replica of a key, with its new specification. One that waits for its end is taken back."""
        replica = self._by_key.get(key)
        if replica is None:
            replica = self._by_key[key] = Replica(key, spec, self._memory)
        replica.spec = spec
        replica.gone = False
        return replica

    def retire(self, replica: Replica) -> None:
        """End a replica that no desired state names any more, now or with its last request."""
        replica.gone = True
        self.sweep(replica)

    def sweep(self, replica: Replica) -> None:
        """Forget a replica that is gone when none of its requests is open."""
        if replica.gone and not replica.requests:
            replica.leave()
            self._by_key.pop(replica.key, None)

    def place(self) -> bool:
        """Find rows for replicas without one. Return whether all have one."""
        missing = [replica for replica in self._by_key.values() if not replica.place()]
        return not missing
