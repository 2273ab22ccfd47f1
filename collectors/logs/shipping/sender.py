"""Sends the lines of one destination: in batches, in order, again and again until each is accepted or given up."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from collectors.errors import ScrapeError
from collectors.http.backoff import delay_s
from collectors.http.retry_after import retry_after_s
from collectors.logs.shipping.post import Posting
from collectors.logs.shipping.queue import Queue
from collectors.logs.shipping.record import Record
from collectors.logs.shipping.settings import Destination
from collectors.logs.shipping.spool import Spool
from collectors.logs.shipping.verdict import Dialect, Verdict

IDLE_S = 0.2
"""Seconds between two looks at an empty queue."""
REASONS = ("age", "queue_full", "shutdown", "spool_full")
"""Reasons to drop that are counted from the start. The others are those of the server: `status_400`, `too_late`."""
_log = logging.getLogger(__name__)


@dataclass
class Sent:
    """Counts of lines since the start."""

    sent: int = 0
    retried: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason."""
    failing: str = ""
    """Reason for which lines wait for another try, "" where none does."""


class Sender:
    """One destination. Its faults hold up no other, and no reader of a log."""

    def __init__(
        self,
        destination: Destination,
        dialect: Dialect,
        post: Posting,
        queue: Queue,
        spool: Spool | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`spool` is open. `now` is unix time in seconds, `jitter` in [0, 1)."""
        self.destination, self.queue, self.spool = destination, queue, spool
        self.stats = Sent()
        self._dialect, self._post = dialect, post
        self._sleep, self._now, self._jitter = sleep, now, jitter
        self._files = asyncio.Lock()
        """Held while lines go to the spool or come from it, so that they keep their order."""
        self._parts: deque[Sequence[Record]] = deque()
        """Rest of the current batch."""
        self._number: int | None = None
        """The file of the current batch, where it came from the spool."""
        self._after_s: float | None = None
        """Seconds that the last answer asked to wait."""
        self._draining = False
        self._tasks: list[asyncio.Task[None]] = []
        self._said: set[str] = set()

    def start(self) -> None:
        """Begin to send."""
        self._tasks = [asyncio.create_task(self._forever(self.turn))]
        if self.spool:
            self._tasks.append(asyncio.create_task(self._forever(self._make_room)))

    async def close(self, deadline_s: float) -> None:
        """Send what waits for at most `deadline_s`. The rest goes to the spool, or is dropped as `shutdown`."""
        self._draining = True
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=deadline_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        current = [record for part in self._parts for record in part]
        batches = []
        while records := self._batch():
            batches.append(records)
        await asyncio.to_thread(self._keep, current, batches)
        if lost := self.stats.dropped["shutdown"]:
            _log.warning("ship %s: the exporter ends, and %d lines are dropped", self.destination.name, lost)

    @property
    def dropped(self) -> Counter[str]:
        """Number of lines that no one gets, by reason. Of a broken file in the spool, 1 counts for all its lines."""
        found = Counter({**dict.fromkeys(REASONS, 0), **self.stats.dropped})
        found["queue_full"] += self.queue.lost
        if self.spool:
            found["spool_full"] += self.spool.lost
            found["spool_broken"] += self.spool.broken
        return found

    async def turn(self) -> None:
        """Send one batch, or wait a moment where there is none."""
        if not await self._next():
            await self._sleep(IDLE_S)
            return
        attempt = 0
        while self._parts:
            part = self._parts[0]
            verdict = await self._attempt(part)
            if verdict.refused and len(part) > 1:
                half = len(part) // 2
                self._parts[0] = part[half:]
                self._parts.appendleft(part[:half])
                continue
            if verdict.refused:
                verdict = Verdict(dropped={verdict.refused: 1}, why=verdict.why)
            self._settle(part, verdict)
            if not verdict.again:
                attempt = 0
                continue
            await self._sleep(self._wait_s(attempt))
            attempt += 1
        number, self._number = self._number, None
        if self.spool and number is not None:
            async with self._files:
                await asyncio.to_thread(self.spool.done, number)

    async def _forever(self, turn: Callable[[], Awaitable[None]]) -> None:
        while not (self._draining and self._is_empty()):
            try:
                await turn()
            except Exception:  # noqa: BLE001 - the task's boundary: a bug must not end the sending
                _log.exception("internal error: ship %s", self.destination.name)
                self.stats.dropped["internal"] += sum(map(len, self._parts))
                self._parts.clear()
                await self._sleep(self.destination.max_backoff_s)

    def _is_empty(self) -> bool:
        return not (self.queue.lines or self._parts or (self.spool and self.spool.files))

    def _batch(self, wait_s: float = 0.0) -> list[Record]:
        return self.queue.take(self.destination.batch_lines, self.destination.batch_bytes, wait_s)

    async def _next(self) -> bool:
        """Take the next batch: what was left of one, the spool's oldest, or one of the memory."""
        if self._parts:
            return True
        async with self._files:
            if self.spool and self.spool.files and (found := await asyncio.to_thread(self.spool.first)):
                self._number, records = found
            else:
                records = self._batch(0.0 if self._draining else self.destination.batch_wait_s)
        if records:
            self._parts.append(records)
        return bool(records)

    async def _make_room(self) -> None:
        """Move the oldest lines to the spool while the memory is half full."""
        await self._sleep(IDLE_S)
        assert self.spool
        while self.queue.bytes > self.destination.queue_bytes // 2:
            async with self._files:
                records = self._batch()
                try:
                    await asyncio.to_thread(self.spool.put, records)
                except OSError as error:
                    self.queue.put_back(records)
                    self._say(f"the spool cannot be written: {error.strerror or error}")
                    return  # the memory has room for as much again; a later turn tries the disk again

    def _keep(self, current: Sequence[Record], batches: Sequence[Sequence[Record]]) -> None:
        """Bring to the spool what is left at the end. What was sent of the current batch is not sent again."""
        if not self.spool:
            self.stats.dropped["shutdown"] += len(current) + sum(map(len, batches))
            return
        try:
            if current:
                self.spool.put_first(current)
            if self._number is not None:
                self.spool.done(self._number)
        except OSError:
            self.stats.dropped["shutdown"] += len(current) if self._number is None else 0
        for batch in batches:
            try:
                self.spool.put(batch)
            except OSError:
                self.stats.dropped["shutdown"] += len(batch)

    async def _attempt(self, part: Sequence[Record]) -> Verdict:
        self._after_s = None
        try:
            answer = await self._post(part)
        except ScrapeError as error:
            return Verdict(again=part, why=str(error))
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= 500:
            self._after_s = retry_after_s(answer.retry_after, self._now())
        return self._dialect.verdict(answer, part)

    def _settle(self, part: Sequence[Record], verdict: Verdict) -> None:
        """Count what became of a part, and leave of it what is to be sent again."""
        oldest_ns = (self._now() - self.destination.max_age_s) * 1e9
        again = [record for record in verdict.again if record.at_ns >= oldest_ns]
        stats = self.stats
        stats.dropped.update(verdict.dropped)
        stats.dropped["age"] += len(verdict.again) - len(again)
        stats.sent += len(part) - len(verdict.again) - sum(verdict.dropped.values())
        stats.retried += len(again)
        self._parts.popleft()
        if again:
            self._parts.appendleft(again)
        name = self.destination.name
        if verdict.dropped:
            self._say(f"{verdict.why}; such lines are dropped")
        if again and not stats.failing:
            _log.warning("ship %s: %s; lines wait for another try", name, verdict.why)
        elif stats.failing and not again:
            _log.info("ship %s: no line waits for another try any more", name)
        stats.failing = verdict.why if again else ""

    def _say(self, why: str) -> None:
        if why not in self._said and len(self._said) < 20:
            self._said.add(why)
            _log.error("ship %s: %s (said once)", self.destination.name, why)

    def _wait_s(self, attempt: int) -> float:
        own = self.destination
        return delay_s(attempt, own.min_backoff_s, own.max_backoff_s, self._jitter(), self._after_s)
