"""Thread pools for blocking calls, one for each kind of call: a slow call of one kind does not delay another kind."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, ParamSpec, TypeVar

Given = ParamSpec("Given")
Found = TypeVar("Found")

GENERAL = 32
"""Threads for every other call (`asyncio.to_thread`): short reads and writes of the database, which mostly wait for it.
Chosen. Python's default is cores + 4, which is 6 on two cores: six calls to a hanging database would take all."""
ACCESS = 4
"""Threads for sign-ins. Chosen: each sign-in is one short query of the database."""
FILES = 4
"""Threads for files. Chosen: discovery, clean-up of the disk and watched files each lose one thread to a network disk
that hangs."""


class PoolReport(NamedTuple):
    """The state of one pool."""

    name: str
    threads: int
    busy: int
    waiting: int
    """Calls that wait for a thread."""
    calls: int
    """Calls that got a thread since the start."""
    waited_s: float
    """Sum of the seconds that these calls waited for a thread."""


class ThreadPool:
    """Threads for one kind of blocking call. Call `run` from the event loop."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self._threads = name, threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._inside = self._busy = self._calls = 0
        self._waited_s = 0.0

    async def run(self, call: Callable[Given, Found], /, *given: Given.args, **named: Given.kwargs) -> Found:
        """Run a blocking call in this pool, as `asyncio.to_thread` does. Return its result, or raise its exception.

        A task that is cancelled stops waiting. Its call goes on to its end if it has begun, and is dropped if not.
        """
        context = contextvars.copy_context()
        whole = functools.partial(context.run, call, *given, **named)
        asked = time.monotonic()
        self._inside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._timed, asked, whole)
        finally:
            self._inside -= 1

    def _timed(self, asked: float, whole: Callable[[], Found]) -> Found:
        # Two threads that add at once may lose a count. These counts are for a graph: a lock in every call costs more.
        self._waited_s += time.monotonic() - asked
        self._calls += 1
        self._busy += 1
        try:
            return whole()
        finally:
            self._busy -= 1

    def report(self) -> PoolReport:
        """Return the state of the pool."""
        busy = min(max(self._busy, 0), self._threads)
        return PoolReport(self.name, self._threads, busy, max(0, self._inside - busy), self._calls, self._waited_s)

    def close(self) -> None:
        """Drop the calls that wait for a thread. Running calls go on to their end, and the process ends after them."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Pools(NamedTuple):
    """The pools of one process."""

    access: ThreadPool
    """Sign-ins only: no other call may delay a sign-in."""
    parsing: ThreadPool
    """Calls that use the processor: large expositions, written samples, compression, a fleet.yaml with its rules."""
    files: ThreadPool
    """Calls that wait for a disk."""

    def reports(self) -> list[PoolReport]:
        """Return the state of each pool."""
        return [pool.report() for pool in self]

    def close(self) -> None:
        """Close each pool."""
        for pool in self:
            pool.close()


def make_pools() -> Pools:
    """Return the pools for this machine. The caller closes them."""
    # Parsing holds the interpreter's lock most of the time: more threads than cores would not be faster.
    cores = len(os.sched_getaffinity(0))
    return Pools(ThreadPool("access", ACCESS), ThreadPool("parsing", max(2, min(cores, 8))), ThreadPool("files", FILES))


def general_threads() -> ThreadPoolExecutor:
    """Return the event loop's default executor, for every call that has no pool of its own."""
    return ThreadPoolExecutor(GENERAL, thread_name_prefix="general")
