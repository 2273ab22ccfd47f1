"""Thread pools for blocking calls, one for each kind of call: a slow call of one kind does not delay another kind."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

Given = ParamSpec("Given")
Found = TypeVar("Found")

GENERAL = 24
"""Threads for every other call (`asyncio.to_thread`): short reads and writes of the database, which mostly wait for it.
Chosen. Python's default is cores + 4, which is 6 on two cores: six calls to a hanging database would take all."""
REQUESTS = 16
"""Threads for request handlers that block. With the general ones they are as many as the database has connections
(store.database.Patience), so that no thread waits for a connection."""
ACCESS = 4
"""Threads for sign-ins. Chosen: each sign-in is one short query of the database."""
FILES = 4
"""Threads for files. Chosen: discovery, clean-up of the disk and watched files each lose one thread to a network disk
that hangs."""


class PoolReport(NamedTuple):
    """The state of a pool."""

    name: str
    threads: int
    busy: int
    """Threads that run a call."""
    waiting: int
    """Calls that wait for a thread."""
    calls: int | None
    """Calls that got a thread since the start. None: they are not counted."""
    waited_s: float | None
    """Sum of the seconds that these calls waited for a thread. None: they are not counted."""


class _CountedThreads(ThreadPoolExecutor):
    """Threads that count their calls. Any thread may submit."""

    def __init__(self, name: str, threads: int) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self.lock = threading.Lock()
        self.inside = self.busy = self.calls = 0
        self.waited_s = 0.0

    def submit(self, call: Callable[Given, Found], /, *given: Given.args, **named: Given.kwargs) -> Future[Found]:
        """Return the future of a call, which raises RuntimeError for a StopIteration. Raises it after `shutdown`."""
        asked = time.monotonic()
        future = super().submit(self._counted, asked, functools.partial(call, *given, **named))
        with self.lock:
            self.inside += 1
        future.add_done_callback(self._left)
        return future

    def _counted(self, asked: float, call: Callable[[], Found]) -> Found:
        with self.lock:
            self.waited_s += time.monotonic() - asked
            self.calls += 1
            self.busy += 1
        try:
            return call()
        except StopIteration as error:
            # A future of asyncio takes no StopIteration (until Python 3.12): who awaits it would wait forever.
            raise RuntimeError("a call in a thread raised StopIteration") from error
        finally:
            with self.lock:
                self.busy -= 1

    def _left(self, _: object) -> None:
        with self.lock:
            self.inside -= 1


class ThreadPool:
    """Threads for one kind of blocking call. Call `run` from the event loop."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self._threads = name, threads
        self._executor = _CountedThreads(name, threads)

    async def run(self, call: Callable[Given, Found], /, *given: Given.args, **named: Given.kwargs) -> Found:
        """Run a blocking call in this pool, as `asyncio.to_thread` does. Return its result, or raise its exception.

        A task that is cancelled stops waiting. Its call is dropped unless it has begun.
        """
        context = contextvars.copy_context()
        whole = functools.partial(context.run, call, *given, **named)
        return await asyncio.get_running_loop().run_in_executor(self._executor, whole)

    def serve_default(self) -> None:
        """Run every `asyncio.to_thread` of the running event loop in this pool."""
        asyncio.get_running_loop().set_default_executor(self._executor)

    def report(self) -> PoolReport:
        """Return the state of the pool."""
        threads = self._executor
        with threads.lock:
            waiting = max(0, threads.inside - threads.busy)
            return PoolReport(self.name, self._threads, threads.busy, waiting, threads.calls, threads.waited_s)

    def close(self) -> None:
        """Drop the calls that wait for a thread. Running calls go on to their end, and the process ends after them."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class RequestThreads:
    """The threads in which FastAPI runs request handlers that block. They belong to an event loop."""

    name = "requests"

    def __init__(self) -> None:
        self._limiter: CapacityLimiter | None = None

    def limit(self) -> None:
        """Bound the threads of the running event loop to REQUESTS."""
        self._limiter = to_thread.current_default_thread_limiter()
        self._limiter.total_tokens = REQUESTS

    def report(self) -> PoolReport:
        """Return their state. Any thread may ask."""
        if self._limiter is None:
            return PoolReport(self.name, REQUESTS, 0, 0, None, None)
        found = self._limiter.statistics()
        return PoolReport(self.name, REQUESTS, found.borrowed_tokens, found.tasks_waiting, None, None)


class Pools(NamedTuple):
    """The pools of one process."""

    access: ThreadPool
    """Sign-ins: no other call may delay one."""
    parsing: ThreadPool
    """Calls that take the processor: large expositions, written samples, compression, a fleet.yaml with its rules."""
    files: ThreadPool
    """Calls that wait for a disk."""
    general: ThreadPool
    """All other calls, by `asyncio.to_thread`."""
    requests: RequestThreads

    def serve(self) -> None:
        """Run the other calls and the requests of the running event loop in these threads."""
        self.general.serve_default()
        self.requests.limit()

    def reports(self) -> list[PoolReport]:
        """Return the state of each."""
        return [pool.report() for pool in self]

    def close(self) -> None:
        """Close each. FastAPI's threads end with the event loop."""
        for pool in (self.access, self.parsing, self.files, self.general):
            pool.close()


def make_pools() -> Pools:
    """Return the pools for this machine. The caller closes them."""
    # Parsing holds the interpreter's lock most of the time: more threads than cores would not be faster.
    cores = len(os.sched_getaffinity(0))
    parsing = ThreadPool("parsing", max(2, min(cores, 8)))
    return Pools(
        access=ThreadPool("access", ACCESS),
        parsing=parsing,
        files=ThreadPool("files", FILES),
        general=ThreadPool("general", GENERAL),
        requests=RequestThreads(),
    )
