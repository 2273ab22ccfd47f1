"""The actions of alerts' buttons: acknowledge, snooze, silence, give back.

Each is safe to repeat: an acknowledgement is stored once an alert, and a silence once a message and person.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence

from alerts.dispatch.buttons import ACKNOWLEDGE, GIVE_BACK, SILENCE, SILENCE_S, SNOOZE, SNOOZE_S
from alerts.errors import NotReadable
from alerts.interfaces import AlertInstance, Clock, Message
from alerts.routing.matchers import Matcher, Op
from alerts.wire import message_from_json
from controlplane.access.roles import Role
from controlplane.errors import Conflict, NotFound
from controlplane.fleet.holding.bounds import Actor
from controlplane.fleet.holding.desk import HoldingDesk, Wanted
from controlplane.fleet.holding.naming import names_of
from controlplane.slack.actions import VIA, Action, Person
from controlplane.store.outbox import OutboxStore


class AlertActions:
    """Carries out clicks on the buttons of alerts' messages."""

    def __init__(self, desk: HoldingDesk, outbox: OutboxStore, clock: Clock) -> None:
        self._desk, self._outbox, self._clock = desk, outbox, clock

    def actions(self) -> tuple[Action, ...]:
        """Return the actions."""
        return (
            Action(ACKNOWLEDGE, Role.OPERATOR, self._in_thread(self._acknowledge)),
            Action(SNOOZE, Role.OPERATOR, self._in_thread(self._snooze)),
            Action(SILENCE, Role.OPERATOR, self._in_thread(self._silence)),
            Action(GIVE_BACK, Role.OPERATOR, self._in_thread(self._give_back)),
        )

    def _in_thread(self, act: Callable[[Person, str], str]) -> Callable[[Person, str], Awaitable[str]]:
        async def run(person: Person, value: str) -> str:
            return await asyncio.to_thread(act, person, value)

        return run

    def _acknowledge(self, person: Person, value: str) -> str:
        taken = self._taken(person, self._message(value), None)
        return (
            f"Acknowledged by you as {person.name}: {names_of(taken)}. Nobody is notified of it again until "
            "it has resolved."
        )

    def _snooze(self, person: Person, value: str) -> str:
        taken = self._taken(person, self._message(value), SNOOZE_S)
        return f"Snoozed by you as {person.name} for an hour: {names_of(taken)}."

    def _give_back(self, person: Person, value: str) -> str:
        message = self._message(value)
        for alert in message.firing:
            self._desk.unacknowledge(alert.fingerprint, _actor(person), VIA)
        return f"Given back by you as {person.name}: {names_of(message.firing)}. What still fires is notified again."

    def _silence(self, person: Person, value: str) -> str:
        message = self._message(value)
        matchers = tuple(Matcher(name, Op.EQUAL, text) for name, text in message.group_labels if text)
        now = self._clock.now()
        wanted = Wanted(matchers, now, now + SILENCE_S, VIA)
        key = f"slack-{hashlib.sha256(f'{person.name} {value}'.encode()).hexdigest()[:32]}"
        made = self._desk.create(wanted, _actor(person), key)
        if made.state == "expired":
            raise Conflict(
                f"you have silenced this message before; that silence ended at {made.ends_at}: make another "
                "one with `cp silences add` or in the console"
            )
        return (
            f"Silenced by you as {person.name} until {made.ends_at}: {', '.join(made.matchers)}. It holds back "
            f"{made.mutes} firing alerts now; `cp silences expire {made.id}` ends it."
        )

    def _taken(self, person: Person, message: Message, for_s: float | None) -> Sequence[AlertInstance]:
        """Acknowledge the alerts of a message that still fire. Raises Conflict when none does."""
        marked = {mark.fingerprint for mark in message.marks}
        taken = []
        for alert in message.firing:
            if alert.fingerprint not in marked and self._desk.still_fires(alert):
                self._desk.acknowledge(alert.fingerprint, _actor(person), VIA, for_s)
                taken.append(alert)
        if not taken:
            raise Conflict(
                "no alert of this message fires any more as it did then; the group's next message shows more"
            )
        return taken

    def _message(self, value: str) -> Message:
        entry = self._outbox.get(value)
        if entry is None:
            raise NotFound("the message of this button is not stored any more; use `cp alerts list` or the console")
        try:
            return message_from_json(entry.payload)
        except NotReadable as error:
            raise NotFound(f"the message of this button cannot be read: {error}") from error


def _actor(person: Person) -> Actor:
    return Actor(person.name, person.role.includes(Role.ADMIN))
