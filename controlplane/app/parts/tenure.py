"""Adapts stored alerts to the clock and the rule ids of a new leader, before the leader decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from alerts.interfaces import Clock
from controlplane.app.parts.sharing import Sharing
from controlplane.errors import Unavailable
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.backlog import Backlog
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.lease import Lease


class Tenure:
    """Brings stored alerts to this process's clock and to its rules, once a tenure and again when either changes."""

    def __init__(
        self,
        stored: SqlAlertLog,
        steps: ClockSteps,
        sharing: Sharing,
        backlog: Backlog,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called whenever stored times were moved: what was read of them before is no longer true."""
        self._stored, self._steps, self._sharing, self._backlog = stored, steps, sharing, backlog
        self._clock, self._changed = clock, changed
        self._caught_up = self._retired = False
        self._same_rules = False
        """Whether the rules have not changed since their alerts were last looked at."""
        self.moved_s = 0.0
        """Steps of the clock that stored times have not followed yet."""

    @property
    def may_decide(self) -> bool:
        """Whether stored alerts have this process's clock and rule ids. Deciding earlier would restart every `for:`.

        A process that is alone may decide: no other process has stored alerts by another clock.
        """
        return self._caught_up or self._sharing.alone

    def begin(self) -> None:
        """Take note that another process may have alerted until now."""
        self._caught_up = self._retired = False

    def rules_changed(self) -> None:
        """Take note that alerts of rules that are gone are to be ended."""
        self._retired = self._same_rules = False

    async def take_over(self, lease: Lease, rules: Collection[str]) -> bool:
        """Bring what is stored to this clock and these rules, if that is not done; True when it has just been done.

        A database that cannot be written pauses the backlog. Raises LeaseLost.
        """
        if self._retired or self._backlog.paused:
            return False
        self._same_rules = True
        try:
            if await self._sharing.inherit(lease):
                self.moved_s = 0.0  # it was measured with these steps
            await self._move_stored()
            now = self._clock.now()
            await asyncio.to_thread(self._steps.settle, now)
            await asyncio.to_thread(self._stored.retire, rules, now)
        except Unavailable as error:
            self._backlog.pause(error)
            return False
        self._caught_up, self._retired = True, self._same_rules  # False: other rules are gone by now
        return True

    async def follow_clock(self) -> None:
        """Move what is stored along, where it is now: in the database, or in memory. Raises LeaseLost."""
        if self.moved_s and not self._backlog.paused:
            try:
                await self._move_stored()
            except Unavailable as error:
                self._backlog.pause(error)
        self._moved()

    async def _move_stored(self) -> None:
        if self.moved_s:
            await asyncio.to_thread(self._steps.move, self.moved_s)
            self._moved()
            # At once: whoever takes over next must know by which clock these times were written.
            await self._sharing.beat()

    def _moved(self) -> None:
        if self.moved_s:
            self._backlog.move(self.moved_s)
            self.moved_s = 0.0
            self._changed()


def goes_on(before: Lease | None, now: Lease) -> bool:
    """Tell whether nobody else held a lease between two tenures: each new one counts its epoch up by one."""
    return before is not None and now.holder == before.holder and now.epoch <= before.epoch + 1
