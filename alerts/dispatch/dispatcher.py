"""Turns stored alerts into queued messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from alerts.dispatch.decide import decide_and_rest
from alerts.dispatch.groups import GroupLog, GroupStep, Picture
from alerts.dispatch.routing import Stages
from alerts.interfaces import Clock


class Dispatcher:
    """Turns stored alerts into queued messages, one transaction a tick."""

    def __init__(self, stages: Stages, groups: GroupLog, clock: Clock) -> None:
        self._stages, self._groups, self._clock = stages, groups, clock
        self._looked_at = self._idle_until = 0.0

    async def tick(self, at: float | None = None, *, changed: bool = True) -> Sequence[GroupStep]:
        """Decide for every group at unix second `at` (None: now); return the steps of the groups that changed.

        `changed` is False when no alert can have changed since the last tick. Nothing is then read until the first
        group is due, unless the clock was set back. Raises the errors of the group log, such as a lost lease: another
        process then dispatches.
        """
        moment = self._clock.now() if at is None else at
        if not changed and self._looked_at <= moment < self._idle_until:
            return ()

        def decide_now(picture: Picture) -> Sequence[GroupStep]:
            steps, self._idle_until = decide_and_rest(self._stages, picture, moment)
            return steps

        self._looked_at, self._idle_until = moment, 0.0
        return await asyncio.to_thread(self._groups.advance, decide_now, moment)
