"""Follows every list of addresses (`http_sd` and its like), each in a task of its own, so that none delays another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from collectors.discovery.answers import Answer
from collectors.discovery.entries import Entry
from collectors.discovery.group import Objects, SdConfig
from collectors.errors import DiscoveryError

_log = logging.getLogger(__name__)


AFTER_BUG_S = 60.0
"""Seconds until a source that met an internal error is asked again. Chosen: one log entry a minute."""


_NONE: Objects = MappingProxyType({})


class Hears(Protocol):
    """Takes what a source of addresses answers."""

    def took(self, entries: tuple[Entry, ...], same_as: Hashable = None, objects: Objects = _NONE) -> None:
        """Take a list. Where `same_as` is not None and equal to that of the list before, nothing has changed.

        A source of groups has `objects`, and no entries.
        """
        ...

    def failed(self, error: DiscoveryError) -> None:
        """Take a fault. The last list stays in use."""
        ...


Follower = Callable[[Hears], Awaitable[None]]
"""Follows one list until cancelled. It raises nothing that it expects, and tells every fault."""
FollowerOf = Callable[[SdConfig], Follower]


class _Heard:
    """The answers of one source so far."""

    def __init__(self, answer: Answer, changed: Callable[[], None]) -> None:
        self.answer, self._changed = answer, changed
        self._same_as: Hashable = None

    def took(self, entries: tuple[Entry, ...], same_as: Hashable = None, objects: Objects = _NONE) -> None:
        before = self.answer
        if same_as is None or same_as != self._same_as:
            self.answer = Answer(before.version + 1, entries, objects=objects)
        else:
            self.answer = replace(before, error=None)
        self._same_as = same_as
        self._tell(before)

    def failed(self, error: DiscoveryError) -> None:
        before, self.answer = self.answer, replace(self.answer, error=error)
        self._tell(before)

    def _tell(self, before: Answer) -> None:
        if (before.version, str(before.error)) != (self.answer.version, str(self.answer.error)):
            self._changed()


class Asker:
    """Follows the lists of sources. Call it on one event loop; `list_of` may be called by any thread."""

    def __init__(
        self,
        changed: Callable[[], None],
        follower_of: FollowerOf,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Nothing is asked before `apply`. `changed` is called after each change of a list or of its fault."""
        self._changed, self._follower_of, self._sleep = changed, follower_of, sleep
        self._heard: dict[SdConfig, _Heard] = {}
        self._tasks: dict[SdConfig, asyncio.Task[None]] = {}

    def list_of(self, sd: SdConfig) -> Answer:
        """Return what a source has answered so far, also under other credentials or at another interval."""
        if (found := self._heard.get(sd)) is not None:
            return found.answer
        alike = (heard.answer for other, heard in list(self._heard.items()) if other.identity == sd.identity)
        return replace(next(alike, Answer()), error=None)

    async def apply(self, sources: Iterable[SdConfig]) -> None:
        """Follow exactly these sources from now on. The lists of others are forgotten."""
        wanted = set(sources)
        heard = {sd: self._heard.get(sd) or _Heard(self.list_of(sd), self._changed) for sd in wanted}
        stopped = [task for sd, task in self._tasks.items() if sd not in wanted]
        self._tasks = {sd: task for sd, task in self._tasks.items() if sd in wanted}
        self._heard = heard
        for sd in wanted - self._tasks.keys():
            self._tasks[sd] = asyncio.create_task(self._run(sd, heard[sd]), name=sd.place)
        for task in stopped:
            task.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)

    async def close(self) -> None:
        """Follow nothing any more."""
        await self.apply(())

    async def _run(self, sd: SdConfig, heard: _Heard) -> None:
        while True:
            try:
                await self._follower_of(sd)(heard)
            except Exception as bug:  # noqa: BLE001 - the task boundary: one source's bug must not end its questions
                _log.error("discovery: %s: internal error", sd.place, exc_info=bug)
                heard.failed(DiscoveryError(f"{sd.place}: internal error ({type(bug).__name__}); see the log"))
            await self._sleep(AFTER_BUG_S)


async def ask_once(sources: Iterable[SdConfig], wait_s: float, follower_of: FollowerOf) -> Mapping[SdConfig, Answer]:
    """Return the first answer of each source within `wait_s` seconds. All are asked at the same time."""

    async def one(sd: SdConfig) -> Answer:
        answered = asyncio.Event()
        heard = _Heard(Answer(), answered.set)
        following = asyncio.ensure_future(follower_of(sd)(heard))
        waiting = asyncio.ensure_future(answered.wait())
        try:
            await asyncio.wait((following, waiting), timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            following.cancel()
            waiting.cancel()
            done = await asyncio.gather(following, waiting, return_exceptions=True)
        bug = done[0]
        if isinstance(bug, Exception):
            raise bug
        late = Answer(error=DiscoveryError(f"{sd.place}: no answer within {wait_s:g} s"))
        return heard.answer if answered.is_set() else late

    wanted = list(dict.fromkeys(sources))
    return dict(zip(wanted, await asyncio.gather(*map(one, wanted)), strict=True))
