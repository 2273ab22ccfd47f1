"""Sends queued messages: at least once, in order within a group, waiting when told to, giving up only for a reason."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from alerts.dispatch import GroupLog
from alerts.errors import DeliveryFailed, NotReadable
from alerts.interfaces import Clock, Message, Notifier
from alerts.wire import message_from_json

MAX_RETRY_AFTER_S = 600.0
"""A receiver that asks for more silence is asked again after this long: an alert must not wait for a typing error."""

KIND = "alert"
"""Of this module's messages in the outbox."""

UNREAD_ATTEMPTS = 5
"""Claims after which a message that cannot be read is given up, a minute later: until then another process, of a newer
release, may take it. It must not hold up what follows on its lane for longer."""

_log = logging.getLogger(__name__)


class Entry(Protocol):
    """A claimed message."""

    @property
    def message_id(self) -> str:
        """The message's own id."""
        ...

    @property
    def receiver(self) -> str:
        """The notifier's name."""
        ...

    @property
    def payload(self) -> Mapping[str, Any]:
        """What alerts.wire.message_to_json wrote."""
        ...

    @property
    def attempts(self) -> int:
        """Claims so far, this one included."""
        ...


E = TypeVar("E", bound=Entry)


class Outbox(Protocol[E]):
    """The queue. Synchronous; settling raises when the claim is no longer ours."""

    def claim(self, holder: str, now: float, ttl_s: float, limit: int) -> Sequence[E]:
        """Claim due messages; each claim counts as an attempt."""
        ...

    def done(self, entry: E, result: Mapping[str, Any] | None, at: float) -> None:
        """Record that a message was sent."""
        ...

    def retry(self, entry: E, error: str, next_at: float) -> None:
        """Give a message back, due again at `next_at`."""
        ...

    def dead(self, entry: E, error: str, at: float) -> None:
        """Give a message up."""
        ...


@dataclass(frozen=True)
class SenderLimits:
    """How patient the sender is, durations in seconds. Invariant: a whole batch of slow sends fits in a claim."""

    claim_s: float = 60.0
    """A sender that dies holds its messages this long."""
    send_s: float = 15.0
    batch: int = 3
    least_wait_s: float = 1.0
    first_backoff_s: float = 2.0
    most_backoff_s: float = 300.0


@dataclass
class MessageSender:
    """Claims, sends, and says how it went. A crash repeats a message with its own id and never loses one."""

    outbox: Outbox[Any]
    groups: GroupLog
    notifiers: Mapping[str, Notifier]
    clock: Clock
    holder: str
    limits: SenderLimits = SenderLimits()
    elapsed: Callable[[], float] = time.monotonic
    """Seconds that nobody can set: a claim is held to be ours by them."""
    _held_until: dict[str, float] = field(default_factory=dict)
    """By receiver: the far side asked for silence until then, for everything and not only for one message."""

    def use(self, notifiers: Mapping[str, Notifier]) -> None:
        """Send by these from the next message on. A receiver whose notifier stays goes on being left in peace."""
        stays = {name for name, notifier in notifiers.items() if self.notifiers.get(name) is notifier}
        self.notifiers = notifiers
        self._held_until = {name: until for name, until in self._held_until.items() if name in stays}

    def clock_was_set(self, by_s: float) -> None:
        """Take note that `clock` made a step: what a receiver asked for was a time to wait, not a time of day."""
        self._held_until = {receiver: until + by_s for receiver, until in self._held_until.items()}

    async def tick(self) -> int:
        """Send what is due; return how many messages were handled, so that the caller goes on until none is.

        Receivers do not wait for each other. Raises what the outbox raises (a claim that ran out) after all are done.
        """
        limits = self.limits
        # What begins later than this may not end before the claim does, and another sender then sends it, too.
        last_start = self.elapsed() + limits.claim_s - limits.send_s
        entries = await asyncio.to_thread(
            self.outbox.claim, self.holder, self.clock.now(), limits.claim_s, limits.batch
        )
        by_receiver: dict[str, list[Entry]] = {}
        for entry in entries:
            by_receiver.setdefault(entry.receiver, []).append(entry)
        outcomes = await asyncio.gather(
            *(self._send_all(receiver, queue, last_start) for receiver, queue in by_receiver.items()),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return len(entries)

    async def _send_all(self, receiver: str, entries: Sequence[Entry], last_start: float) -> None:
        """Send a receiver's messages in order. What one of them raises is raised when all have had their turn."""
        bugs: list[Exception] = []
        for entry in entries:
            try:
                if self.elapsed() > last_start:
                    _log.warning(
                        "notification %s is left to whoever claims it next: it took too long", entry.message_id
                    )
                    continue
                await self._send_or_hold(receiver, entry)
            except Exception as bug:  # noqa: BLE001 - the job boundary: one message's bug must not hold up the others
                bugs.append(bug)
        if bugs:
            raise bugs[0]

    async def _send_or_hold(self, receiver: str, entry: Entry) -> None:
        held = self._held_until.get(receiver, 0.0)
        # A clock that was set back holds nothing: no silence lies further ahead than the longest.
        if self.clock.now() < held <= self.clock.now() + MAX_RETRY_AFTER_S:
            await asyncio.to_thread(self.outbox.retry, entry, f"{receiver} asked to wait", held)
        else:
            await self._send(entry)

    async def _send(self, entry: Entry) -> None:
        notifier = self.notifiers.get(entry.receiver)
        if notifier is None:
            reason = f"no notifier is called {entry.receiver}; there are {', '.join(sorted(self.notifiers)) or 'none'}"
            await self._failed(entry, DeliveryFailed(reason, permanent=True))
            return
        try:
            message = replace(message_from_json(entry.payload), repeat=entry.attempts > 1)
        except NotReadable as fault:
            last = entry.attempts >= UNREAD_ATTEMPTS
            await self._failed(entry, DeliveryFailed(f"the message cannot be read: {fault}", permanent=last))
            return
        try:
            async with asyncio.timeout(self.limits.send_s):
                result = await self._deliver(notifier, message)
        except TimeoutError:
            failure = DeliveryFailed(f"{entry.receiver} did not finish within {self.limits.send_s:g}s")
            await self._failed(entry, failure)
        except DeliveryFailed as failure:
            await self._failed(entry, failure)
        except Exception as bug:
            # Put off like any failure, so that it does not come again with every claim; and raised, for the log.
            kind = type(bug).__name__
            await self._failed(entry, DeliveryFailed(f"internal error ({kind}): see the log of the control plane"))
            raise
        else:
            await asyncio.to_thread(self.outbox.done, entry, result, self.clock.now())

    async def _deliver(self, notifier: Notifier, message: Message) -> dict[str, str] | None:
        root = await asyncio.to_thread(self.groups.root, message.group_key, message.generation)
        ref = await notifier.send(message, root)
        if ref is None:
            return None
        # Before `done`: a crash in between sends again, and then updates this message instead of posting a second.
        await asyncio.to_thread(self.groups.remember, message.group_key, message.generation, ref)
        return {"place": ref.place} | ({"note": ref.note} if ref.note else {})

    async def _tell_others(self, entry: Entry, failure: DeliveryFailed) -> None:
        """Say what a receiver refused to everybody else who is configured, once each: nothing may go unheard."""
        try:
            message = message_from_json(entry.payload)
        except NotReadable:
            return  # there is nothing that anybody could be told
        message = replace(message, undelivered=f"{entry.receiver} did not take it: {failure}")
        others = [notifier for name, notifier in self.notifiers.items() if name != entry.receiver]
        for notifier in others:
            try:
                async with asyncio.timeout(self.limits.send_s / max(1, len(others))):
                    await notifier.send(message, None)
            except (TimeoutError, DeliveryFailed) as error:
                _log.error("notification %s could not be told to %s either: %s", entry.message_id, notifier.name, error)

    async def _failed(self, entry: Entry, failure: DeliveryFailed) -> None:
        now, limits = self.clock.now(), self.limits
        if failure.permanent:
            _log.error("notification to %s given up (%s): %s", entry.receiver, entry.message_id, failure)
            await asyncio.to_thread(self.outbox.dead, entry, str(failure), now)
            await self._tell_others(entry, failure)
            return
        # The exponent is bounded before the power is taken: attempts have no limit.
        wait = min(limits.first_backoff_s * 2 ** min(entry.attempts - 1, 30), limits.most_backoff_s)
        asked = failure.retry_after
        if asked is not None and asked >= 0:  # neither NaN nor negative: those are no wish
            wait = max(min(asked, MAX_RETRY_AFTER_S), limits.least_wait_s)
            self._held_until[entry.receiver] = now + wait
        _log.warning(
            "notification to %s delayed by %.0f s, attempt %d (%s): %s",
            entry.receiver,
            wait,
            entry.attempts,
            entry.message_id,
            failure,
        )
        await asyncio.to_thread(self.outbox.retry, entry, str(failure), now + wait)
