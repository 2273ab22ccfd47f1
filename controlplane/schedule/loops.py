"""The timer of all loops of this process. In memory only: leases, not the timer, keep processes apart.

It runs on the event loop's clock, which is monotonic: setting the machine's clock puts off or hurries no turn.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass

from controlplane.schedule.loop import Loop, LoopStats

log = logging.getLogger(__name__)


@dataclass
class _Scheduled:
    loop: Loop
    timer: asyncio.TimerHandle | None = None
    """None before the start and after the end."""
    due: float = 0.0
    """When the timer is due, in the event loop's seconds."""
    asked: bool = False
    """The timer is due because of news, and not because of the interval."""
    running: asyncio.Task[None] | None = None
    woken: bool = False
    """There was news during the turn that runs."""


class Loops:
    """Runs loops on the event loop: each at once, then every `interval_s`; late turns are coalesced into one."""

    def __init__(self, grace_s: float = 10.0) -> None:
        """`grace_s`: how long `close` lets running turns finish before it cancels them."""
        self._grace_s = grace_s
        self._loops: dict[str, _Scheduled] = {}
        self._started = self._closed = False

    def add(self, loop: Loop) -> None:
        """Schedule a loop; before or after `start`. Raises ValueError when the name is taken."""
        if loop.name in self._loops:
            raise ValueError(f"there is a loop named {loop.name} already")
        scheduled = self._loops[loop.name] = _Scheduled(loop)
        if self._started:
            self._arm(scheduled, asyncio.get_running_loop().time())

    def start(self) -> None:
        """Begin. To be called on the event loop."""
        self._started = True
        now = asyncio.get_running_loop().time()
        for scheduled in self._loops.values():
            self._arm(scheduled, now)

    def wake(self, name: str, after_s: float = 0.0) -> None:
        """Run a loop's next turn now, or right after the one that runs: there is news for it. On the event loop only.

        `after_s`: seconds from now by which the turn begins at the latest. Raises KeyError for a name that was not
        added.
        """
        scheduled = self._loops[name]
        if scheduled.running and not after_s:
            scheduled.woken = True
        elif self._started and not self._closed:
            due = asyncio.get_running_loop().time() + after_s
            if not after_s or due < scheduled.due:
                self._arm(scheduled, due)
                scheduled.asked = True

    def stats(self) -> list[LoopStats]:
        """Return each loop's counters."""
        return [scheduled.loop.stats for scheduled in self._loops.values()]

    def leases(self) -> dict[str, bool]:
        """Return whether this process holds the lease of each loop that needs one, by the lease's name."""
        held = {name: scheduled.loop.holds_lease for name, scheduled in self._loops.items()}
        return {name: holds for name, holds in held.items() if holds is not None}

    async def close(self) -> None:
        """Stop the timer, let running turns finish (`grace_s` at most), then release all leases.

        A turn of a loop with `cut_short` is cancelled at once. It has `grace_s` to clean up.
        """
        self._closed = True
        for scheduled in self._loops.values():
            if scheduled.timer:
                scheduled.timer.cancel()
                scheduled.timer = None
        for scheduled in self._loops.values():
            if scheduled.running and scheduled.loop.cut_short:
                scheduled.running.cancel()
        if running := [scheduled.running for scheduled in self._loops.values() if scheduled.running]:
            _, late = await asyncio.wait(running, timeout=self._grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        closing = [scheduled.loop.close() for scheduled in self._loops.values()]
        for loop, fault in zip(self._loops, await asyncio.gather(*closing, return_exceptions=True), strict=True):
            if isinstance(fault, BaseException):
                # The rest of the process must close all the same.
                log.error("loop %s did not close: %s: %s", loop, type(fault).__name__, fault)

    def _arm(self, scheduled: _Scheduled, due: float) -> None:
        """Let a turn begin at `due`, in the event loop's seconds, instead of when it was due before."""
        if scheduled.timer:
            scheduled.timer.cancel()
        scheduled.due, scheduled.asked = due, False
        scheduled.timer = asyncio.get_running_loop().call_at(due, self._due, scheduled, due)

    def _due(self, scheduled: _Scheduled, due: float) -> None:
        loop, asked = scheduled.loop, scheduled.asked
        # Turns that fell due while the process was held up are one turn.
        late_s = max(0.0, asyncio.get_running_loop().time() - due)
        self._arm(scheduled, due + (math.floor(late_s / loop.interval_s) + 1) * loop.interval_s)
        if scheduled.running and asked:
            scheduled.woken = True
        elif scheduled.running:
            loop.overran()
        else:
            scheduled.running = asyncio.create_task(self._run(scheduled), name=f"loop {loop.name}")

    async def _run(self, scheduled: _Scheduled) -> None:
        try:
            again = True
            while again and not self._closed:
                scheduled.woken = False
                await scheduled.loop.run_once()
                again = scheduled.woken
        finally:
            scheduled.running = None
        soonest = asyncio.get_running_loop().time() + scheduled.loop.interval_s
        if scheduled.due > soonest and not self._closed:  # the turn has shortened the interval
            self._arm(scheduled, soonest)
