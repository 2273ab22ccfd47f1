"""Turns stored alerts into queued messages."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

from alerts.dispatch.decide import decide_and_rest, next_due
from alerts.dispatch.groups import GroupLog, GroupStep, Picture
from alerts.dispatch.muting import next_change
from alerts.dispatch.routing import Sorted, Stages
from alerts.dispatch.storms import is_storm, sort_with_storms
from alerts.duty import Roster
from alerts.interfaces import Clock


class Dispatcher:
    """Turns stored alerts into queued messages, one transaction a tick."""

    def __init__(self, stages: Stages, groups: GroupLog, clock: Clock) -> None:
        self._stages, self._groups, self._clock = stages, groups, clock
        self._looked_at = self._idle_until = 0.0
        self._due_at = math.inf
        self._sorted_at = 0.0
        self._rosters: Mapping[str, Roster] | None = None
        self._sorted: tuple[Picture, float, Sorted] | None = None
        """The last picture, the time until which its alerts stay sorted as they are, and how they are sorted."""

    @property
    def due_at(self) -> float:
        """Unix second at which the next group is due if no alert changes; inf: none is, or each tick has to decide."""
        return self._due_at

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
            found = self._sort(picture, moment)
            steps, self._idle_until = decide_and_rest(self._stages, picture, moment, found)
            if not any(step.message for step in steps):
                opened = {step.state.key: step.state for step in steps}
                after = picture._replace(groups={**picture.groups, **opened})
                due_at = next_due(self._stages, after, moment, found) if steps else self._idle_until
                self._due_at = due_at if due_at > moment else math.inf
            return steps

        self._looked_at, self._idle_until, self._due_at = moment, 0.0, math.inf
        return await asyncio.to_thread(self._groups.advance, decide_now, moment)

    def _sort(self, picture: Picture, at: float) -> Sorted:
        """Return the sorted alerts of a picture. Nothing is done when its alerts are the last one's, and all is calm.

        While messages are underway every tick decides, and sorting thousands of alerts is most of its cost.
        """
        rosters = self._stages.rosters()
        open_groups = [(key, group) for key, group in picture.groups.items() if group.is_open]
        in_motion = any(group.flaps or is_storm(key, group.receiver) for key, group in open_groups)
        if self._sorted is not None and rosters is self._rosters and not in_motion:
            before, until, found = self._sorted
            same = picture.instances is before.instances and picture.holds == before.holds
            if same and self._sorted_at <= at < until:
                return found
        found = sort_with_storms(self._stages, picture, at)
        self._rosters = rosters
        until = min(next_change(self._stages.routing, picture.holds, at), self._stages.next_turn(at))
        self._sorted = picture, until if found.lasts else at, found
        self._sorted_at = at
        return found
