"""Dispatch and delivery: decides on messages from stored alerts, queues them, and sends them to receivers."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping

from alerts.charts import NO_CHARTS, Charting, ChartSource
from alerts.dispatch import Dispatcher, GroupLog, Stages
from alerts.duty import Roster
from alerts.interfaces import Clock, Notifier
from alerts.notify.pace import SharedBuckets
from alerts.sender import MessageSender
from alerts.sending.refresh import Refresher
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
CLOSE_S = 5.0
"""Seconds for which the end of the process waits for messages that are being sent. Chosen: less than a supervisor's
patience. The others are sent again by the next process."""


class Dispatching:
    """Dispatches and delivers for one process. `dispatch` needs the lease. `deliver` claims messages and needs none."""

    def __init__(
        self,
        db: Database,
        stored: SqlGroupLog,
        backlog: Backlog,
        clock: Clock,
        holder: str,
        lease: Callable[[], Lease | None],
        shared_time: Callable[[float], float],
        monotonic: Callable[[], float] = time.monotonic,
        wake: Callable[[], None] = lambda: None,
        charts: ChartSource = NO_CHARTS,
    ) -> None:
        """`stored` and `lease` are of this process's tenure. `shared_time`: see OutboxStore.

        `wake` is called when a message may be due: `hand_out` should follow. `charts` makes the charts of messages.
        """
        self._charts = charts
        self._wake = wake
        self._backlog, self._clock, self._monotonic = backlog, clock, monotonic
        self._groups: GroupLog = EnduringGroupLog(stored, backlog)
        outbox = EnduringOutbox(OutboxStore(db, shared_time), backlog)
        self._sender = MessageSender(outbox, self._groups, {}, clock, holder, elapsed=since_boot, wake=wake)
        self._holds, self._reminders = HoldWatch(db), Reminders(db, clock, lease, monotonic)
        self._stages: Stages | None = None
        self._dispatcher: Dispatcher | None = None
        self._refresher = Refresher(stored.read)
        self._busy_until = -BUSY_S
        self._look = Every(IDLE_LOOK_S)
        self._leaving: list[Notifier] = []
        """Replaced by a reload. A message may still be on its way by them."""
        self._buckets = SharedBuckets()
        self._rosters: Mapping[str, Roster] | None = None
        """Rosters of the last decision."""

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
        used = {name: stay.get(name) or recipe.made() for name, recipe in recipes.items()}
        for notifier in used.values():
            if isinstance(notifier, Charting):
                notifier.use_charts(self._charts)
        self._leaving += [made for name, made in old.items() if name not in stay]
        self._buckets.share([*used.values(), *self._leaving])
        self._sender.use(used)
        await self._let_go()

    @property
    def due_at(self) -> float:
        """Unix second at which the next message is due if no alert changes; inf: none, or each turn decides."""
        return math.inf if self._dispatcher is None else self._dispatcher.due_at

    async def dispatch(self, *, changed: bool) -> None:
        """Decide on messages and queue them. `changed` False: no alert has changed since the last call.

        A silence or an acknowledgement of another process is noticed here. While the database cannot be written, those
        that were read last count, and nobody is reminded of a silence.
        """
        if self._dispatcher is None or self._stages is None:
            return
        rosters = self._stages.rosters()
        changed, self._rosters = changed or rosters is not self._rosters, rosters
        changed = (not self._backlog.paused and await self._holds.changed()) or changed
        steps = await self._dispatcher.tick(self._clock.now(), changed=changed)
        reminded = not self._backlog.paused and await self._reminders.remind(self._stages)
        if reminded or any(step.message is not None for step in steps):
            self._busy_until = self._monotonic() + BUSY_S
            self._wake()

    async def refresh(self) -> None:
        """Send firing alerts again to the receivers that forget them. Raises Unavailable."""
        await self._refresher.tick(self.notifiers.values())

    async def hand_out(self) -> None:
        """Give the messages that are due to their receivers' workers. Must not be called while a call is under way.

        BUSY_S after the last message the outbox is read less often. It may still hold messages that another process
        left, or that are to be retried.
        """
        await self._let_go()
        now = self._monotonic()
        if now > self._busy_until and not self._look.due(now):
            return
        self._look.done(now)
        if self._backlog.may_send and await self._sender.hand_out():
            self._busy_until = self._monotonic() + BUSY_S

    async def deliver(self) -> None:
        """Send all messages that are due, and wait for the receivers. It is for callers without a loop."""
        await self.hand_out()
        await self._sender.idle()
        while self._backlog.may_send and await self._sender.tick():
            self._busy_until = self._monotonic() + BUSY_S
        await self._let_go()

    async def finish(self) -> None:
        """Wait for messages that are being sent, CLOSE_S at most. To be called after the last turn of all loops."""
        await self._sender.close(CLOSE_S)

    async def close(self) -> None:
        """Close the notifiers' connections."""
        await self._let_go()
        await asyncio.gather(*(notifier.close() for notifier in self.notifiers.values()))

    async def _let_go(self) -> None:
        """Close the replaced notifiers that send nothing any more."""
        gone = [notifier for notifier in self._leaving if not self._sender.uses(notifier)]
        self._leaving = [notifier for notifier in self._leaving if notifier not in gone]
        if gone:
            self._buckets.share([*self._sender.notifiers.values(), *self._leaving])
        await asyncio.gather(*(notifier.close() for notifier in gone))
