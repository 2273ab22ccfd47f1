"""Faults that a test switches on: hangs, closed connections, errors, expired watches, another writer."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tests.fakes.kubernetes.errors import ApiError, TextError, timed_out
from tests.fakes.kubernetes.store import Store

Json = dict[str, Any]
Change = Callable[[Json], None]

HUNG = "request did not complete within requested timeout - context deadline exceeded"


class Closed(Exception):
    """The connection closes without an answer."""


class Hung(Exception):
    """The storage does not answer in time."""

    def answer(self, verb: str, custom: bool) -> Exception:
        """Return what the client of a hung etcd meets.

        Writes are answered 504. A get or list of a built-in kind closes the connection. A get or list of a custom
        resource is a 504 whose Status has neither kind nor apiVersion.
        """
        if verb not in ("get", "list"):
            return timed_out(HUNG)
        if not custom:
            return Closed()
        error = timed_out()
        del error.body["kind"], error.body["apiVersion"]
        return error


@dataclass
class Fault:
    """What happens to the next `times` requests of a verb on a path.

    verb: as RBAC writes it, for example "patch"; "*" is every verb. path: a pattern as of fnmatch.
    done: whether the write takes effect although the client sees a failure.
    """

    verb: str
    path: str
    error: Exception
    done: bool = False
    times: int = 1

    def matches(self, verb: str, path: str) -> bool:
        """Return whether this fault befalls a request."""
        return self.times > 0 and self.verb in ("*", verb) and fnmatchcase(path, self.path)


@dataclass
class Intrusion:
    """Another writer: `change` is written between a request of verb `after` and one of verb `before`."""

    after: str
    before: str
    path: str
    change: Change
    armed: bool = False
    spent: bool = False


class Faults:
    """The faults of a server. Each is used up by the requests that it befalls."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.planned: list[Fault] = []
        self.intrusions: list[Intrusion] = []
        self.mangle: Callable[[bytes], Iterable[bytes]] = lambda line: (line,)
        """What a watch writes in place of a line: nothing, half of it, more than one, or earlier ones once more."""
        self.slow: dict[str, asyncio.Event] = {}
        """Requests of a verb wait for its event before they are answered."""

    async def wait(self, verb: str) -> None:
        """Wait as long as requests of a verb are slow."""
        if verb in self.slow:
            await self.slow[verb].wait()

    def hang(self, verb: str, path: str, *, done: bool = True, times: int = 1) -> None:
        """Answer as with a hung etcd, but at once. `done` says whether a write takes effect."""
        self.planned.append(Fault(verb, path, Hung(), done, times))

    def close(self, verb: str, path: str, *, done: bool = False, times: int = 1) -> None:
        """Close the connection without an answer. HTTP clients repeat a GET by themselves: `times` must cover that."""
        self.planned.append(Fault(verb, path, Closed(), done, times))

    def throttle(self, verb: str, path: str, *, times: int = 1) -> None:
        """Answer 429 as priority and fairness does: plain text and Retry-After: 1."""
        text = "Too many requests, please try again later.\n"
        self.planned.append(Fault(verb, path, TextError(429, text, {"Retry-After": "1"}), times=times))

    def fail(self, verb: str, path: str, error: ApiError, *, done: bool = False, times: int = 1) -> None:
        """Answer with this error."""
        self.planned.append(Fault(verb, path, error, done, times))

    def expire_watches(self) -> None:
        """End every open watch with an ERROR line of code 410, and refuse every version from before now."""
        self._store.expire()

    def clear(self) -> None:
        """Take back all faults that are not used up."""
        self.planned, self.intrusions = [], []

    def take(self, verb: str, path: str) -> Fault | None:
        """Return the fault of a request, and count it."""
        found = next((fault for fault in self.planned if fault.matches(verb, path)), None)
        if found is not None:
            found.times -= 1
        return found

    def due(self, verb: str, path: str) -> list[Change]:
        """Return the changes of other writers that come before this request."""
        found = []
        for one in self.intrusions:
            if one.spent or not fnmatchcase(path, one.path):
                continue
            if one.armed and verb == one.before:
                one.spent = True
                found.append(one.change)
        return found

    def answered(self, verb: str, path: str) -> None:
        """Arm the other writers that wait for this request."""
        for one in self.intrusions:
            if verb == one.after and fnmatchcase(path, one.path):
                one.armed = True
