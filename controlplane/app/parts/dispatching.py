"""From stored alerts to receivers: messages are decided on and queued, and sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from alerts.dispatch import Dispatcher, GroupLog, Stages
from alerts.interfaces import Clock, Notifier
from alerts.sender import MessageSender, Outbox
from controlplane.app.parts.alerting_settings import AlertingSettings
from controlplane.app.parts.part import kept
from controlplane.clock.every import Every
from controlplane.store.lease import since_boot

BUSY_S, IDLE_LOOK_S = 60.0, 5.0
"""For how long after a message the outbox is looked at at every turn, and how often it is afterwards."""


class Dispatching:
    """Dispatches and delivers for one process. `dispatch` needs the lease; `deliver` does not: messages are claimed."""

    def __init__(
        self,
        groups: GroupLog,
        outbox: Outbox[Any],
        clock: Clock,
        holder: str,
        may_send: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._groups, self._clock, self._may_send, self._monotonic = groups, clock, may_send, monotonic
        self._sender = MessageSender(outbox, groups, {}, clock, holder, elapsed=since_boot)
        self._dispatcher: Dispatcher | None = None
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
        """Take over a route and notifiers. A notifier that did not change keeps its connections."""
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
        """Decide what receivers must hear. `changed` False: no alert can have changed since the last call."""
        if self._dispatcher and await self._dispatcher.tick(self._clock.now(), changed=changed):
            self._busy_until = self._monotonic() + BUSY_S

    async def deliver(self) -> None:
        """Send everything that is due. One call at a time.

        While there was nothing to send for a while it is looked less often: for what another process left, or put
        off for long.
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
        """Release the notifiers' connections."""
        await self._let_go()
        await asyncio.gather(*(notifier.close() for notifier in self.notifiers.values()))

    async def _let_go(self) -> None:
        leaving, self._leaving = self._leaving, []
        await asyncio.gather(*(notifier.close() for notifier in leaving))
