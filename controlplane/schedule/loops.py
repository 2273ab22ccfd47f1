"""The timer of all loops of this process. In memory only: leases, not the timer, keep processes apart."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from controlplane.schedule.loop import Loop, LoopStats


class Loops:
    """Runs loops on the event loop: each at once, then every `interval_s`; late turns are coalesced into one."""

    def __init__(self, grace_s: float = 10.0) -> None:
        """`grace_s`: how long `close` lets running turns finish before it cancels them."""
        self._grace_s = grace_s
        self._loops: dict[str, Loop] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._woken: set[str] = set()
        self._closed = False
        self._timer: Any = AsyncIOScheduler(
            timezone=UTC,
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        self._timer.add_listener(self._overran, EVENT_JOB_MAX_INSTANCES)

    def add(self, loop: Loop) -> None:
        """Schedule a loop; before or after `start`. Raises ValueError when the name is taken."""
        if loop.name in self._loops:
            raise ValueError(f"there is a loop named {loop.name} already")
        self._loops[loop.name] = loop
        trigger = IntervalTrigger(seconds=loop.interval_s, timezone=UTC)
        self._timer.add_job(
            self._run, trigger, args=[loop], id=loop.name, name=loop.name, next_run_time=datetime.now(UTC)
        )

    def start(self) -> None:
        """Begin. To be called on the event loop."""
        # It reports each run at INFO, which is every few seconds for each loop, and each overrun, which we count.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._timer.start()

    def wake(self, name: str) -> None:
        """Run a loop's next turn now, or right after the one that runs: there is news for it. On the event loop only.

        Raises KeyError for a name that was not added.
        """
        loop = self._loops[name]
        if self._closed:
            return
        if loop.name in self._running:
            self._woken.add(loop.name)
        else:
            self._timer.modify_job(loop.name, next_run_time=datetime.now(UTC))

    def stats(self) -> list[LoopStats]:
        """Return each loop's counters."""
        return [loop.stats for loop in self._loops.values()]

    async def close(self) -> None:
        """Stop the timer, let running turns finish (`grace_s` at most), then release all leases."""
        self._closed = True
        if self._timer.running:
            self._timer.pause()
        if running := list(self._running.values()):
            _, late = await asyncio.wait(running, timeout=self._grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._timer.running:
            self._timer.shutdown(wait=False)
            await asyncio.sleep(0)  # the timer stops by a callback
        await asyncio.gather(*(loop.close() for loop in self._loops.values()))

    async def _run(self, loop: Loop) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running[loop.name] = task
        try:
            again = True
            while again and not self._closed:
                self._woken.discard(loop.name)
                await loop.run_once()
                again = loop.name in self._woken
        except asyncio.CancelledError:
            # The end of this task: passing it on would only make the timer log our own closing as an error.
            if not self._closed:
                raise
        finally:
            self._running.pop(loop.name, None)

    def _overran(self, event: Any) -> None:
        self._loops[event.job_id].overran()
