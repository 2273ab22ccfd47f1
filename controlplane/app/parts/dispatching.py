"""Dispatch and delivery: decides on messages from stored alerts, queues them, and sends them to receivers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from alerts.dispatch import Dispatcher, GroupLog, Stages
from alerts.interfaces import Clock, Notifier
from alerts.refresh import Refresher
from alerts.sender import MessageSender
from controlplane.app.parts.alerting_settings import AlertingSettings
from controlplane.app.parts.holding import HoldWatch, Reminders
from controlplane.app.parts.part import kept
from controlplane.clock.every import Every
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.backlog import Backlog, EnduringGroupLog, EnduringOutbox
from controlplane.store.database import Database
from controlplane.store.lease import Lease, since_boot
from controlplane.store.outbox import OutboxStore

BUSY_S, IDLE_LOOK_S = 60.0, 5.0
"""Seconds after a message in which every turn reads the outbox, and seconds between two reads after that."""


class Dispatching:
    """Dispatches and delivers for one process. `dispatch` needs the lease. `deliver` claims messages and needs none."""

    def __init__(
        self,
        db: Database,
        backlog: Backlog,
        clock: Clock,
        holder: str,
        lease: Callable[[], Lease | None],
        shared_time: Callable[[float], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lease` returns the lease under which this process dispatches. `shared_time`: see OutboxStore."""
        self._backlog, self._clock, self._monotonic = backlog, clock, monotonic
        stored = SqlGroupLog(db, lease)
        self._groups: GroupLog = EnduringGroupLog(stored, backlog)
        outbox = EnduringOutbox(OutboxStore(db, shared_time), backlog)
        self._sender = MessageSender(outbox, self._groups, {}, clock, holder, elapsed=since_boot)
        self._holds, self._reminders = HoldWatch(db), Reminders(db, clock, lease, monotonic)
        self._stages: Stages | None = None
        self._dispatcher: Dispatcher | None = None
        self._refresher = Refresher(stored.read)
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
        self._stages = settings.stages
        self._dispatcher = Dispatcher(settings.stages, self._groups, self._clock)
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
        """Decide on messages and queue them. `changed` False: no alert has changed since the last call.

        A silence or an acknowledgement of another process is noticed here. While the database cannot be written, those
        that were read last count, and nobody is reminded of a silence.
        """
        if self._dispatcher is None or self._stages is None:
            return
        changed = (not self._backlog.paused and await self._holds.changed()) or changed
        queued: object = await self._dispatcher.tick(self._clock.now(), changed=changed)
        if not self._backlog.paused:
            queued = await self._reminders.remind(self._stages) or queued
        if queued:
            self._busy_until = self._monotonic() + BUSY_S

    async def refresh(self) -> None:
        """Send firing alerts again to the receivers that forget them. Raises Unavailable."""
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
            while self._backlog.may_send and await self._sender.tick():
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
