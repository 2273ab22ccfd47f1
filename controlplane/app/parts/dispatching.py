"""Dispatch and delivery: decides on messages from stored alerts, queues them, and sends them to receivers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from alerts.dispatch import Dispatcher, GroupLog, Stages
from alerts.interfaces import Clock, Notifier
from alerts.refresh import Refresher
from alerts.sender import MessageSender, Outbox
from controlplane.app.parts.alerting_settings import AlertingSettings
from controlplane.app.parts.part import kept
from controlplane.clock.every import Every
from controlplane.store.lease import since_boot

BUSY_S, IDLE_LOOK_S = 60.0, 5.0
"""Seconds after a message in which every turn reads the outbox, and seconds between two reads after that."""


class Dispatching:
    """Dispatches and delivers for one process. `dispatch` needs the lease. `deliver` claims messages and needs none."""

    def __init__(
        self,
        groups: GroupLog,
        outbox: Outbox[Any],
        clock: Clock,
        holder: str,
        may_send: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
        refresher: Refresher | None = None,
    ) -> None:
        self._groups, self._clock, self._may_send, self._monotonic = groups, clock, may_send, monotonic
        self._sender = MessageSender(outbox, groups, {}, clock, holder, elapsed=since_boot)
        self._dispatcher: Dispatcher | None = None
        self._refresher = refresher
        self._busy_until = -BUSY_S
        self._look = Every(IDLE_LOOK_S)
        self._leaving: list[Notifier] = []
        """Replaced by a reload while messages were sent: one may be on its way by them until `deliver` ends."""
        self._delivering = False

    @property
    def notifiers(self) -> Mapping[str, Notifier]:
        """The notifiers by name."""
        return dict(self._sender.notifiers)

    async def configure(self, settings: AlertingSettings, before: AlertingSettings | None) -> None:
        """Apply a route and notifiers. An unchanged notifier keeps its connections."""
        self._dispatcher = Dispatcher(Stages(settings.route, settings.console_url), self._groups, self._clock)
        recipes, old = settings.notifiers, self.notifiers
        stay = kept(old, before.notifiers if before else {}, recipes)
        self._sender.use({name: stay.get(name) or recipe.made() for name, recipe in recipes.items()})
        self._leaving += [made for name, made in old.items() if name not in stay]
        if not self._delivering:
            await self._let_go()

    def clock_was_set(self, by_s: float) -> None:
        """Follow a step of the clock."""
        self._sender.clock_was_set(by_s)

    async def dispatch(self, *, changed: bool) -> None:
        """Decide on messages and queue them. `changed` False: no alert has changed since the last call."""
        if self._dispatcher and await self._dispatcher.tick(self._clock.now(), changed=changed):
            self._busy_until = self._monotonic() + BUSY_S

    async def refresh(self) -> None:
        """Send firing alerts again to the receivers that forget them. Raises Unavailable."""
        if self._refresher is not None:
            await self._refresher.tick(self.notifiers.values())

    async def deliver(self) -> None:
        """Send all messages that are due. Must not be called while a call is under way.

        BUSY_S after the last message the outbox is read less often. It may still hold messages that another process
        left, or that are to be retried.
        """
        now = self._monotonic()
        if now > self._busy_until and not self._look.due(now):
            return
        self._look.done(now)
        self._delivering = True
        try:
            while self._may_send() and await self._sender.tick():
                self._busy_until = self._monotonic() + BUSY_S
        finally:
            self._delivering = False
            await self._let_go()

    async def close(self) -> None:
        """Close the notifiers' connections."""
        await self._let_go()
        await asyncio.gather(*(notifier.close() for notifier in self.notifiers.values()))

    async def _let_go(self) -> None:
        leaving, self._leaving = self._leaving, []
        await asyncio.gather(*(notifier.close() for notifier in leaving))
