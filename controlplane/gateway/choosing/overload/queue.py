"""The queue of one version: strict priority with ageing, then fair turns of tenants, then first come, first served."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator

from controlplane.gateway.choosing.overload.fairness import Fairness
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Ask, Caller
from controlplane.gateway.seams import Choice

AGEING_S = 5.0
"""Wait, in seconds, that counts as one level of priority, so that low priorities are served too. Chosen."""


class Waiter:
    """One request that waits. It is in at most one queue, until it is granted, refused or cancelled."""

    __slots__ = ("adapter", "ask", "caller", "deadline", "granted", "number", "pinned", "queue", "since")

    def __init__(
        self,
        ask: Ask,
        caller: Caller,
        granted: Callable[[Choice | Refusal], None],
        *,
        adapter: str,
        pinned: bool,
        since: float,
        deadline: float,
        number: int,
    ) -> None:
        """`pinned`: a tester chose the version. `number` rises with each request that waits."""
        self.ask = ask
        self.caller = caller
        self.granted = granted
        self.adapter = adapter
        self.pinned = pinned
        self.since = since
        self.deadline = deadline
        self.number = number
        self.queue: Queue | None = None

    def cancel(self) -> None:
        """The client left: take the request out of the queue. Does nothing after it was granted or refused."""
        if self.queue is not None:
            self.queue.remove(self)

    def rank(self, now: float) -> int:
        """Return the priority with the wait."""
        return self.caller.priority + int((now - self.since) / AGEING_S)


_Group = tuple[int, str, str]
"""Priority, tenant, adapter: requests between which only their order counts."""


class Queue:
    """Requests that wait for a backend of one version."""

    def __init__(self, fairness: Fairness, changed: Callable[[int], None]) -> None:
        """`changed` is called with +1 or -1 for each request that comes or goes."""
        self._fairness = fairness
        self._changed = changed
        self._groups: dict[_Group, OrderedDict[int, Waiter]] = {}
        self.count = 0
        """Requests that wait."""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Waiter]:
        for group in self._groups.values():
            yield from group.values()

    def add(self, waiter: Waiter) -> None:
        """Put a request into the queue. One that comes from another queue keeps its number and so its place."""
        caller = waiter.caller
        tenants = {tenant for _, tenant, _ in self._groups}
        if caller.tenant not in tenants:
            self._fairness.join(caller.tenant, tenants)
        group = self._groups.setdefault((caller.priority, caller.tenant, waiter.adapter), OrderedDict())
        late = group and next(reversed(group)) > waiter.number
        group[waiter.number] = waiter
        if late:
            for number in sorted(group):
                group.move_to_end(number)
        waiter.queue = self
        self.count += 1
        self._changed(1)

    def remove(self, waiter: Waiter) -> None:
        """Take a request out."""
        name = (waiter.caller.priority, waiter.caller.tenant, waiter.adapter)
        group = self._groups[name]
        del group[waiter.number]
        if not group:
            del self._groups[name]
        waiter.queue = None
        self.count -= 1
        self._changed(-1)

    def next(self, now: float, without: Collection[str] = ()) -> Waiter | None:
        """Return the request that is served next, or None. `without`: adapters that no free backend has."""
        heads = [
            next(iter(group.values())) for (_, _, adapter), group in self._groups.items() if adapter not in without
        ]
        served = self._fairness.served
        return min(heads, key=lambda one: (-one.rank(now), served(one.caller.tenant), one.number), default=None)

    def last(self, now: float) -> Waiter | None:
        """Return the request that is given up first: the youngest of the lowest priority. None: the queue is empty."""
        tails = [next(reversed(group.values())) for group in self._groups.values()]
        return min(tails, key=lambda one: (one.rank(now), -one.number), default=None)

    def expired(self, now: float) -> list[Waiter]:
        """Return the requests whose deadline has passed, in the order in which they came."""
        return sorted((one for one in self if one.deadline <= now), key=lambda one: one.number)
