"""Asks the servers of http_sd for their lists, each in a task of its own, so that no server delays another."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from collectors.discovery.entries import Entry
from collectors.discovery.group import HttpSd
from collectors.discovery.http_lists import HttpList, entries_of, place_of
from collectors.errors import DiscoveryError, ScrapeError
from collectors.http.fetch import HttpSource

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 16 * 2**20
"""Maximum size of an answer: some 80,000 targets. Chosen: four times that of a file."""
MAX_WAIT_S = 30.0
"""Maximum seconds for an answer, where the interval is not shorter. Chosen: Prometheus waits for the whole interval."""
JITTER = 0.1
"""Share of the interval by which questions are early or late, so that many control planes do not ask at once."""

Entries = tuple[Entry, ...]
InThread = Callable[..., Awaitable[Any]]
"""Runs a blocking call in another thread: (call, arguments…) -> its result."""


async def ask(
    sd: HttpSd, source: HttpSource, wait_s: float = MAX_WAIT_S, in_thread: InThread = asyncio.to_thread
) -> tuple[bytes, Entries]:
    """Return the digest and the content of a server's answer. Raises DiscoveryError, which names the server."""
    try:
        body = await source.read(min(sd.refresh_interval_s, wait_s))
    except ScrapeError as error:
        raise DiscoveryError(f"{place_of(sd)}: {error}") from error
    entries = await in_thread(entries_of, sd, body, source.content_type)
    return hashlib.blake2b(body, digest_size=16).digest(), entries


def source_of(sd: HttpSd) -> HttpSource:
    """Return the connection to a server. The caller closes it."""
    headers = {
        "Accept": "application/json",
        "X-Prometheus-Refresh-Interval-Seconds": f"{sd.refresh_interval_s:g}",
    }
    return HttpSource(sd.url, sd.auth, max_body_bytes=MAX_BODY_BYTES, headers=headers)


class HttpAsker:
    """Asks servers at their intervals. Call it on one event loop; `list_of` may be called by any thread."""

    def __init__(
        self,
        changed: Callable[[], None],
        *,
        in_thread: InThread = asyncio.to_thread,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        spread: Callable[[], float] = lambda: random.uniform(1 - JITTER, 1 + JITTER),  # noqa: S311 - no secret
    ) -> None:
        """Nothing is asked before `apply`. `changed` is called after each change of a list or of its fault."""
        self._changed, self._in_thread, self._sleep, self._spread = changed, in_thread, sleep, spread
        self._lists: dict[HttpSd, HttpList] = {}
        self._tasks: dict[HttpSd, asyncio.Task[None]] = {}

    def list_of(self, sd: HttpSd) -> HttpList:
        """Return what a server has answered so far, also under other credentials or at another interval."""
        if (found := self._lists.get(sd)) is not None:
            return found
        return next(
            (HttpList(f.version, f.entries) for s, f in list(self._lists.items()) if s.url == sd.url), HttpList()
        )

    async def apply(self, servers: Iterable[HttpSd]) -> None:
        """Ask exactly these servers from now on. The lists of others are forgotten."""
        wanted = set(servers)
        known = {sd: self.list_of(sd) for sd in wanted}
        stopped = [task for sd, task in self._tasks.items() if sd not in wanted]
        self._tasks = {sd: task for sd, task in self._tasks.items() if sd in wanted}
        self._lists = known
        for sd in wanted - self._tasks.keys():
            self._tasks[sd] = asyncio.create_task(self._run(sd), name="http_sd")
        for task in stopped:
            task.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)

    async def close(self) -> None:
        """Ask nobody any more."""
        await self.apply(())

    async def _run(self, sd: HttpSd) -> None:
        source, last = source_of(sd), b""
        try:
            while True:
                last = await self._ask(sd, source, last)
                await self._sleep(sd.refresh_interval_s * self._spread())
        finally:
            await source.close()

    async def _ask(self, sd: HttpSd, source: HttpSource, last: bytes) -> bytes:
        """Ask once and keep the answer. Return its digest, or `last` without one."""
        before, digest = self._lists[sd], last
        try:
            digest, entries = await ask(sd, source, in_thread=self._in_thread)
        except DiscoveryError as error:
            now = replace(before, error=error)
        except Exception as bug:  # noqa: BLE001 - the task boundary: one server's bug must not end its questions
            _log.error("http_sd %s: internal error", place_of(sd), exc_info=bug)
            now = replace(before, error=DiscoveryError(f"{place_of(sd)}: internal error ({type(bug).__name__})"))
        else:
            now = replace(before, error=None)
            if digest != last:
                now = HttpList(before.version + 1, entries)
        self._lists[sd] = now
        if (now.version, str(now.error)) != (before.version, str(before.error)):
            self._changed()
        return digest


async def ask_once(servers: Iterable[HttpSd], wait_s: float) -> dict[HttpSd, HttpList]:
    """Ask each server once, all at the same time, and return what they answer within `wait_s` seconds."""

    async def one(sd: HttpSd) -> tuple[HttpSd, HttpList]:
        source = source_of(sd)
        try:
            _, entries = await ask(sd, source, wait_s)
            return sd, HttpList(1, entries)
        except DiscoveryError as error:
            return sd, HttpList(error=error)
        finally:
            await source.close()

    return dict(await asyncio.gather(*(one(sd) for sd in set(servers))))
