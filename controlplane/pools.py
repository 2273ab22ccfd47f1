"""Threads for blocking calls, in pools of their own: a slow call of one kind keeps none of another kind waiting."""

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
Python's own number, cores + 4, is 6 on two cores: six calls to a database that hangs were all that there was."""
ACCESS = 4
"""Each sign-in is one short query of the database."""
FILES = 4
"""Discovery, what is tidied on disk, and files that are watched: a network disk that hangs takes one thread of each."""


class PoolReport(NamedTuple):
    """How a pool is doing."""

    name: str
    threads: int
    busy: int
    waiting: int
    """Calls without a thread."""
    calls: int
    """Calls that got a thread so far."""
    waited_s: float
    """How long these waited for it, in all."""


class ThreadPool:
    """Threads for one kind of blocking call. `run` is for the event loop."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self._threads = name, threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._inside = self._busy = self._calls = 0
        self._waited_s = 0.0

    async def run(self, call: Callable[Given, Found], /, *given: Given.args, **named: Given.kwargs) -> Found:
        """Return what a blocking call returns; raises what it raises. As `asyncio.to_thread`, in this pool.

        Whoever is cancelled stops waiting; a call that has begun goes on to its end, and one that has not is dropped.
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
        # Not exact where two threads add at once: a count for a graph is not worth a lock in every call.
        self._waited_s += time.monotonic() - asked
        self._calls += 1
        self._busy += 1
        try:
            return whole()
        finally:
            self._busy -= 1

    def report(self) -> PoolReport:
        """Return how the pool is doing."""
        busy = min(max(self._busy, 0), self._threads)
        return PoolReport(self.name, self._threads, busy, max(0, self._inside - busy), self._calls, self._waited_s)

    def close(self) -> None:
        """Drop what has no thread yet. Calls that run go on to their end; the process ends after them."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Pools(NamedTuple):
    """The pools of one process."""

    access: ThreadPool
    """Who is let in: nothing else may keep a sign-in waiting."""
    parsing: ThreadPool
    """What takes the processor: large expositions, written samples, compression, a fleet.yaml with its rules."""
    files: ThreadPool
    """What waits for a disk."""

    def reports(self) -> list[PoolReport]:
        """Return how each is doing."""
        return [pool.report() for pool in self]

    def close(self) -> None:
        """Close each."""
        for pool in self:
            pool.close()


def make_pools() -> Pools:
    """Return pools for this machine. The caller closes them."""
    # Parsing holds the interpreter's lock most of the time: more threads than cores would only take turns.
    cores = len(os.sched_getaffinity(0))
    return Pools(ThreadPool("access", ACCESS), ThreadPool("parsing", max(2, min(cores, 8))), ThreadPool("files", FILES))


def general_threads() -> ThreadPoolExecutor:
    """Return the threads of every call that has no pool: the event loop's default ones."""
    return ThreadPoolExecutor(GENERAL, thread_name_prefix="general")
